"""One view of one photo: the textures of all methods and their scores, kept on disk so that nothing is done twice.

    OUT/views/<photo>/<view>/picture/        the picture with its known geometry: a reconstruction folder
    OUT/views/<photo>/<view>/truth.png       T*; known.png: where it is known
    OUT/views/<photo>/<view>/<method>.png    texture; <method>.json: scores, seconds, fingerprints

The view "photo" is the photo itself.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from evaluation import measures, methods, perceptual
from evaluation.identity import FacePoints
from evaluation.layout import VIEWS
from evaluation.methods import Method
from evaluation.prepared import Prepared, prepare
from evaluation.reprojection import (
    NEAR_FRONTAL,
    Regions,
    Truth,
    at_size,
    make_truth,
    photographed,
    regions,
    standard,
    turned,
    viewpoint,
    yaw_of,
)
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import IMAGE_ENDINGS, as_bytes, as_float, read_photo
from pipeline.reconstruction.photos import input_files
from pipeline.runs.backends import choose_device, choose_renderer
from pipeline.runs.files import read_json, results_fingerprint, write_image, write_json
from pipeline.settings.errors import reason
from pipeline.settings.loading import fingerprint, to_yaml
from pipeline.settings.schema import Config, LimitSettings
from pipeline.texture import results
from pipeline.texture.comparison import rendered_over, surely_shown
from pipeline.texture.initial import content_as_texture, read_content
from pipeline.texture.sampled import unwrap_photo
from pipeline.texture.tasks import ContentError
from renderer.lookup import build_lookup

PHOTO = "photo"
FEWEST_SHOWN = (
    0.3  # of the truth; from its far side a photo that is itself turned leaves slivers, which no camera would
)


@dataclass(frozen=True)
class Scoring:
    """What all views share."""

    out: Path
    size: int  # texels of truth, px of pictures
    seed: int
    limits: LimitSettings = field(default_factory=LimitSettings)
    truth: str = ""  # folder of given truths, or ""
    arcface: str = ""  # file of weights, or ""
    lpips: str = ""  # likewise: AlexNet's


@dataclass(frozen=True)
class View:
    """One view of a face, and the methods that make its texture."""

    photo: str  # name
    stem: str  # of the photo's file
    folder: Path  # its reconstruction
    yaw: float | None  # of the picture, degrees; None for the photo itself
    methods: list[Method]
    scoring: Scoring

    @property
    def angle(self) -> str:
        return PHOTO if self.yaw is None else f"yaw{self.yaw:+g}"

    @property
    def name(self) -> str:
        return f"{self.photo} {self.angle}"

    @property
    def place(self) -> Path:
        return self.scoring.out / VIEWS / self.photo / self.angle

    @property
    def texture_name(self) -> str:
        """What `--textures` folders call it."""
        return self.stem if self.yaw is None else f"{self.stem}_{self.angle}"


@dataclass(frozen=True)
class Record:
    """What is known of one method on one view. problem: why there is no texture, in words."""

    photo: str
    angle: str  # of the view
    method: str
    scores: dict[str, float]
    seconds: float | None
    problem: str = ""


@dataclass(frozen=True)
class _Job:
    """A method on a view, with the fingerprints of its texture and of its scores, and what is on disk of it."""

    method: Method
    texture_mark: str
    mark: str
    known: dict

    @property
    def is_done(self) -> bool:
        return self.known.get("fingerprint") == self.mark and not self.known.get("problem")

    @property
    def settings(self) -> str:
        return to_yaml(self.method.config)


def run_view(view: View) -> tuple[str, int]:
    """All methods on one view. Returns a line for people and the number of problems. Raises RunError."""
    started = time.perf_counter()
    left = []
    try:
        view.place.mkdir(parents=True, exist_ok=True)
        jobs = [_Job(method, *_marks(view, method), _read(view, method.name)) for method in view.methods]
        left = [job for job in jobs if not job.is_done]
        problems = sum(_run_jobs(view, left)) if left else 0
    except _TooLittleShown as error:
        for job in left:
            _write(view, job.method.name, {"fingerprint": job.mark, "left_out": str(error)})
        return f"{view.name}: left out, {error}", 0
    except Exception as error:  # noqa: BLE001  whatever it is, the other views go on
        problem = reason(error)
        for job in left:
            _write(view, job.method.name, {"problem": problem})
        return f"{view.name}: {problem}", 1
    kept = len(jobs) - len(left)
    line = f"{view.name}: {len(left) - problems} methods in {time.perf_counter() - started:.1f} s"
    line += f", {kept} finished before" if kept else ""
    return line + (f", {problems} failed" if problems else ""), problems


def suits_reprojection(folder: Path, limits: LimitSettings) -> tuple[bool, float]:
    """Whether a photo is near enough to frontal for the benchmark, and its yaw, degrees. Raises ReconstructionError."""
    yaw = yaw_of(load_reconstruction(folder, limits))
    return abs(yaw) <= NEAR_FRONTAL, yaw


class _TooLittleShown(Exception):
    """A picture that is no photo anybody would take; the message says why."""


def read_records(views: Sequence[View]) -> tuple[list[Record], list[str]]:
    """Records of all views, in their order, from disk; and a line for each view that was left out."""
    found, left_out = [], {}
    for view in views:
        for method in view.methods:
            entry = _read(view, method.name)
            if "left_out" in entry:
                left_out[f"{view.name}: {entry['left_out']}"] = None
                continue
            found.append(
                Record(view.photo, view.angle, method.name, entry.get("scores", {}), entry.get("seconds", 0.0),
                       entry.get("problem", "" if entry else "not done"))
            )  # fmt: skip
    return found, list(left_out)


# ---- one method ------------------------------------------------------------------------------------------------------


def _run_jobs(view: View, jobs: Sequence[_Job]) -> Iterator[int]:
    """Do the jobs of a view; yields the number of problems of each, 0 or 1."""
    case = _photo_case(view) if view.yaw is None else _turned_case(view)
    by_settings = lambda job: job.settings
    for _, equal in groupby(sorted(jobs, key=by_settings), by_settings):
        equal = list(equal)
        # Only methods of equal config share a preparation.
        prepared = cache(lambda config=equal[0].method.config: _prepared(view, case.reconstruction, config))
        for job in equal:
            yield _run_job(view, case, prepared, job)


def _run_job(view: View, case: "_Case", prepared: Callable[[], tuple[Prepared, float]], job: _Job) -> int:
    """Texture, if it is not there from before, and scores. Returns the number of problems, 0 or 1."""
    path = view.place / f"{job.method.name}.png"
    try:
        if job.known.get("texture_fingerprint") == job.texture_mark and path.is_file():
            texture, seconds = as_float(read_photo(path)), job.known["seconds"]
        else:
            texture, seconds = _texture(view, case, prepared, job.method)
            write_image(path, as_bytes(texture))
        scores = case.scores(texture) | ({} if seconds is None else {"seconds": seconds})
    except Exception as error:  # noqa: BLE001  whatever it is, the other methods go on
        _write(view, job.method.name, {"problem": reason(error)})
        return 1
    entry = {"fingerprint": job.mark, "texture_fingerprint": job.texture_mark, "seconds": seconds, "scores": scores}
    _write(view, job.method.name, entry)
    return 0


def _texture(
    view: View, case: "_Case", prepared: Callable[[], tuple[Prepared, float]], method: Method
) -> tuple[np.ndarray, float | None]:
    """A method's texture, and the seconds it takes from the reconstruction on; None for a finished one."""
    size = view.scoring.size
    if method.kind == "textures":
        path = methods.finished_texture(method.folder, view.texture_name)
        return at_size(as_float(read_photo(path, view.scoring.limits)), size), None
    textures, shared_seconds = prepared()
    started = time.perf_counter()
    texture = methods.make_texture(method, case.reconstruction, textures, size)
    return texture, round(shared_seconds + time.perf_counter() - started, 3)


