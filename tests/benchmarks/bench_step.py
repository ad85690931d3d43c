"""Time and memory of one refinement step, beside a plain implementation of the published step, in one run.

    python tests/benchmarks/bench_step.py [--sizes 256 512] [--rounds 5] [--kinds published float32 bf16] [--json FILE]

The two alternate, so that other work on the machine reaches both; ratios are medians of the rounds' ratios. Wall time
and the process's CPU time are given: on a shared machine the second varies less. The published step is written down
here plainly: hypercolumns by four gathers a layer for result and content, both self-similarities, the full distance
matrix of the earth mover's distance, moments of both sides, all by autograd. Its rasteriser is left out: its vertices'
colours are read at fixed barycentrics. Peak memory is that of a process of its own for each size and kind.

Parts (their backward pass included) are measured apart from the whole: their sum differs from it a little.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Before torch is loaded, as refine.py does: threads that spin while they wait count as work, and slow other work down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

torch.utils.deterministic.fill_uninitialized_memory = False  # as pipeline.runs.backends

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from synthetic_meshes import dome, grid_mesh

from pipeline.runs import machine
from renderer.camera import Camera
from renderer.lookup import build_lookup
from renderer.rasterize import rasterize
from style_transfer import losses, pyramid, refine, sampling
from style_transfer.features import CAPTURED_LAYERS, IMAGENET_MEAN, IMAGENET_STD, VGG16Hypercolumns, vgg16_layers
from style_transfer.parameters import PyramidParameters
from style_transfer.settings import RefineSettings

PARTS = ("network", "gathers", "self-similarity", "REMD", "moments", "colour", "rendering", "optimiser")
PAPER = RefineSettings(
    features="vgg16", parameters="pyramid", optimiser="sgd", learning_rate=0.3, decay_learning_rate=False,
    moment_weight=1.0, style_region="all", style_from_seen=False, style_samples=1000, result_samples=2048,
)  # fmt: skip


def textures(size: int) -> tuple[Tensor, Tensor]:
    """Content and style [1, 3, size, size], 0..1: a face and its darker mirror image."""
    photo = torch.from_numpy(data.astronaut()[:256, 96:352]).permute(2, 0, 1)[None] / 255
    content = F.interpolate(photo, size=(size, size), mode="bilinear", antialias=True)
    return content, content.flip(3) * 0.8


def network(precision: str = "float32") -> VGG16Hypercolumns:
    """Weights drawn at random: time does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, weight in vgg16_layers().state_dict().items():
        fan_in = weight[0].numel()
        weights[name] = (
            torch.randn(weight.shape, generator=generator) * (2 / fan_in) ** 0.5 if weight.ndim > 1 else weight * 0
        )
    return VGG16Hypercolumns(weights, precision=torch.bfloat16 if precision == "bf16" else torch.float32)


# ---- the published step, plainly -------------------------------------------------------------------------------------


