"""labels.png of a reconstruction folder: what each pixel of the photo shows, in colours that a person can paint with.

The refinement writes it. A file whose pixels are no longer those that were written has been painted, and its labels
count. labels.json holds the legend, and the digest by which that is told.
"""

import hashlib
from pathlib import Path

import numpy as np

from pipeline.reconstruction.images import LIMITS, PhotoError, read_photo
from pipeline.runs.files import read_json, write_image, write_json
from pipeline.settings.schema import LimitSettings

SKIN, HAIR, GLASSES, OTHER, BACKGROUND = range(5)
NAMES = ("skin", "hair", "glasses", "other", "background")
COLOURS = np.array([(255, 210, 160), (128, 64, 255), (0, 192, 255), (255, 32, 96), (48, 48, 48)], np.uint8)
LABELS, LEGEND = "labels.png", "labels.json"


def write_labels(folder: Path, labels: np.ndarray) -> None:
    """Labels uint8 [H, W] as labels.png, with their legend. Raises RunFolderError."""
    picture = COLOURS[labels]
    colours = {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in zip(NAMES, COLOURS.tolist(), strict=True)}
    # The legend first: a kill in between leaves a picture that counts as painted, as it was before.
    write_json(folder / LEGEND, {"version": 1, "legend": colours, "sha256": _digest(picture)})
    write_image(folder / LABELS, picture)


def read_labels(path: Path, limits: LimitSettings = LIMITS) -> np.ndarray:
    """Labels uint8 [H, W] of labels.png: of each pixel the one whose colour is nearest. Raises PhotoError."""
    picture = read_photo(path, limits)
    colours, which = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = [int(((COLOURS.astype(int) - colour) ** 2).sum(1).argmin()) for colour in colours.astype(int)]
    return np.array(nearest, np.uint8)[which].reshape(picture.shape[:2])


def is_painted(folder: Path, limits: LimitSettings = LIMITS) -> bool:
    """Whether the folder has a labels.png that is not as it was written."""
    path = folder / LABELS
    if not path.is_file():
        return False
    written = read_json(folder / LEGEND).get("sha256")
    try:
        return _digest(read_photo(path, limits)) != written
    except PhotoError:
        return True  # whoever reads it says what is wrong


def _digest(picture: np.ndarray) -> str:
    """Of the pixels, not the file: saving it again is no painting."""
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()
