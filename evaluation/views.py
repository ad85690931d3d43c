"""One view of one photo: the textures of all methods and their scores, kept on disk so that nothing is done twice.

    OUT/views/<photo>/<view>/picture/        the picture with its known geometry: a reconstruction folder, for any program
    OUT/views/<photo>/<view>/truth.png       T*; known.png: where it is known
    OUT/views/<photo>/<view>/<method>.png    texture; <method>.json: scores, seconds, fingerprints

The view "photo" is the photo itself.
"""

import json
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from evaluation import measures, methods, perceptual
from evaluation.identity import FacePoints
from evaluation.methods import Method
from evaluation.prepared import prepare
from evaluation.reprojection import (
    NEAR_FRONTAL,
    at_size,
    make_truth,
    photographed,
    regions,
    standard,
    turned,
    viewpoint,
    yaw_of,
)
from pipeline.reconstruction.folder import ReconstructionError, load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import IMAGE_ENDINGS, PhotoError, as_bytes, as_float, read_photo
from pipeline.reconstruction.photos import input_files
from pipeline.runs.files import InputFileError, results_fingerprint, write_image, write_json
from pipeline.settings.loading import fingerprint
from pipeline.texture import results
from pipeline.texture.comparison import DivergedError, rendered_over, surely_shown
from pipeline.texture.initial import content_as_texture
from pipeline.texture.sampled import unwrap_photo
from pipeline.texture.tasks import ContentError, ContentImages
from renderer.lookup import build_lookup

PHOTO = "photo"
FEWEST_SHOWN = 0.3  # of the truth; from its far side a photo that is itself turned leaves slivers, which no camera would


@dataclass(frozen=True)
class Scoring:
    """What all views share. size: texels of truth and pixels of pictures. truth: folder of given truths, or ""."""

    out: Path
    size: int
    seed: int
    truth: str = ""
    arcface: str = ""  # weights, or ""
    lpips: str = ""  # likewise, a folder


@dataclass(frozen=True)
class Task:
    """photo: name. stem: of the photo's file. folder: its reconstruction. yaw: of the picture, None for the photo itself."""

    photo: str
    stem: str
    folder: Path
    yaw: float | None
    methods: list[Method]
    scoring: Scoring

    @property
    def view(self):
        return PHOTO if self.yaw is None else f"yaw{self.yaw:+g}"

    @property
    def place(self):
        return self.scoring.out / "views" / self.photo / self.view

    @property
    def texture_name(self):
        """What `--textures` folders call it."""
        return self.stem if self.yaw is None else f"{self.stem}_{self.view}"


@dataclass(frozen=True)
class Record:
    """What is known of one method on one view. problem: why there is no texture, in words."""

    photo: str
    view: str
    method: str
    scores: dict
    seconds: float
    problem: str = ""


