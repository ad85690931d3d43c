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
from functools import cache, lru_cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np

from evaluation import measures, methods, perceptual, reprojection
from evaluation.identity import FacePoints
from evaluation.layout import VIEWS
from evaluation.methods import Method
from evaluation.prepared import Prepared, prepare
from evaluation.shared import SharedFace, carried, face_mask, shared_face
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import as_bytes, as_float, read_photo
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
# Share of the truth: from its far side a photo that is itself turned leaves slivers, which no camera would.
FEWEST_SHOWN = 0.3


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


_Case = tuple[Reconstruction, Callable[[np.ndarray], dict[str, float]]]  # with the scores of a texture [S, S, 3], 0..1
_Preparation = Callable[[], tuple[Prepared, float]]  # made by `_prepared`, once


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
    yaw = reprojection.yaw_of(load_reconstruction(folder, limits))
    return abs(yaw) <= reprojection.NEAR_FRONTAL, yaw


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
            problem = entry.get("problem", "" if entry else "not done")
            found.append(Record(view.photo, view.angle, method.name, entry.get("scores", {}), problem))
    return found, list(left_out)


# ---- one method ------------------------------------------------------------------------------------------------------


def _run_jobs(view: View, jobs: Sequence[_Job]) -> Iterator[int]:
    """Do the jobs of a view; yields the number of problems of each, 0 or 1."""
    case = _photo_case(view) if view.yaw is None else _turned_case(view)
    settings_of = lambda job: to_yaml(job.method.config)
    for _, equal in groupby(sorted(jobs, key=settings_of), settings_of):
        equal = list(equal)
        # Only methods of equal config share a preparation.
        prepared = cache(partial(_prepared, view, case[0], equal[0].method.config))
        for job in equal:
            yield _run_job(view, case, prepared, job)


def _run_job(view: View, case: _Case, prepared: _Preparation, job: _Job) -> int:
    """Texture, if it is not there from before, and scores. Returns the number of problems, 0 or 1."""
    path, (reconstruction, scores_of) = view.place / f"{job.method.name}.png", case
    try:
        if job.known.get("texture_fingerprint") == job.texture_mark and path.is_file():
            texture, seconds = as_float(read_photo(path)), job.known["seconds"]
        else:
            texture, seconds = _texture(view, reconstruction, prepared, job.method)
            write_image(path, as_bytes(texture))
        scores = scores_of(texture) | ({} if seconds is None else {"seconds": seconds})
    except Exception as error:  # noqa: BLE001  whatever it is, the other methods go on
        _write(view, job.method.name, {"problem": reason(error)})
        return 1
    entry = {"fingerprint": job.mark, "texture_fingerprint": job.texture_mark, "seconds": seconds, "scores": scores}
    _write(view, job.method.name, entry)
    return 0


def _texture(
    view: View, reconstruction: Reconstruction, prepared: _Preparation, method: Method
) -> tuple[np.ndarray, float | None]:
    """A method's texture, and the seconds it takes from the reconstruction on; None for a finished one."""
    size = view.scoring.size
    if method.kind == "textures":
        path = methods.finished_texture(method.folder, view.texture_name)
        return reprojection.at_size(as_float(read_photo(path, view.scoring.limits)), size), None
    textures, shared_seconds = prepared()
    started = time.perf_counter()
    texture = methods.make_texture(method, reconstruction, textures, size)
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
    truth, weights = _truth_path(view), [_weights_mark(path) for path in (scoring.arcface, scoring.lpips)]
    how = [texture_mark, str(scoring.seed), *weights, perceptual.VERSION]
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
) -> tuple[Reconstruction, reprojection.Truth, FacePoints]:
    """Of a photo: its reconstruction, T*, and where its facial points lie. changed: when its files were."""
    reconstruction = load_reconstruction(folder, limits)
    return reconstruction, reprojection.make_truth(reconstruction, size), FacePoints(reconstruction)


def _loaded(view: View) -> tuple[Reconstruction, reprojection.Truth, FacePoints]:
    changed = tuple(path.stat().st_mtime_ns for path in input_files(view.folder))
    return _photo_truth(view.folder, view.scoring.size, view.scoring.limits, changed)


