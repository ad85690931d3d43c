"""Scores of what the pipeline masks in front of the face: things drawn over photos, of which is known what they hide.

    OUT/occluders/pictures/<photo>_<kind>.png     the photo's crop with a thing drawn over it
    OUT/occluders/coverage/<photo>_<kind>.png     the share of each pixel that it hides, 0..255
    OUT/occluders/reconstructions/...             the pictures as the first stage reconstructs them
    OUT/occluders/shown/<photo>_<kind>.png        truth green, masked red, both yellow
    OUT/occluders/scores/<photo>_<kind>.json      scores, with the fingerprint of what they follow from

The kind "nothing" is the photo itself: all that is masked of its face is wrong.
Scores count pixels where the photo surely shows the face (`FaceFrame.surely_skin`) and the mesh of the picture lies.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from evaluation import measures, occluders
from evaluation.face_frame import FaceFrame
from evaluation.layout import OCCLUDERS
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction
from pipeline.reconstruction.images import as_bytes, as_float, read_photo
from pipeline.reconstruction.photos import Subject, input_files
from pipeline.runs.files import read_json, results_fingerprint, write_image, write_json
from pipeline.settings.errors import reason
from pipeline.settings.loading import fingerprint
from pipeline.settings.schema import Config
from pipeline.texture import results
from pipeline.texture.comparison import SEEN
from pipeline.texture.initial import complete_texture
from pipeline.texture.labels import labels_of
from pipeline.texture.sampled import unwrap_photo
from renderer.lookup import build_lookup
from renderer.unwrap import unwrap

VERSION = "1"  # of pictures and scores; raised when the same photo gives others
NOTHING = "nothing"
MASKED = 0.5  # share of a pixel from which it counts as masked, and as hidden
FREE = 0.05  # share up to which it counts as not hidden
SHOWN = 0.5  # share of a pixel's texels that the photo shows well enough for the texture
SAME_FACE = 0.5  # of the pupil distance: how far the eyes of a picture's reconstruction may be from the photo's
FEWEST = 50  # pixels or texels that make a score

TITLES = {  # {score: (title, digits)}
    "iou": ("IoU ↑", 3), "found": ("hidden and masked, share ↑", 3), "skin_lost": ("skin wrongly masked ↓", 4),
    "psnr": ("texture under it, PSNR (dB) ↑", 2), "ciede2000": ("CIEDE2000 ↓", 2),
    "psnr_left": ("PSNR if it were left in (dB)", 2), "hidden": ("face hidden, share", 3),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A photo and what is drawn over it."""

    photo: str  # name
    folder: Path  # the photo's reconstruction
    kind: str  # of occluders.KINDS, or NOTHING
    number: int  # of the drawing of this kind, from 1
    out: Path  # OUT/occluders
    config: Config

    @property
    def name(self) -> str:
        return f"{self.photo}_{self.kind}" + (f"-{self.number}" if self.number > 1 else "")

    def path(self, of: str, ending: str = "png") -> Path:
        return self.out / of / f"{self.name}.{ending}"

    @cached_property
    def drawing_mark(self) -> str:
        """Fingerprint of the picture."""
        what = f"{self.kind} {self.number} {self.config.seed}"
        return results_fingerprint(what, input_files(self.folder), f"{VERSION} {occluders.VERSION}")


@dataclass(frozen=True)
class MaskScores:
    """Scores by name in TITLES, or why there are none."""

    photo: str
    kind: str
    number: int
    scores: dict[str, float] = field(default_factory=dict)
    problem: str = ""


def make_cases(subjects: Sequence[Subject], kinds: Sequence[str], draws: int, out: Path, config: Config) -> list[Case]:
    """A case of each face without anything drawn, and `draws` of each kind."""
    found = []
    for subject in subjects:
        case = lambda kind, number, at=subject: Case(at.name, at.folder, kind, number, out / OCCLUDERS, config)
        found += [case(NOTHING, 1), *(case(kind, number) for kind in kinds for number in range(1, draws + 1))]
    return found


# ---- pictures --------------------------------------------------------------------------------------------------------


