"""What is written for one photo, and the record of the work on it: seconds, losses, progress."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.reconstruction import painted
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes, as_float
from pipeline.runs.files import write_image, write_json
from pipeline.runs.machine import peak_memory, reset_peak_memory
from pipeline.runs.run_folder import LOG_FOLDER, MAKEHUMAN_TEXTURE, export_name, neutral_name
from pipeline.settings.loading import to_yaml
from pipeline.settings.schema import Config
from pipeline.texture.comparison import rendered_over, surely_shown
from pipeline.texture.export import (
    head_mesh,
    in_metres,
    neutral_mesh,
    write_geometry,
    write_glb,
    write_obj,
    write_rigged_glb,
)
from pipeline.texture.initial import Initial
from pipeline.texture.labels import Labels
from pipeline.texture.makehuman import is_in_head_layout, makehuman_texture
from pipeline.texture.preview import preview
from pipeline.texture.provenance import mean_shares, provenance_picture
from pipeline.texture.refined import Refined
from pipeline.texture.sampled import Sampled
from pipeline.texture.scores import identity_similarity, rendering_scores
from pipeline.texture.tensorboard_log import TensorBoardLog
from renderer.lookup import build_lookup
from renderer.mesh import Mesh

VERSION = "6"  # of what this stage writes; raised when the same input gives other results


class WorkLog:
    """Seconds per part of the work on one photo, its loss curve, its memory, and how far it is."""

    def __init__(self, folder: Path, config: Config, progress: Callable[[float, str], None] | None = None):
        """folder: of the results, for TensorBoard's records. progress(share, text)."""
        self.seconds: dict[str, float] = {}
        self.curve: list[dict] = []
        self._tensorboard = TensorBoardLog(folder / LOG_FOLDER) if config.log.tensorboard else None
        self._progress = progress or (lambda share, text: None)
        self._counts_memory = reset_peak_memory()

    @contextmanager
    def part(self, name: str, share: float) -> Iterator[None]:
        """A part of the work, and the share of the photo's work that is done before it."""
        self._progress(share, name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)

    def memory(self) -> dict[str, int]:
        """The process's most memory, in MB, since this log began; where the system tells it only since the process began, it
        is called so: then it may be that of a photo before this one."""
        return {"peak_memory_mb" if self._counts_memory else "process_peak_memory_mb": round(peak_memory() / 2**20)}

    def images(self, initial: np.ndarray, refined: np.ndarray, preview: np.ndarray) -> None:
        """Show images, uint8 [H, W, 3], in TensorBoard where it is asked for."""
        if self._tensorboard:
            self._tensorboard.images(0, initial=initial)
            self._tensorboard.images(self.curve[-1]["step"] if self.curve else 0, refined=refined, preview=preview)

    def steps(self, stage: str, start: float, share: float) -> Callable[[int, int, dict], None]:
        """`step(done, total, losses)` for an optimisation that takes a share of the photo's work from start on."""
        before = self.curve[-1]["step"] if self.curve else 0

        def step(done, total, losses):
            self.curve.append({"stage": stage, **losses, "step": before + losses["step"]})
            self._progress(start + share * done / total, f"{stage} {done}/{total}")
            if self._tensorboard:
                self._tensorboard.losses(self.curve[-1])

        return step


def write_textures(folder: Path, sampled: Sampled, initial: Initial, refined: Refined) -> np.ndarray:
    """The textures as images. Returns the refined one as written, uint8 [H, W, 3]."""
    texture = as_bytes(refined.texture)
    write_image(folder / "sampled.png", as_bytes(sampled.texture))
    write_image(folder / "visibility.png", as_bytes(sampled.visibility))
    write_image(folder / "initial.png", as_bytes(initial.texture))
    write_image(folder / "texture.png", texture)
    write_image(folder / "provenance.png", provenance_picture(initial.provenance, sampled.mask))
    return texture