def set_up_process(threads):
    """In each process: how many threads its libraries may use."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def run_view(task):
    """All methods on one view. Returns a line for people and the number of problems. Raises RunFolderError."""
    started = time.perf_counter()
    task.place.mkdir(parents=True, exist_ok=True)
    try:
        todo = [(method, *_marks(task, method)) for method in task.methods]
    except InputFileError as error:
        return f"{task.photo} {task.view}: {error}", 1
    records = {method.name: _read(task, method.name) for method, _, _ in todo}
    open_ones = [
        (method, texture_mark, mark)
        for method, texture_mark, mark in todo
        if records[method.name].get("fingerprint") != mark or records[method.name].get("problem")
    ]
    problems = 0
    if open_ones:
        try:
            case = _photo_case(task) if task.yaw is None else _turned_case(task)
        except (ReconstructionError, PhotoError) as error:
            for method, _, _ in open_ones:
                _write(task, method.name, {"problem": str(error)})
            return f"{task.photo} {task.view}: {error}", 1
        except _TooLittleShown as reason:
            for method, _, mark in open_ones:
                _write(task, method.name, {"fingerprint": mark, "left_out": str(reason)})
            return f"{task.photo} {task.view}: left out, {reason}", 0
        prepared = {}
        for method, texture_mark, mark in open_ones:
            problems += _run_method(task, case, prepared, method, texture_mark, mark, records[method.name])
    kept = len(todo) - len(open_ones)
    line = f"{task.photo} {task.view}: {len(open_ones) - problems} methods in {time.perf_counter() - started:.1f} s"
    line += f", {kept} finished before" if kept else ""
    return line + (f", {problems} failed" if problems else ""), problems


def suits_reprojection(folder):
    """Whether a photo is near enough to frontal for the benchmark, and its yaw in degrees. Raises ReconstructionError."""
    yaw = yaw_of(load_reconstruction(folder))
    return abs(yaw) <= NEAR_FRONTAL, yaw


class _TooLittleShown(Exception):
    """A picture that is no photo anybody would take; the message says why."""


def read_records(tasks):
    """Records of all tasks, in their order, from disk; and a line for each view that was left out."""
    found, left_out = [], {}
    for task in tasks:
        for method in task.methods:
            entry = _read(task, method.name)
            if "left_out" in entry:
                left_out[f"{task.photo} {task.view}: {entry['left_out']}"] = None
                continue
            found.append(
                Record(task.photo, task.view, method.name, entry.get("scores", {}), entry.get("seconds", 0.0),
                       entry.get("problem", "" if entry else "not done"))
            )  # fmt: skip
    return found, list(left_out)


# ---- one method ------------------------------------------------------------------------------------------------------


def _run_method(task, case, prepared, method, texture_mark, mark, known):
    """Texture, if it is not there from before, and scores. Returns the number of problems, 0 or 1.

    prepared: what methods of this view share.
    """
    path = task.place / f"{method.name}.png"
    try:
        if known.get("texture_fingerprint") == texture_mark and path.is_file():
            texture, seconds = as_float(read_photo(path)), known["seconds"]
        else:
            texture, seconds = _texture(task, case, prepared, method)
            write_image(path, as_bytes(texture))
    except (ContentError, ReconstructionError, PhotoError, DivergedError) as error:
        _write(task, method.name, {"problem": str(error)})
        return 1
    scores = case.scores(texture)
    if seconds is not None:
        scores["seconds"] = seconds
    _write(
        task, method.name,
        {"fingerprint": mark, "texture_fingerprint": texture_mark, "seconds": seconds, "scores": scores},
    )  # fmt: skip
    return 0


def _texture(task, case, prepared, method):
    """A method's texture, and the seconds it takes from the reconstruction on; None for a finished one."""
    size = task.scoring.size
    if method.kind == "textures":
        return at_size(as_float(read_photo(methods.finished_texture(method.folder, task.texture_name))), size), None
    config = method.config
    key = repr((config.texture_size, config.unwrap, config.completion, config.content, config.render, config.refine.rendering_step))
    started = time.perf_counter()
    if key not in prepared:
        content = _content(task, case.reconstruction, config)
        prepared[key] = prepare(case.reconstruction, config, content), time.perf_counter() - started
        started = time.perf_counter()
    textures, shared_seconds = prepared[key]
    texture = methods.make_texture(method, case.reconstruction, textures, size)
    return texture, round(shared_seconds + time.perf_counter() - started, 3)


def _content(task, reconstruction, config):
    """The initial texture that comes with a photo, uint8, or None; a turned picture has none. Raises ContentError."""
    if task.yaw is not None:
        return None
    image, _ = ContentImages(config.content).of(task.stem)
    return reconstruction.content if image is None else image


def _marks(task, method):
    """Fingerprints of a method's texture, and of its scores."""
    scoring = task.scoring
    files = list(input_files(task.folder))
    what = f"{method.kind} {fingerprint(method.config)} {methods.VERSION} {results.VERSION} {scoring.size} {task.view}"
    try:
        if method.kind == "textures":
            files.append(methods.finished_texture(method.folder, task.texture_name))
        else:
            what += " " + methods.features_of(method)
            if task.yaw is None and method.config.content:
                files.append(ContentImages(method.config.content).of(task.stem)[1])
    except ContentError as error:
        what += f" {error}"
    texture_mark = results_fingerprint(what, files, "")
    if task.yaw is None and scoring.truth:
        files = [path for path in [_truth_path(scoring.truth, task.stem)] if path]
    else:
        files = []
    how = f"{texture_mark} {scoring.seed} {bool(scoring.arcface)} {bool(scoring.lpips)}"
    return texture_mark, results_fingerprint(how, files, measures.VERSION)