def _prepared(view: View, reconstruction: Reconstruction, config: Config) -> tuple[Prepared, float]:
    """What a config makes of a view before it is refined, and the seconds of that. Raises UserError."""
    started = time.perf_counter()
    content = None
    if view.yaw is None:  # an initial texture made elsewhere belongs to the photo, not to a turned picture
        content = read_content(methods.content_of(config, view.stem), reconstruction, config.limits)
    return prepare(reconstruction, config, content), time.perf_counter() - started


def _marks(view: View, method: Method) -> tuple[str, str]:
    """Fingerprints of a method's texture, and of its scores. Raises InputFileError."""
    scoring, config = view.scoring, method.config
    files = list(input_files(view.folder))
    what = f"{method.kind} {fingerprint(config)} {methods.VERSION} {results.VERSION} {scoring.size} {view.angle}"
    try:
        if method.kind == "textures":
            files.append(methods.finished_texture(method.folder, view.texture_name))
        else:
            renderer = choose_renderer(config.renderer, choose_device(config.device))
            what += f" {methods.features_of(config).kind} {renderer.kind}"
            image = methods.content_of(config, view.stem) if view.yaw is None else None
            files += [image] if image else []
    except ContentError as error:
        what += f" {error}"
    texture_mark = results_fingerprint(what, files, "")
    truth = _truth_path(scoring.truth, view.stem) if view.yaw is None else None
    how = [
        texture_mark,
        str(scoring.seed),
        _weights_mark(scoring.arcface),
        _weights_mark(scoring.lpips),
        perceptual.VERSION,
    ]
    return texture_mark, results_fingerprint(" ".join(how), [truth] if truth else [], measures.VERSION)


