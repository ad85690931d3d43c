"""Stand-ins for the licensed files: true names, keys, shapes and value ranges, made-up contents.

On the published topology (`published_topology`, from the folder that FACEREFINER_TEST_DATA names) the face model is a
face; `small_topology` needs nothing and is a bulging patch of 108 vertices. Shapes of checkpoints are given by the
caller: the published ones (`published_shapes`) or a network's own.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat, savemat

VGG16_CONVOLUTIONS = {  # index in `features`: channels in and out
    0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
SKIN = np.array([190.0, 145.0, 125.0])


@dataclass(frozen=True)
class Topology:
    vertices: np.ndarray  # [V, 3], decimetres: x to the person's left, y up, z out of the face
    full_count: int  # vertices of the whole morphable model
    trimmed: np.ndarray  # [M], 1-based: which of them have expressions
    front: np.ndarray  # [V], 1-based: which of those are the face
    uvs: np.ndarray  # [M, 2]
    info: dict  # contents of facemodel_info.mat
    deviations: np.ndarray  # [K], std_exp.txt
    source: Path | None = None  # where the public files themselves are


def published_topology(test_data) -> Topology:
    """BFM09's own, with a mean face; test_data: the folder that FACEREFINER_TEST_DATA names."""
    folder = Path(test_data) / "bfm_topology"
    info = loadmat(folder / "facemodel_info.mat")
    return Topology(
        np.load(folder / "mean_face_bfm_topology.npz")["vertices"].astype(np.float64),
        53490,
        loadmat(folder / "BFM_exp_idx.mat")["trimIndex"].ravel().astype(np.int64),
        loadmat(folder / "BFM_front_idx.mat")["idx"].ravel().astype(np.int64),
        loadmat(folder / "BFM_UV.mat")["UV"],
        {name: value for name, value in info.items() if not name.startswith("__")},
        np.loadtxt(folder / "std_exp.txt"),
        folder,
    )


def published_shapes(test_data, name) -> dict[str, list[int]] | None:
    """Names and shapes of a published state dict: deep3d_net_recon or arcface_iresnet50; None where they are absent."""
    path = Path(test_data).parent / "compat" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["state_dict"] if path.is_file() else None


def small_topology(rows=12, columns=9, seed=0) -> Topology:
    generator = np.random.default_rng(seed)
    y, x = (part.ravel() for part in np.meshgrid(np.linspace(0.9, -0.9, rows), np.linspace(-0.7, 0.7, columns), indexing="ij"))
    vertices = np.stack([x, y, 0.6 * np.sqrt(1.2 - x**2 - 0.5 * y**2)], axis=1)
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    faces = np.concatenate([np.stack([a, d, b], 1), np.stack([b, d, c], 1)]) + 1
    around = np.full((len(vertices), 8), len(faces) + 1)
    for vertex in range(len(vertices)):
        touching = np.flatnonzero((faces == vertex + 1).any(1)) + 1
        around[vertex, : len(touching)] = touching
    count, trimmed_count, full_count = len(vertices), len(vertices) + 21, len(vertices) + 44
    trimmed = np.sort(generator.permutation(full_count)[:trimmed_count]) + 1
    front = generator.permutation(trimmed_count)[:count] + 1
    uvs = np.full((trimmed_count, 2), 0.5)
    uvs[front - 1] = np.stack([0.5 + 0.6 * x, 0.5 + 0.5 * y], axis=1)
    info = {
        "tri": faces.astype(np.float32), "point_buf": around.astype(np.float32),
        "keypoints": (generator.permutation(count)[:68] + 1).astype(np.float32)[None],
        "tri_mask2": faces[:40].astype(np.float32), "frontmask2_idx": np.arange(1, 41, dtype=np.float32)[:, None],
        "skinmask": np.ones((1, count), np.float32),
    }  # fmt: skip
    return Topology(vertices, full_count, trimmed, front, uvs, info, np.geomspace(450_000, 800, 79))


def write_public_files(folder, topology) -> None:
    """BFM_exp_idx.mat, BFM_front_idx.mat, BFM_UV.mat, facemodel_info.mat, std_exp.txt; published: the files themselves."""
    folder = Path(folder)
    if topology.source is not None:
        for path in (*topology.source.glob("*.mat"), topology.source / "std_exp.txt"):
            shutil.copyfile(path, folder / path.name)
        return
    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": topology.trimmed[:, None].astype(np.uint16)})
    savemat(folder / "BFM_front_idx.mat", {"idx": topology.front[:, None].astype(np.float32)})
    savemat(folder / "BFM_UV.mat", {"UV": topology.uvs})
    savemat(folder / "facemodel_info.mat", topology.info)
    (folder / "std_exp.txt").write_text(" ".join(f"{value:.6g}" for value in topology.deviations) + "\n", encoding="utf-8")