def _read(task, name):
    try:
        entry = json.loads((task.place / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _write(task, name, entry):
    write_json(task.place / f"{name}.json", entry)


# ---- views -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _photo_truth(folder, size, changed):
    """Of a photo: its reconstruction, T*, and where its facial points lie."""
    reconstruction = load_reconstruction(folder)
    return reconstruction, make_truth(reconstruction, size), FacePoints(reconstruction)


def _loaded(task):
    return _photo_truth(task.folder, task.scoring.size, os.stat(task.folder / "photo.png").st_mtime_ns)


def _turned_case(task):
    reconstruction, truth, points = _loaded(task)
    size = task.scoring.size
    picture = photographed(turned(reconstruction, task.yaw, size), truth)
    found = regions(picture, truth)
    share = np.count_nonzero(found.seen) / max(np.count_nonzero(found.known), 1)
    if share < FEWEST_SHOWN:
        raise _TooLittleShown(f"shows {100 * share:.0f} % of what is known of the face, needed are {100 * FEWEST_SHOWN:.0f} %")
    folder = task.place / "picture"
    folder.mkdir(exist_ok=True)
    source = {
        "system": "rendering of the reprojection benchmark",
        "head_to_camera": picture.head_to_camera.tolist(),
        **({"uv_symmetry": "u=0.5"} if picture.symmetric else {}),
    }
    save_reconstruction(folder, picture.mesh, picture.camera, picture.photo, picture.mask, source)
    write_image(task.place / "truth.png", as_bytes(truth.texture))
    write_image(task.place / "known.png", truth.known.astype(np.uint8) * 255)
    return _TurnedCase(task, truth, points, picture, found)


class _TurnedCase:
    """A picture with known truth."""

    def __init__(self, task, truth, points, picture, found):
        self.reconstruction, self._regions = picture, found
        self._task, self._truth, self._points = task, truth, points
        views = {"frontal": 0.0, "opposite": -task.yaw}
        self._views = {name: viewpoint(turned(picture, yaw, task.scoring.size), truth) for name, yaw in views.items()}
        self._renderings = {name: view.render(truth.texture) for name, view in self._views.items()}

    def scores(self, texture):
        scoring, truth = self._task.scoring, self._truth
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


def _photo_case(task):
    reconstruction, _, points = _loaded(task)
    return _PhotoCase(task, reconstruction, points)


class _PhotoCase:
    """The photo itself, and a complete truth where one is given."""

    def __init__(self, task, reconstruction, points):
        self.reconstruction, self._task, self._points = reconstruction, task, points
        size = task.scoring.size
        unwrapped = unwrap_photo(reconstruction, standard(size))
        self._lookup = build_lookup(reconstruction.mesh, reconstruction.camera, size, size)
        self._photo, self._shown = as_float(reconstruction.photo), surely_shown(self._lookup, unwrapped.visibility)
        self._mask = unwrapped.geometry.mask
        path = _truth_path(task.scoring.truth, task.stem)
        self._truth = None if path is None else content_as_texture(read_photo(path), size)

    def scores(self, texture):
        overlay = rendered_over(self._lookup, texture, self._photo)
        scores = _picture_scores(
            PHOTO, overlay, self._photo, self._shown, self._points, self.reconstruction, self._task.scoring
        )
        if self._truth is not None:
            uv = measures.image_scores(texture, self._truth, self._mask)
            scores |= {f"uv_{name}": value for name, value in uv.items() if value is not None}
        return scores


def _truth_path(folder, stem):
    """The given truth of a photo, or None."""
    if not folder:
        return None
    found = [p for p in sorted(Path(folder).iterdir()) if p.stem == stem and p.suffix.lower() in IMAGE_ENDINGS]
    return found[0] if found else None


def _picture_scores(name, rendering, wanted, shown, points, reconstruction, scoring):
    """PSNR and SSIM where `shown` [H, W] bool, and identity, of a rendering against what it should be."""
    scores = {}
    if shown.any():
        scores |= measures.image_scores(rendering, wanted, shown)
    scores |= points.distances(rendering, wanted, reconstruction, scoring.arcface)
    if scoring.lpips:
        scores["lpips"] = perceptual.distance(rendering, wanted, scoring.lpips)
    return {f"{name}_{measure}": value for measure, value in scores.items() if value is not None}