def write_labels(folder: Path, out: Path, reconstruction: Reconstruction, labels: Labels | None) -> None:
    """labels.png of a reconstruction in OUT, where a person can paint on it; painted ones and other folders are left alone."""
    if labels is not None and reconstruction.painted is None and folder.resolve().is_relative_to(out.resolve()):
        painted.write_labels(folder, labels.labels)


def export_head(folder: Path, name: str, reconstruction: Reconstruction, texture: np.ndarray, outward: float) -> Mesh:
    """OBJ and GLB of the head under a photo's name, in metres; texture.png lies in the folder.

    Where the reconstruction has a rig, the GLB moves and the head at rest is an OBJ too. Returns the mesh as in the
    photo, in the head frame.
    """
    head, rig = head_mesh(reconstruction.mesh, reconstruction.head_to_camera, outward), reconstruction.rig
    head, rig = in_metres(head, rig, reconstruction.metres_per_unit)
    write_obj(folder, head, export_name(name))
    if rig is None:
        write_glb(folder, head, texture, export_name(name))
    else:
        write_geometry(folder / neutral_name(name), neutral_mesh(rig, head), export_name(name))
        write_rigged_glb(folder, head, rig, export_name(name))
    return head


def write_makehuman(folder: Path, mesh: Mesh, texture: np.ndarray) -> list[str]:
    """texture_makehuman.png. texture: uint8. Returns the reason, in a line, where there is none. Raises ConfigError."""
    if not is_in_head_layout(mesh):
        return [f"{MAKEHUMAN_TEXTURE} is left out: the mesh is not the head model, or has another UV layout"]
    write_image(folder / MAKEHUMAN_TEXTURE, as_bytes(makehuman_texture(as_float(texture))))
    return []


def measure(
    reconstruction: Reconstruction, visibility: np.ndarray, texture: np.ndarray, assets: str = ""
) -> tuple[dict, np.ndarray]:
    """Scores of the written texture, uint8, at the photo's native resolution, and the rendering over the photo, 0..1.

    assets: the setting, for identity by ArcFace where its weights are there; "" leaves it out.
    """
    size, photo = texture.shape[0], as_float(reconstruction.photo)
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, size, size)
    overlay, region = rendered_over(lookup, as_float(texture), photo), surely_shown(lookup, visibility)
    scores = {"rendering": {**rendering_scores(overlay, photo, region), "pixels": int(region.sum())}}
    identity = identity_similarity(assets, photo, overlay, reconstruction.source.get("points")) if assets else None
    return scores | ({} if identity is None else {"identity": {"arcface": identity}}), overlay


def write_pictures(
    folder: Path, reconstruction: Reconstruction, overlay: np.ndarray, texture: np.ndarray, head: Mesh, size: int
) -> np.ndarray:
    """rendering.png and preview.png, which is returned. overlay: the rendering over the photo, 0..1. texture: uint8."""
    whole = reconstruction.rig is not None
    picture = preview(as_float(reconstruction.photo), overlay, as_float(texture), head, size, whole)
    write_image(folder / "preview.png", picture)
    write_image(folder / "rendering.png", as_bytes(overlay))
    return picture


def summary(metrics: dict) -> str:
    """A photo's scores for the terminal."""
    shown = lambda value, form: "-" if value is None else format(value, form)
    scores = metrics["rendering"]
    return f"rendering {shown(scores['psnr'], '.1f')} dB, SSIM {shown(scores['ssim'], '.4f')}"


def write_metrics(
    folder: Path, scores: dict, sampled: Sampled, initial: Initial, refined: Refined, config: Config, log: WorkLog, about: dict
) -> dict:
    """metrics.json, the last file to be written: with it the photo is finished. about: what else it holds. Returns it."""
    metrics = {
        **scores,
        "texture_size": config.texture_size,
        "shares": mean_shares(initial.provenance, sampled.mask),
        "losses": log.curve[-1] if log.curve else {},
        "loss_curve": log.curve,
        "seconds": {**log.seconds, "all": round(sum(log.seconds.values()), 3)},
        **log.memory(),
        "notes": refined.notes,
        "settings": to_yaml(config),
        **about,
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