def write_face_model(folder, topology, seed=0) -> Path:
    """BFM_model_front.mat and the public files: the topology's own shape, skin, and smooth random changes of both."""
    write_public_files(folder, topology)
    generator = np.random.default_rng(seed)
    points = topology.vertices.astype(np.float32)
    content = {
        "meanshape": points.reshape(1, -1) + np.float32(0.01),
        "meantex": _skin(points).reshape(1, -1),
        "idBase": _smooth_basis(points, 80, 0.01, generator),
        "exBase": _smooth_basis(points, 64, 0.008, generator),
        "texBase": _smooth_basis(points, 80, 2.0, generator),
    }
    info = {name: value for name, value in topology.info.items() if name != "frontmask2"}
    path = Path(folder) / "BFM_model_front.mat"
    savemat(path, {**content, **info})
    return path


def write_morphable_model(folder, topology, components=199, seed=0) -> tuple[Path, Path]:
    """01_MorphableModel.mat (at the true size: 250 MB) and Exp_Pca.bin (50 MB). components: 199 in the true one."""
    generator = np.random.default_rng(seed)
    rows = topology.trimmed[topology.front - 1] - 1
    points = generator.normal(0, 0.5, (topology.full_count, 3)).astype(np.float32)
    points[rows] = topology.vertices
    content = {}
    for kind, mean, amplitude, largest in (("shape", points * 1e5, 1e3, 9e5), ("tex", _skin(points), 2.0, 4e3)):
        deviations = np.geomspace(largest, largest / 100, components, dtype=np.float32)
        content[f"{kind}MU"] = mean.reshape(-1, 1).astype(np.float32)
        content[f"{kind}PC"] = _smooth_basis(points, components, amplitude, generator) / deviations
        content[f"{kind}EV"] = deviations[:, None]
    model, expression = Path(folder) / "01_MorphableModel.mat", Path(folder) / "Exp_Pca.bin"
    savemat(model, content)
    count = len(topology.deviations)
    with expression.open("wb") as file:
        np.array([count], "<i4").tofile(file)
        generator.normal(0, 1e3, 3 * len(topology.trimmed)).astype("<f4").tofile(file)  # the mean, which is not used
        basis = _smooth_basis(points[topology.trimmed - 1], count, 800.0, generator) / topology.deviations
        basis.T.astype("<f4").tofile(file)
    return model, expression


def tame_state(shapes, seed=0, head_gain=0.03) -> dict[str, torch.Tensor]:
    """Random weights with which values neither grow nor vanish through a residual network of these names and shapes.

    head_gain: size of the reconstruction network's coefficients, so that its faces stay close to the mean face.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        shape = tuple(shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000)
        elif len(shape) > 1:
            fan_in = int(np.prod(shape[1:]))
            gain = head_gain if name.startswith("final_layers") else 2**0.5
            state[name] = torch.randn(shape, generator=generator) * gain / fan_in**0.5
        elif name.endswith(("running_mean", "bias")):
            state[name] = (0.01 if name.startswith("final_layers") else 0.05) * torch.randn(shape, generator=generator)
        elif name.endswith("prelu.weight"):
            state[name] = torch.full(shape, 0.25)
        else:  # variances and the gains of normalisations; what a block adds is kept small
            state[name] = (0.3 if "bn3.weight" in name else 1.0) * (0.9 + 0.2 * torch.rand(shape, generator=generator))
    return state


def write_reconstruction_checkpoint(path, shapes, seed=0) -> Path:
    """epoch_latest.pth with `net_recon` of these names and shapes, and something beside it as in the published one."""
    torch.save({"net_recon": tame_state(shapes, seed), "opt_00": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, path)
    return Path(path)


def write_backbone(path, shapes, seed=0) -> Path:
    """backbone.pth: a plain state dict."""
    torch.save(tame_state(shapes, seed), path)
    return Path(path)


def write_vgg16(path, seed=0) -> Path:
    """torchvision's vgg16 state dict without its classifier, with random weights."""
    shapes = {}
    for index, (channels, width) in VGG16_CONVOLUTIONS.items():
        shapes[f"features.{index}.weight"], shapes[f"features.{index}.bias"] = (width, channels, 3, 3), (width,)
    torch.save(tame_state(shapes, seed), path)
    return Path(path)


def _skin(points):
    """RGB 0..255 of a face at points [N, 3]: broad shading, darker eyes and brows, red lips."""
    x, y = points[:, 0], points[:, 1]
    colours = SKIN * (1 + 0.08 * np.cos(3 * x) + 0.06 * np.sin(4 * y))[:, None]
    eyes = (((np.abs(x) - 0.31) / 0.14) ** 2 + ((y - 0.29) / 0.06) ** 2 < 1)[:, None]
    lips = ((x / 0.25) ** 2 + ((y + 0.38) / 0.08) ** 2 < 1)[:, None]
    colours = np.where(eyes, (90.0, 75.0, 70.0), np.where(lips, (170.0, 85.0, 85.0), colours))
    return colours.clip(0, 255).astype(np.float32)


def _smooth_basis(points, count, amplitude, generator):
    """[3N, count]: waves over the surface, each in one direction."""
    waves = generator.normal(0, 2, (3, count)).astype(np.float32)
    phases, directions = generator.uniform(0, 2 * np.pi, count), generator.normal(size=(3, count))
    directions = amplitude * directions / np.linalg.norm(directions, axis=0)
    heights = np.sin(points @ waves + phases.astype(np.float32))
    return (heights[:, None, :] * directions.astype(np.float32)).reshape(-1, count)