def draw_picture(case: Case) -> str:
    """Write a case's picture and coverage where they are not there. Returns a problem, or ""."""
    if case.kind == NOTHING:
        return ""
    try:
        note = case.path("drawn", "json")
        if read_json(note).get("fingerprint") == case.drawing_mark and case.path("pictures").is_file():
            return ""
        for folder in ("pictures", "coverage", "drawn"):
            (case.out / folder).mkdir(parents=True, exist_ok=True)
        frame = FaceFrame.of(load_reconstruction(case.folder, case.config.limits))
        seeds = [case.config.seed, case.number, *(zlib.crc32(text.encode()) for text in (case.photo, case.kind))]
        picture, coverage, label = occluders.draw(case.kind, frame, np.random.default_rng(seeds))
        write_image(case.path("coverage"), as_bytes(coverage))
        write_image(case.path("pictures"), as_bytes(picture))
        write_json(note, {"fingerprint": case.drawing_mark, "label": label})
    except Exception as error:  # noqa: BLE001  whatever it is, the other pictures go on
        return reason(error)
    return ""


# ---- what is masked --------------------------------------------------------------------------------------------------


def masked_share(reconstruction: Reconstruction, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """How far the pipeline leaves each pixel out because something is in front of the skin, and where that is scored.

    Returns [H, W] float32, 0..1, and [H, W] bool: where the photo shows the mesh well enough for the texture.
    """
    seen = _through_mesh(reconstruction, unwrap_photo(reconstruction, _taking_everything(config)).visibility)
    return 1 - skin_share(reconstruction, config), seen > SHOWN


def skin_share(reconstruction: Reconstruction, config: Config) -> np.ndarray:
    """What is scored: how far each pixel shows skin that is taken into the texture, [H, W] float32, 0..1.

    It is the share of skin of the labels. Where a reconstruction has none, it is mask.png, pixel by pixel, times what
    `unwrap.exclude_hair` leaves of the texels that the pixel shows.
    """
    labels = labels_of(reconstruction, config)
    if labels is not None:
        return labels.skin
    own = replace(reconstruction, mask=None)
    configs = config, _taking_everything(config)
    kept, seen = (_through_mesh(own, unwrap_photo(own, each).visibility) for each in configs)
    share = np.where(seen > SHOWN, kept / np.maximum(seen, 1e-6), 1).clip(0, 1)
    return share if reconstruction.mask is None else share * as_float(reconstruction.mask)


def _taking_everything(config: Config) -> Config:
    return config.changed(unwrap=config.unwrap.changed(exclude_hair=False))


def _through_mesh(reconstruction: Reconstruction, texels: np.ndarray) -> np.ndarray:
    """Texels [S, S] as the camera sees them on the mesh: [H, W] float32, 0 beside it."""
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, *texels.shape)
    colours = lookup.matrix @ np.repeat(texels.reshape(-1, 1), 3, 1).astype(np.float32)
    return lookup.to_image(torch.from_numpy(colours), 0.0)[0, 0].numpy()


# ---- scores ----------------------------------------------------------------------------------------------------------


def score(case: Case, found: Sequence[Subject]) -> MaskScores:
    """The scores of a case, kept on disk. found: the faces reconstructed of its picture; the photo's of NOTHING."""
    result = lambda scores, problem="": MaskScores(case.photo, case.kind, case.number, scores, problem)
    try:
        folder = case.folder if case.kind == NOTHING else _same_face(case, found)
        if folder is None:
            return result({}, "the face was not found in the picture")
        files = [*input_files(case.folder), *input_files(folder)]
        what = f"{fingerprint(case.config)} {case.drawing_mark} {results.VERSION} {measures.VERSION}"
        mark = results_fingerprint(what, files, VERSION)
        path = case.path("scores", "json")
        known = read_json(path)
        if known.get("fingerprint") != mark:
            known = {"fingerprint": mark, "scores": _scores(case, folder)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, known)
        return result(known["scores"])
    except Exception as error:  # noqa: BLE001  whatever it is, the other pictures go on
        return result({}, reason(error))


def _same_face(case: Case, found: Sequence[Subject]) -> Path | None:
    """The folder of the face whose eyes are where the photo's are; None where there is none."""
    wanted, reach = _eyes(FaceFrame.of(load_reconstruction(case.folder, case.config.limits)), (0, 0))
    nearest, folder = SAME_FACE, None
    for subject in found:
        if subject.problem:
            continue
        reconstruction = load_reconstruction(subject.folder, case.config.limits)
        eyes, _ = _eyes(FaceFrame.of(reconstruction), _corner(reconstruction))
        distance = float(np.hypot(*(eyes - wanted))) / reach
        if distance < nearest:
            nearest, folder = distance, subject.folder
    return folder


