"""How well the head model fits the points of photos: prints one table.

    python tests/benchmarks/bench_fit.py PHOTOS...

PHOTOS: files or folders. For each photo, with its largest face: the mean distance from the points of the fitted head
before the displacement, in % of the face's height; the visible points, the share of them within .5 px after the
displacement, and the median, 95th percentile and maximum of their distances; the fit's processor seconds; yaw and pitch
in degrees; the expressions with weights above .5.

Photos of one person share the part of the file name before "_", or a folder within one of the given folders. Where a
person has several photos, the identity spread follows: the distance between two neutral faces (similarity aligned, root
mean square), within a person and between people, and how often one within is smaller than one between (AUC).
"""

import sys
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np

from external.anny import load_head_model
from external.anny.fit import FitError
from external.anny.head_layout import face_area
from external.anny.reconstruction import HeadFit, HeadFitter
from external.face_mesh.landmarks import find_landmarks
from external.mtcnn import detect_faces
from external.setup import FOLDER
from external.wheel_pins import HEAD
from pipeline.reconstruction.images import read_focal_length, read_photo

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HIT = 0.5  # px
VISIBLE = 0.5  # of HeadFit.visibility
STRONG = 0.5  # weight of an expression


@dataclass(frozen=True)
class Row:
    name: str
    person: str
    fit: HeadFit
    seconds: float

    @property
    def before(self) -> float:
        """Mean error before the displacement, % of the face's height."""
        return float(100 * self.fit.error_before.mean() / self.fit.face_height)

    @property
    def errors(self) -> np.ndarray:  # [N] px, of the visible points
        return self.fit.error[self.fit.visibility > VISIBLE]

    def __str__(self) -> str:
        right, _, ahead = self.fit.head_to_camera[:3, :3]
        yaw, pitch = np.arctan2(right[2], -ahead[2]), np.arcsin(np.clip(self.fit.head_to_camera[1, 2], -1, 1))
        errors, weights = self.errors, sorted(self.fit.expression.items(), key=lambda item: -item[1])
        strong = " ".join(f"{name} {weight:.1f}" for name, weight in weights if weight > STRONG)
        return (
            f"{self.name:16.16s} {self.before:6.2f} {len(errors):7d} {100 * (errors <= HIT).mean():6.1f} "
            f"{np.median(errors):6.3f} {np.percentile(errors, 95):5.2f} {errors.max():5.2f} {self.seconds:5.2f} "
            f"{np.degrees(yaw):4.0f} {np.degrees(pitch):5.0f}  {strong}"
        )


def photos_of(paths: list[str]) -> list[tuple[Path, str]]:
    """The photos among files and folders, in alphabetical order, and their people; every other photo is of its own."""
    photos = []
    for path in map(Path, paths):
        inside = path.rglob("*") if path.is_dir() else [path]
        for found in sorted(found for found in inside if found.suffix.lower() in SUFFIXES):
            folder = found.parent.name if path.is_dir() and found.parent != path else str(found)
            photos.append((found, found.stem.split("_")[0] if "_" in found.stem else folder))
    return photos


def rows_of(photos: list[tuple[Path, str]], fitter: HeadFitter) -> list[Row]:
    """One row a photo; prints each, or why there is none."""
    rows = []
    for photo, person in photos:
        pixels = read_photo(photo)
        faces = detect_faces(pixels)
        landmarks = find_landmarks(pixels, faces[0].box, faces[0].points, irises=True) if faces else None
        if landmarks is None:
            print(f"{photo.stem:16.16s} no face was found")
            continue
        height, width = pixels.shape[:2]
        start = time.process_time()
        try:
            fit = fitter.fit(landmarks, (width, height), read_focal_length(photo, width, height))
        except FitError as error:
            print(f"{photo.stem:16.16s} {error}")
            continue
        seconds = time.process_time() - start
        rows.append(Row(photo.stem, person, fit, seconds))
        print(rows[-1], flush=True)
    return rows


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square distance, mm, of shapes [N, 3], m, after a similarity (Umeyama 1991)."""
    first, second = first - first.mean(0), second - second.mean(0)
    u, _, vt = np.linalg.svd(second.T @ first)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scaled = second @ rotation * (np.linalg.norm(first) / np.linalg.norm(second))
    return float(1000 * np.sqrt(((first - scaled) ** 2).sum(1).mean()))


def main(paths: list[str]) -> None:
    if not paths:
        raise SystemExit("no photos were given; give files or folders")
    model = load_head_model(FOLDER / HEAD.makes.path)
    print("photo            before visible  <=.5 median   95 %   max     s  yaw pitch  expressions", flush=True)
    rows = rows_of(photos_of(paths), HeadFitter(model))
    if not rows:
        raise SystemExit("no photo could be fitted")
    errors = np.concatenate([row.errors for row in rows])
    before = np.array([row.before for row in rows])
    print(
        f"{len(rows)} photos: before {before.mean():.3f} %, largest {before.max():.3f}; within {HIT} px "
        f"{100 * (errors <= HIT).mean():.2f} % of visible points, largest distance {errors.max():.2f} px; "
        f"{np.mean([row.seconds for row in rows]):.2f} s"
    )
    face = np.unique(model.triangles[face_area(model)])
    pairs = [
        (one.person == other.person, distance(one.fit.neutral[face], other.fit.neutral[face]))
        for one, other in combinations(rows, 2)
    ]
    within, between = (np.array([d for same, d in pairs if same == which]) for which in (True, False))
    if len(within) > 1 and len(between):
        auc = (within[:, None] < between).mean()
        print(
            f"identity: within a person {within.mean():.2f} mm ({len(within)} pairs), between people "
            f"{between.mean():.2f} mm ({len(between)} pairs), AUC {auc:.3f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