def _weights_mark(path: str) -> str:
    """Fingerprint of a file of weights; "-" for none."""
    if not path:
        return "-"
    state = os.stat(path)
    return _hashed(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _hashed(path: str, changed: int, size: int) -> str:
    """Once in a process for each state of a file: they have hundreds of megabytes."""
    return results_fingerprint("weights", [path], "")


def _read(view: View, name: str) -> dict:
    return read_json(view.place / f"{name}.json")


def _write(view: View, name: str, entry: dict) -> None:
    write_json(view.place / f"{name}.json", entry)


# ---- views -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _photo_truth(
    folder: Path, size: int, limits: LimitSettings, changed: tuple[int, ...]
) -> tuple[Reconstruction, Truth, FacePoints]:
    """Of a photo: its reconstruction, T*, and where its facial points lie. changed: when its files were."""
    reconstruction = load_reconstruction(folder, limits)
    return reconstruction, make_truth(reconstruction, size), FacePoints(reconstruction)


def _loaded(view: View) -> tuple[Reconstruction, Truth, FacePoints]:
    changed = tuple(path.stat().st_mtime_ns for path in input_files(view.folder))
    return _photo_truth(view.folder, view.scoring.size, view.scoring.limits, changed)


def _turned_case(view: View) -> "_TurnedCase":
    """The picture of a view, written as a reconstruction folder, and its truth. Raises _TooLittleShown."""
    reconstruction, truth, points = _loaded(view)
    picture = photographed(turned(reconstruction, view.yaw, view.scoring.size), truth)
    found = regions(picture, truth)
    share = np.count_nonzero(found.seen) / max(np.count_nonzero(found.known), 1)
    if share < FEWEST_SHOWN:
        raise _TooLittleShown(
            f"shows {100 * share:.0f} % of what is known of the face, needed are {100 * FEWEST_SHOWN:.0f} %"
        )
    folder = view.place / "picture"
    folder.mkdir(exist_ok=True)
    source = {
        "system": "rendering of the reprojection benchmark",
        "head_to_camera": picture.head_to_camera.tolist(),
        **({"uv_symmetry": "u=0.5"} if picture.symmetric else {}),
    }
    save_reconstruction(folder, picture.mesh, picture.camera, picture.photo, picture.mask, source)
    write_image(view.place / "truth.png", as_bytes(truth.texture))
    write_image(view.place / "known.png", truth.known.astype(np.uint8) * 255)
    return _TurnedCase(view, truth, points, picture, found)