def _eyes(frame: FaceFrame, corner: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Where the eyes' midpoint lies, px of the whole picture, and the pupil distance, px."""
    ends = frame.reconstruction.camera.project(frame.to_camera(np.array([(-31.5, 0, 0), (31.5, 0, 0)])))
    return ends.mean(0) + corner, float(np.hypot(*(ends[1] - ends[0])))


def _corner(reconstruction: Reconstruction) -> tuple[int, int]:
    """Upper left pixel of a reconstruction's crop in its picture."""
    left, top, *_ = reconstruction.source.get("photo", {}).get("crop", (0, 0))
    return int(left), int(top)


def _scores(case: Case, folder: Path) -> dict[str, float]:
    config = case.config
    clean = load_reconstruction(case.folder, config.limits)
    picture = clean if case.kind == NOTHING else load_reconstruction(folder, config.limits)
    frame = FaceFrame.of(clean)
    share, known = masked_share(picture, config)
    if case.kind == NOTHING:
        region, masked = frame.surely_skin & known, share > MASKED
        _show(case, frame.photo, np.zeros(share.shape, bool), masked, region)
        return _named(skin_lost=_mean(masked, region))
    corner = _corner(picture)
    placed = lambda image: _placed(image, corner, frame.inside.shape)
    masked, region = placed(share) > MASKED, frame.surely_skin & placed(known)
    coverage = as_float(read_photo(case.path("coverage"), config.limits)[..., 0])
    hidden, free = (coverage > MASKED) & region, (coverage < FREE) & region
    scored = hidden | free
    _show(case, as_float(read_photo(case.path("pictures"), config.limits)), hidden, masked, scored)
    found = _named(
        iou=_mean(masked & hidden, (masked | hidden) & scored) if hidden.sum() >= FEWEST else None,
        found=_mean(masked, hidden),
        skin_lost=_mean(masked, free),
        hidden=_mean(hidden, scored),
    )
    return found | _texture_scores(clean, picture, frame, coverage, config)


def _texture_scores(
    clean: Reconstruction, picture: Reconstruction, frame: FaceFrame, coverage: np.ndarray, config: Config
) -> dict[str, float]:
    """Error of the completed texture where the thing hides the face, against the photo's own texels there."""
    if clean.mesh.uv_faces.shape != picture.mesh.uv_faces.shape or not np.allclose(clean.mesh.uvs, picture.mesh.uvs):
        return {}  # another system made it, with another layout
    config = config.changed(unwrap=config.unwrap.changed(fit_iterations=0))
    truth = unwrap_photo(clean, _taking_everything(config))
    images = np.stack([frame.surely_skin, coverage, coverage], -1).astype(np.float32)
    skin, hidden, _ = np.moveaxis(unwrap(images, truth.geometry, clean.camera), -1, 0)
    where = (truth.visibility > SEEN) & (skin > SEEN) & (hidden > MASKED)
    if where.sum() < FEWEST:
        return {}
    completed = complete_texture(unwrap_photo(picture, config), picture, None, config).texture.astype(np.float32)
    left = unwrap_photo(picture, _taking_everything(config)).texture
    return _named(
        psnr=measures.psnr(completed, truth.texture, where),
        ciede2000=measures.ciede2000(completed, truth.texture, where),
        psnr_left=measures.psnr(left, truth.texture, where),
    )


def _placed(image: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A crop's image [h, w] at its place in the whole picture [H, W]; 0 around it."""
    whole = np.zeros(shape, image.dtype)
    left, top = corner
    part = whole[top : top + image.shape[0], left : left + image.shape[1]]
    part[:] = image[: part.shape[0], : part.shape[1]]
    return whole


def _show(case: Case, photo: np.ndarray, hidden: np.ndarray, masked: np.ndarray, scored: np.ndarray) -> None:
    """Write the picture [H, W, 3], 0..1: truth green, masked red, both yellow; darker where nothing is scored."""
    tint = np.stack([masked, hidden, np.zeros_like(hidden)], -1).astype(np.float32)
    marked = (masked | hidden) & scored
    image = np.where(scored[..., None], photo, 0.45 * photo)
    image = np.where(marked[..., None], 0.45 * image + 0.55 * tint, image)
    path = case.path("shown")
    path.parent.mkdir(parents=True, exist_ok=True)
    shrink = min(1.0, 512 / max(image.shape[:2]))
    write_image(path, as_bytes(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)))


def _mean(values: np.ndarray, where: np.ndarray) -> float | None:
    return float(values[where].mean()) if np.count_nonzero(where) >= FEWEST else None


def _named(**scores: float | None) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in scores.items() if value is not None}