class PublishedStep:
    """`whole()` takes a step; `parts()` gives functions that do one part of it, its backward pass included."""

    def __init__(self, size: int, samples: int, style_samples: int):
        torch.manual_seed(0)
        self.layers = vgg16_layers().requires_grad_(False)
        self.layers.load_state_dict(network().layers.state_dict())
        self.mean, self.std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        content, style = (2 * image - 1 for image in textures(size))
        self.levels = [level.requires_grad_() for level in pyramid.build(content, 5)]
        self.optimiser = torch.optim.SGD(self.levels, lr=1e-6, momentum=0.9)  # so small that every step is alike
        self.size, self.samples = size, samples
        with torch.no_grad():
            self.content_maps = self.maps(content)
            positions = torch.randperm(size * size)[:style_samples]
            self.style = torch.cat([
                feature[0][:, positions // size * feature.shape[2] // size, positions % size * feature.shape[3] // size]
                for feature in self.maps(style)
            ]).T.contiguous()  # fmt: skip
        mesh = grid_mesh(dome, 189, 189)  # 35,721 vertices, as many as the published mesh has
        camera = Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2)
        fragments = rasterize(mesh, camera)
        covered = fragments.face_ids >= 0
        self.corners = torch.from_numpy(mesh.faces[fragments.face_ids[covered]].astype(np.int64))
        self.barycentrics = torch.from_numpy(fragments.barycentrics[covered].astype(np.float32))
        uvs = torch.from_numpy(mesh.uvs[: len(mesh.vertices)].astype(np.float32))
        texel = (uvs * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0])).clamp(0, 0.999) * size
        self.texels = texel[:, 1].long() * size + texel[:, 0].long()
        self.covered = torch.from_numpy(covered.reshape(-1).nonzero()[0])
        self.photo = style[0].flatten(1).T.contiguous()
        self.mask = torch.zeros(size * size, 1).index_fill(0, self.covered, 1.0)

    def maps(self, image: Tensor) -> list[Tensor]:
        feature = ((image + 1) / 2 - self.mean) / self.std
        maps = [feature]
        for index, layer in enumerate(self.layers):
            feature = layer(feature)
            if index in CAPTURED_LAYERS:
                maps.append(feature)
        return maps

    def positions(self) -> tuple[Tensor, Tensor]:
        stride = max(int((self.size**2 // 128**2) ** 0.5), 1)
        rows, columns = torch.meshgrid(
            torch.arange(0, self.size, stride), torch.arange(0, self.size, stride), indexing="ij"
        )
        chosen = torch.randperm(rows.numel())[: self.samples]
        return rows.flatten()[chosen].float(), columns.flatten()[chosen].float()

    @staticmethod
    def hypercolumns(maps: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
        found, width = [], maps[0].shape[3]
        for feature in maps:
            if feature.shape[3] < width:
                rows, columns, width = rows / 2, columns / 2, feature.shape[3]
            top, left = rows.floor(), columns.floor()
            down, right = rows - top, columns - left
            top = top.long().clamp(0, feature.shape[2] - 1)
            left = left.long().clamp(0, feature.shape[3] - 1)
            below, beside = (top + 1).clamp_max(feature.shape[2] - 1), (left + 1).clamp_max(feature.shape[3] - 1)
            found.append(
                feature[:, :, top, left] * (1 - down) * (1 - right)
                + feature[:, :, top, beside] * (1 - down) * right
                + feature[:, :, below, left] * down * (1 - right)
                + feature[:, :, below, beside] * down * right
            )
        return torch.cat(found, dim=1)[0].T

    @staticmethod
    def distances(x: Tensor, y: Tensor) -> Tensor:
        return 1 - (x / x.norm(dim=1, keepdim=True)) @ (y / y.norm(dim=1, keepdim=True)).T

    def content(self, x: Tensor, y: Tensor) -> Tensor:
        of_x, of_y = self.distances(x, x), self.distances(y, y)
        return (of_x / of_x.sum(0, keepdim=True) - of_y / of_y.sum(0, keepdim=True)).abs().mean() * len(x)

    def remd(self, x: Tensor) -> Tensor:
        return self.distances(x, self.style).min(1).values.mean()

    def moments(self, x: Tensor) -> Tensor:
        found = []
        for samples in (x, self.style):
            mean = samples.mean(0, keepdim=True)
            found.append((mean, (samples - mean).T @ (samples - mean) / (len(samples) - 1)))
        return (found[0][0] - found[1][0]).abs().mean() + (found[0][1] - found[1][1]).abs().mean()

    def colour(self, x: Tensor) -> Tensor:
        turn = torch.tensor(losses.DECORRELATION)
        a, b = x[:, :3] @ turn.T, self.style[:, :3] @ turn.T
        squared = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
        return (squared.clamp(1e-5, 1e5) / 3).sqrt().min(1).values.mean()

    def rendering(self, image: Tensor) -> Tensor:
        vertices = image[0].flatten(1)[:, self.texels].T
        drawn = (vertices[self.corners] * self.barycentrics[..., None]).sum(1)
        rendered = torch.zeros_like(self.photo).index_copy(0, self.covered, drawn)
        return ((rendered - self.photo).abs() * self.mask).mean()

    def whole(self) -> None:
        image = pyramid.collapse(self.levels)
        rows, columns = self.positions()
        x = self.hypercolumns(self.maps(image), rows, columns)
        y = self.hypercolumns(self.content_maps, rows, columns)
        style = self.remd(x) + self.moments(x) + self.colour(x) / 8
        self.optimiser.zero_grad()
        (8 * self.content(x, y) + 1.7 * style + 20 * self.rendering(image)).backward()
        self.optimiser.step()

    def parts(self) -> dict[str, Callable]:
        image = pyramid.collapse(self.levels).detach().requires_grad_()
        maps = [feature.detach().requires_grad_() for feature in self.maps(image)]
        rows, columns = self.positions()
        x = self.hypercolumns(maps, rows, columns).detach().requires_grad_()
        y = self.hypercolumns(self.content_maps, rows, columns)
        given = [torch.randn_like(feature) for feature in maps]

        def gathers():
            self.hypercolumns(self.content_maps, rows, columns)
            torch.autograd.grad(self.hypercolumns(maps, rows, columns), maps, torch.ones_like(x))

        return {
            "network": lambda: torch.autograd.grad(self.maps(image)[-1], image, given[-1]),
            "gathers": gathers,
            "self-similarity": lambda: torch.autograd.grad(self.content(x, y), x),
            "REMD": lambda: torch.autograd.grad(self.remd(x), x),
            "moments": lambda: torch.autograd.grad(self.moments(x), x),
            "colour": lambda: torch.autograd.grad(self.colour(x), x),
            "rendering": lambda: torch.autograd.grad(self.rendering(image), image),
            "optimiser": lambda: _optimise(lambda: pyramid.collapse(self.levels), self.optimiser, image),
        }


def _optimise(image: Callable, optimiser: torch.optim.Optimizer, like: Tensor) -> None:
    image().backward(torch.ones_like(like) * 1e-9)
    optimiser.step()
    optimiser.zero_grad()


# ---- ours ------------------------------------------------------------------------------------------------------------


class OurStep:
    """The step of `style_transfer.refine` with the paper's settings, by the functions that it calls."""

    def __init__(self, size: int, samples: int, style_samples: int, kind: str):
        settings = PAPER.changed(result_samples=samples, style_samples=style_samples // PAPER.style_draws)
        self.by_neighbours, self.layered = kind.startswith("neighbours"), kind.startswith("neighbours-layered")
        if self.by_neighbours:
            settings = settings.changed(style="neighbours")
        self.settings, self.generator = settings, torch.Generator().manual_seed(0)
        self.features = network("bf16" if kind.endswith("bf16") else "float32")
        content, style = textures(size)
        mask = torch.ones(1, 1, size, size, dtype=torch.bool)
        seen = mask.float()
        self.comparison = refine._prepare(
            self.features, content, style, seen, mask, (size, size), settings, self.generator, []
        )  # fmt: skip
        if self.by_neighbours:
            self.comparison = refine._with_targets(self.comparison, content)
        self.parameters = PyramidParameters(content, seen, mask, settings)
        self.parameters.start((size, size), seen)
        camera = Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2)
        self.lookup = build_lookup(grid_mesh(dome, 189, 189), camera, size, size)
        self.photo = style[0].flatten(1).T[self.lookup.pixels].contiguous()
        self.weights = torch.ones(len(self.photo))

    def rendering(self, image: Tensor) -> Tensor:
        return losses.rendering_loss(self.lookup(image), self.photo, self.weights)

    def whole(self) -> None:
        styled, rendered = self.parameters.images()
        terms = refine._compare(self.comparison, styled, 8.0, self.settings, self.generator, self.layered)
        (8 * terms["content"] + 1.7 * terms["style"] + 40 * self.rendering(rendered)).backward()
        self.parameters.step(1e-6)

    def parts(self) -> dict[str, Callable]:
        image = self.parameters.images()[0].detach().requires_grad_()
        chosen = torch.randperm(len(self.comparison.rows))[: self.settings.result_samples]
        rows, columns = self.comparison.rows[chosen], self.comparison.columns[chosen]
        maps = [feature.detach().requires_grad_() for feature in self.features.maps(2 * image - 1)]
        x = self.features.columns(maps, rows, columns).detach().float().requires_grad_()
        y, style, low = self.comparison.content[chosen], self.comparison.style, self.comparison.low_precision
        given = [torch.randn_like(feature) for feature in maps]

        def gathers():
            positions = sampling.Positions(rows, columns)
            read = [positions.read(feature) for feature in maps]
            x = torch.cat([samples for _, samples in read], dim=1).float()
            # The network's own gradients arrive with those of the samples.
            torch.autograd.grad([*(feature for feature, _ in read), x], maps, [*given, torch.ones_like(x)])

        def remd():
            directions = losses.directions(x)
            partners = losses.nearest(directions, style.searched)
            torch.autograd.grad(losses.partner_distance(directions, style.directions, partners), x)

        moments = lambda: losses.moment_distance_of(x, style.moments, low)
        content = lambda: losses.self_similarity(losses.directions(x), y, low)
        return {
            "network": lambda: torch.autograd.grad(self.features.maps(2 * image - 1)[-1], image, given[-1]),
            "gathers": gathers,
            "self-similarity": lambda: torch.autograd.grad(content(), x),
            "REMD": remd,
            "moments": lambda: torch.autograd.grad(moments(), x),
            "colour": lambda: torch.autograd.grad(losses.colour_loss(x[:, :3], style.colours), x),
            "rendering": lambda: torch.autograd.grad(self.rendering(image), image),
            "optimiser": lambda: _optimise(lambda: self.parameters.images()[0], self.parameters._optimiser, image),
        }


# ---- measuring -------------------------------------------------------------------------------------------------------


def steps(names: list[str], size: int, samples: int, style_samples: int) -> dict[str, PublishedStep | OurStep]:
    """name -> step: published, float32, ..."""
    made = {}
    for name in names:
        if name == "published":
            made[name] = PublishedStep(size, samples, style_samples)
        else:
            made[name] = OurStep(size, samples, style_samples, name)
    return made


def timed(action: Callable) -> tuple[float, float]:
    """Seconds on the clock, and of the process's cores."""
    clock, cores = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock, time.process_time() - cores


def alternate(actions: dict[str, Callable], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Times of every action, taken in turns; the first turn does not count. The published code does not ask for
    deterministic sums, which would slow it down."""
    found = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            torch.use_deterministic_algorithms(name != "published", warn_only=True)
            times = timed(action)
            if turn:
                found[name].append(times)
    return found


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def measure(names: list[str], size: int, samples: int, style_samples: int, rounds: int) -> dict:
    made = steps(names, size, samples, style_samples)
    whole = alternate({name: step.whole for name, step in made.items()}, rounds)
    found = {"size": size, "samples": samples, "style_samples": style_samples, "kinds": {}}
    for name, times in whole.items():
        entry = {"seconds": spread([clock for clock, _ in times]), "cpu_seconds": spread([cores for _, cores in times])}
        if "published" in whole:
            pairs = list(zip(whole["published"], times, strict=True))
            entry["times_published"] = statistics.median(theirs[0] / ours[0] for theirs, ours in pairs)
            entry["times_published_cpu"] = statistics.median(theirs[1] / ours[1] for theirs, ours in pairs)
        found["kinds"][name] = entry
    prepared = {name: step.parts() for name, step in made.items() if not getattr(step, "by_neighbours", False)}
    for part in PARTS:
        for name, times in alternate({name: parts[part] for name, parts in prepared.items()}, rounds).items():
            seconds = {
                "seconds": spread([clock for clock, _ in times]),
                "cpu_seconds": spread([cores for _, cores in times]),
            }
            found["kinds"][name].setdefault("parts", {})[part] = seconds
    return found


def peak_memory(name: str, size: int, samples: int, style_samples: int) -> float:
    """GiB that a process of its own holds during its second step, the textures, style and network included."""
    command = [sys.executable, __file__, "--peak", name, str(size), str(samples), str(style_samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def report_peak(name: str, size: int, samples: int, style_samples: int) -> None:
    step = steps([name], size, samples, style_samples)[name]
    step.whole()
    gc.collect()
    machine.reset_peak_memory()
    step.whole()
    print(machine.peak_memory() / 2**30)


def table(results: list[dict]) -> str:
    """Markdown; the parts in CPU seconds."""
    heads = ["size", "step", "seconds", "spread", "CPU s", "times published", "peak GiB", *PARTS]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for found in results:
        for name, entry in found["kinds"].items():
            clock, cores = entry["seconds"], entry["cpu_seconds"]
            parts = ["-"] * len(PARTS)
            if "parts" in entry:
                parts = [f"{entry['parts'][part]['cpu_seconds']['median']:.3f}" for part in PARTS]
            cells = [
                str(found["size"]), name, f"{clock['median']:.2f}", f"{clock['least']:.2f}-{clock['most']:.2f}",
                f"{cores['median']:.2f}",
                f"{entry.get('times_published', 1):.2f} ({entry.get('times_published_cpu', 1):.2f})",
                f"{entry.get('peak_gib', float('nan')):.2f}", *parts,
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--samples", type=int, nargs="+", default=[2048], help="result samples of a step")
    parser.add_argument("--style-samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    kinds = "published, float32, bf16, neighbours, neighbours-layered; the last two with -bf16 behind too"
    parser.add_argument("--kinds", nargs="+", default=["published", "float32", "bf16"], help=kinds)
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(max(torch.get_num_threads(), 2))
    if given.peak:
        report_peak(given.peak[0], *map(int, given.peak[1:]))
        return 0
    results = []
    for size in given.sizes:
        for samples in given.samples:
            found = measure(given.kinds, size, samples, given.style_samples, given.rounds)
            if not given.no_memory:
                for name, entry in found["kinds"].items():
                    entry["peak_gib"] = peak_memory(name, size, samples, given.style_samples)
            results.append(found)
    about = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(about + "\n\n" + table(results))
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
