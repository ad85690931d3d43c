"""The faces of one photo: where they are, which of them are wanted, and which way up the photo is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from external.errors import UserError
from external.mtcnn import Face, detect_faces
from pipeline.settings.schema import DetectSettings

TURNS = (0, 1, 3, 2)  # quarter turns tried, in this order
BOX = 2.2  # side of the box around five points, in units of the larger of their two spans


class FaceError(UserError):
    """No usable face in a photo; one line."""


FaceAndParts = tuple[Face, object]  # a face, and what `parse` of find_faces made of it


@dataclass(frozen=True)
class FoundFaces:
    pixels: np.ndarray  # the photo upright, uint8 [H, W, 3]
    quarter_turns: int  # counter-clockwise, that brought it upright
    faces: list[FaceAndParts]  # the wanted ones
    focal: float | None = None  # px, where the photo says it: of the whole photo, whose centre is the principal point


def find_faces(
    path: str | Path, pixels: np.ndarray, detect: DetectSettings, parse: Callable[[np.ndarray, Face], object] | None = None
) -> FoundFaces:
    """Find the wanted faces of a photo, pixels: uint8 [H, W, 3].

    path: of the photo; `detections/<stem>.txt` beside it, five lines "x y", is taken for its only face unless
    `detect.points` says otherwise. parse(upright pixels, face): what is needed of a face beyond its points, None where it
    cannot be had; such a face does not count. Raises FaceError.
    """
    known = [read_detection(path) for path in detections_of(path, detect)]
    detected = 0
    for turn in TURNS if detect.try_turned and not known else TURNS[:1]:
        upright = np.ascontiguousarray(np.rot90(pixels, turn))
        candidates = known or detect_faces(upright, detect.minimum_confidence, detect.minimum_size)
        detected += len(candidates)
        # What a detector takes for a face in a turned photo is none; another turn may show the true one.
        made = [(face, parse(upright, face) if parse else None) for face in candidates]
        usable = [pair for pair in made if parse is None or pair[1] is not None]
        if usable:
            return FoundFaces(upright, turn, _chosen(usable, detect.face))
    if detected:
        raise FaceError("a face was detected, but its features were not: it may be too small, blurred, covered or turned away")
    raise FaceError("no face was found: photos need a face of 40 px or more, not turned away (see detect.* in --help)")


def detections_of(path: str | Path, detect: DetectSettings) -> list[Path]:
    """[the file that gives the points of the photo `path`], or [] where MTCNN is to find them."""
    known = Path(path).parent / "detections" / f"{Path(path).stem}.txt"
    return [known] if detect.points == "auto" and known.is_file() else []


def read_detection(path: Path) -> Face:
    """Five points from a text file, "x y" per line in px with whole numbers at the pixels' centres: left eye, right eye,
    nose, left and right mouth corner as seen in the image. Raises FaceError."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        points = np.array([[float(word) for word in line] for line in lines], dtype=np.float64)
    except (OSError, ValueError):  # not readable, not UTF-8, no numbers, or lines of different lengths
        points = np.zeros(0)
    if points.shape != (5, 2) or not np.isfinite(points).all() or np.ptp(points, axis=0).min() < 1:
        raise FaceError(f"{path} does not hold five lines 'x y' (eyes, nose, mouth corners): correct it, or give detect.points=mtcnn")
    points = points + 0.5
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    side = BOX * max(np.linalg.norm(points[0] - points[1]), np.linalg.norm(eyes - mouth))
    centre = (eyes + mouth) / 2
    return Face((centre[0] - side / 2, centre[1] - side / 2, side, side), points, 1.0)


def _chosen(faces: list[FaceAndParts], which: str | int) -> list[FaceAndParts]:
    """The wanted faces. faces: largest first. which: largest, all, or a number in that order. Raises FaceError."""
    if which == "all":
        return faces
    index = 0 if which == "largest" else which
    if index >= len(faces):
        raise FaceError(f"detect.face is {which}, but {len(faces)} faces were found; 0 is the largest, 1 the next")
    return [faces[index]]