def _turned_case(view: View) -> _Case:
    """The picture of a view, written as a reconstruction folder, and scores by its truth. Raises _TooLittleShown."""
    scoring, (reconstruction, truth, points) = view.scoring, _loaded(view)
    picture = reprojection.photographed(reprojection.turned(reconstruction, view.yaw, scoring.size), truth)
    found = reprojection.regions(picture, truth)
    share = np.count_nonzero(found.seen) / max(np.count_nonzero(found.known), 1)
    if share < FEWEST_SHOWN:
        needed = f"needed are {100 * FEWEST_SHOWN:.0f} %"
        raise _TooLittleShown(f"shows {100 * share:.0f} % of what is known of the face, {needed}")
    folder = view.place / "picture"
    folder.mkdir(exist_ok=True)
    source = {
        "system": "rendering of the reprojection benchmark",
        "head_to_camera": picture.head_to_camera.tolist(),
        **({"uv_symmetry": "u=0.5"} if picture.symmetric else {}),
    }
    save_reconstruction(folder, picture.mesh, picture.camera, picture.photo, picture.mask, source, rig=picture.rig)
    write_image(view.place / "truth.png", as_bytes(truth.texture))
    write_image(view.place / "known.png", truth.known.astype(np.uint8) * 255)
    yaws = {"frontal": 0.0, "opposite": -view.yaw}
    heads = {name: reprojection.turned(picture, yaw, scoring.size) for name, yaw in yaws.items()}
    viewpoints = {name: reprojection.viewpoint(head, truth) for name, head in heads.items()}
    renderings = {name: each.render(truth.texture) for name, each in viewpoints.items()}
    shared = shared_face(reconstruction)
    shared_scores = None if shared is None else _shared_scores(view, truth, found, shared, viewpoints["opposite"], points)

    def scores(texture: np.ndarray) -> dict[str, float]:
        found_scores = measures.texture_scores(texture, truth.texture, found, scoring.seed)
        # Where there is no truth nobody can be wrong.
        composed = np.where(truth.known[..., None], texture, truth.texture)
        if scoring.lpips and found.unseen.any():
            unseen = np.where(found.unseen[..., None], texture, truth.texture)
            found_scores["unseen_lpips"] = perceptual.distance(unseen, truth.texture, scoring.lpips)
        for name, each in viewpoints.items():
            found_scores |= _picture_scores(name, each.render(composed), renderings[name], each, points, scoring)
        return found_scores if shared_scores is None else found_scores | shared_scores(texture)

    return picture, scores


def _shared_scores(
    view: View, truth: reprojection.Truth, found: reprojection.Regions, shared: SharedFace,
    opposite: reprojection.Viewpoint, points: FacePoints,
) -> Callable[[np.ndarray], dict[str, float]]:  # fmt: skip
    """Scores of a texture [S, S, 3], 0..1, on the shared face, in the layout of the face mask."""
    scoring, size = view.scoring, view.scoring.size // shared.scale
    moved = lambda texture: np.clip(carried(texture, shared, face_mask(), size), 0, 1)
    own_truth, own_regions = moved(truth.texture), reprojection.shared_regions(found, shared, size)
    seen_from = opposite.of_shared(shared, truth.known)
    wanted = seen_from.render(truth.texture)

    def scores(texture: np.ndarray) -> dict[str, float]:
        found_scores = measures.texture_scores(moved(texture), own_truth, own_regions, scoring.seed)
        composed = np.where(truth.known[..., None], texture, truth.texture)
        found_scores |= _picture_scores("opposite", seen_from.render(composed), wanted, seen_from, points, scoring)
        return {measures.SHARED + name: value for name, value in found_scores.items()}

    return scores


def _photo_case(view: View) -> _Case:
    """The photo itself, and scores by a complete truth where one is given."""
    scoring, (reconstruction, _, points) = view.scoring, _loaded(view)
    unwrapped = unwrap_photo(reconstruction, reprojection.standard(scoring.size))
    lookup = build_lookup(reconstruction.mesh, reconstruction.camera, scoring.size, scoring.size)
    own = reprojection.Viewpoint(reconstruction, lookup, surely_shown(lookup, unwrapped.visibility))
    shared = shared_face(reconstruction)
    region = None if shared is None else surely_shown(lookup, unwrapped.visibility * shared.region(*unwrapped.mask.shape))
    photo, path = as_float(reconstruction.photo), _truth_path(view)
    truth = None if path is None else content_as_texture(read_photo(path, scoring.limits), scoring.size)

    def scores(texture: np.ndarray) -> dict[str, float]:
        rendering = rendered_over(lookup, texture, photo)
        found = _picture_scores(PHOTO, rendering, photo, own, points, scoring)
        if region is not None and region.any():
            found |= {f"shared_photo_{name}": v for name, v in measures.image_scores(rendering, photo, region).items()}
        if truth is not None:
            uv = measures.image_scores(texture, truth, unwrapped.mask)
            found |= {f"uv_{name}": value for name, value in uv.items() if value is not None}
        return found

    return reconstruction, scores


def _truth_path(view: View) -> Path | None:
    """The given truth of a view, or None."""
    folder = view.scoring.truth
    return methods.image_named(folder, view.stem) if folder and view.yaw is None else None


def _picture_scores(
    name: str, rendering: np.ndarray, wanted: np.ndarray, seen_from: reprojection.Viewpoint, points: FacePoints,
    scoring: Scoring,
) -> dict[str, float]:  # fmt: skip
    """PSNR and SSIM of a rendering where it shows truth, and identity, against what is wanted; both [H, W, 3], 0..1."""
    scores = {}
    if seen_from.shown.any():
        scores |= measures.image_scores(rendering, wanted, seen_from.shown)
    scores |= points.distances(rendering, wanted, seen_from.reconstruction, scoring.arcface)
    if scoring.lpips:
        scores["lpips"] = perceptual.distance(rendering, wanted, scoring.lpips)
    return {f"{name}_{measure}": value for measure, value in scores.items() if value is not None}
