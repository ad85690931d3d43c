"""witnesses.npz of a reconstruction folder: what the first stage's networks say of the photo besides the face.

The networks that find them and those of the refinement cannot share a process, so the first stage writes them down.
docs/contract.md defines the file.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from external.errors import UserError
from pipeline.runs.files import write_bytes

VERSION = 1
LARGEST = 4096  # px of a side, and points of a hand
MEGABYTES = 16.0

# Bones of a hand by its points, and how thick they are, as a share of the palm's length.
_PALM = (0, 1, 5, 9, 13, 17)
_FINGERS = tuple((first + k, first + k + 1) for first in (1, 5, 9, 13, 17) for k in range(3))
_THICKNESS = 0.24


class WitnessesError(UserError):
    """witnesses.npz cannot be used; one line."""


@dataclass(frozen=True)
class Witnesses:
    """What a photo shows besides the face."""

    person: np.ndarray  # uint8 [h, w], over the whole photo: 255 person, 0 background
    hands: np.ndarray  # [N, 21, 2] float32, shares of the photo's width and height

    def person_in(self, width: int, height: int) -> np.ndarray:
        """The person's share [height, width] float32, 0..1."""
        return cv2.resize(self.person, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255

    def hands_in(self, width: int, height: int) -> np.ndarray:
        """Where hands are [height, width] float32, 0..1: palms and fingers drawn between their points."""
        drawn = np.zeros((height, width), np.uint8)
        for hand in self.hands:
            points = hand * (width, height)
            palm = max(float(np.linalg.norm(points[9] - points[0])), 1.0)
            thick = max(round(_THICKNESS * palm), 1)
            at = np.clip(np.round(points), -LARGEST, 2 * LARGEST).astype(np.int32)
            cv2.fillConvexPoly(drawn, cv2.convexHull(at[list(_PALM)]), 255)
            for first, second in _FINGERS + ((0, 5), (0, 17), (5, 9), (9, 13), (13, 17), (0, 1)):
                cv2.line(drawn, at[first].tolist(), at[second].tolist(), 255, thick, cv2.LINE_AA)
        return drawn.astype(np.float32) / 255


def save_witnesses(witnesses: Witnesses, path: Path) -> None:
    """Raises RunFolderError."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, version=VERSION, person=witnesses.person, hands=witnesses.hands)
    write_bytes(path, buffer.getvalue())


def load_witnesses(path: Path) -> Witnesses:
    """Raises WitnessesError naming the file and what is wrong."""
    if path.stat().st_size > MEGABYTES * 1e6:
        raise WitnessesError(f"{path} has more than {MEGABYTES:g} MB; it holds more than it should")
    try:
        with np.load(path, allow_pickle=False) as archive:
            version, person, hands = int(archive["version"]), archive["person"], archive["hands"]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile) as error:
        raise WitnessesError(f"{path} is not readable ({error}): delete it, or run the reconstruction again") from error
    sound = (
        version == VERSION
        and person.dtype == np.uint8 and person.ndim == 2 and 0 < min(person.shape) and max(person.shape) <= LARGEST
        and hands.dtype.kind == "f" and hands.ndim == 3 and hands.shape[1:] == (21, 2) and len(hands) <= LARGEST
        and np.isfinite(hands).all()
    )  # fmt: skip
    if not sound:
        raise WitnessesError(
            f"{path}: version {VERSION} with person uint8 [h, w] and hands float [N, 21, 2] is needed, got version {version}, "
            f"{person.dtype} {list(person.shape)} and {hands.dtype} {list(hands.shape)}"
        )
    return Witnesses(person, hands.astype(np.float32))