class _TurnedCase:
    """A picture with known truth."""

    def __init__(self, view: View, truth: Truth, points: FacePoints, picture: Reconstruction, found: Regions):
        self.reconstruction, self._regions = picture, found
        self._scoring, self._truth, self._points = view.scoring, truth, points
        yaws = {"frontal": 0.0, "opposite": -view.yaw}
        self._views = {name: viewpoint(turned(picture, yaw, view.scoring.size), truth) for name, yaw in yaws.items()}
        self._renderings = {name: view.render(truth.texture) for name, view in self._views.items()}

    def scores(self, texture: np.ndarray) -> dict[str, float]:
        """Scores of a texture [S, S, 3], 0..1."""
        scoring, truth = self._scoring, self._truth
        scores = measures.texture_scores(texture, truth.texture, self._regions, scoring.seed)
        # Where there is no truth nobody can be wrong.
        composed = np.where(truth.known[..., None], texture, truth.texture)
        if scoring.lpips and self._regions.unseen.any():
            unseen = np.where(self._regions.unseen[..., None], texture, truth.texture)
            scores["unseen_lpips"] = perceptual.distance(unseen, truth.texture, scoring.lpips)
        for name, view in self._views.items():
            rendering, wanted = view.render(composed), self._renderings[name]
            scores |= _picture_scores(name, rendering, wanted, view.shown, self._points, view.reconstruction, scoring)
        return scores


def _photo_case(view: View) -> "_PhotoCase":
    reconstruction, _, points = _loaded(view)
    return _PhotoCase(view, reconstruction, points)


class _PhotoCase:
    """The photo itself, and a complete truth where one is given."""

    def __init__(self, view: View, reconstruction: Reconstruction, points: FacePoints):
        self.reconstruction, self._scoring, self._points = reconstruction, view.scoring, points
        size = view.scoring.size
        unwrapped = unwrap_photo(reconstruction, standard(size))
        self._lookup = build_lookup(reconstruction.mesh, reconstruction.camera, size, size)
        self._photo, self._shown = as_float(reconstruction.photo), surely_shown(self._lookup, unwrapped.visibility)
        self._mask = unwrapped.mask
        path = _truth_path(view.scoring.truth, view.stem)
        self._truth = None if path is None else content_as_texture(read_photo(path, view.scoring.limits), size)

    def scores(self, texture: np.ndarray) -> dict[str, float]:
        """Scores of a texture [S, S, 3], 0..1."""
        overlay = rendered_over(self._lookup, texture, self._photo)
        scores = _picture_scores(
            PHOTO, overlay, self._photo, self._shown, self._points, self.reconstruction, self._scoring
        )
        if self._truth is not None:
            uv = measures.image_scores(texture, self._truth, self._mask)
            scores |= {f"uv_{name}": value for name, value in uv.items() if value is not None}
        return scores


_Case = _TurnedCase | _PhotoCase


def _truth_path(folder: str, stem: str) -> Path | None:
    """The given truth of a photo, or None."""
    if not folder:
        return None
    found = [p for p in sorted(Path(folder).iterdir()) if p.stem == stem and p.suffix.lower() in IMAGE_ENDINGS]
    return found[0] if found else None


def _picture_scores(
    name: str,
    rendering: np.ndarray,  # [H, W, 3], 0..1
    wanted: np.ndarray,  # [H, W, 3], what the rendering should be
    shown: np.ndarray,  # [H, W] bool, where the two are compared
    points: FacePoints,
    reconstruction: Reconstruction,
    scoring: Scoring,
) -> dict[str, float]:
    """PSNR and SSIM where `shown`, and identity, of a rendering against what it should be."""
    scores = {}
    if shown.any():
        scores |= measures.image_scores(rendering, wanted, shown)
    scores |= points.distances(rendering, wanted, reconstruction, scoring.arcface)
    if scoring.lpips:
        scores["lpips"] = perceptual.distance(rendering, wanted, scoring.lpips)
    return {f"{name}_{measure}": value for measure, value in scores.items() if value is not None}
