"""Initial textures made elsewhere: which one belongs to a photo, and how it becomes a texture of ours."""

from pathlib import Path

import cv2
import numpy as np

from external.assets import used_by
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import IMAGE_ENDINGS, as_float, read_photo
from pipeline.runs.preflight import content_place
from pipeline.settings.errors import ConfigError, UserError
from pipeline.settings.schema import LimitSettings
from renderer.dilate import dilate

EMPTY, EMPTY_AREA = 2, 5e-4  # of 255, and of the image: what a content image leaves black is larger than a pupil


class ContentError(UserError):
    """A photo has no initial texture among those given."""


class ContentImages:
    """The initial textures of `content`: none, one image for all, or a folder matched by the photos' stems."""

    def __init__(self, setting):
        self._place = content_place(setting) if setting else None
        if self._place is not None and not self._place.exists():
            raise ConfigError(f"content is {setting!r}, which does not exist: give an image or a folder of images")
        self._images = {}  # by stem; listed once, for thousands of photos
        if self._place is not None and self._place.is_dir():
            found = sorted((path for path in self._place.iterdir() if path.suffix.lower() in IMAGE_ENDINGS), reverse=True)
            self._images = {path.stem: path for path in found}

    def assets(self):
        """What a manifest says of them: their licence is their generator's."""
        if self._place is None:
            return []
        if self._place.name == "ostec":
            return used_by("ostec")
        return [{"name": "Initial textures", "used_by": "content", "licence": "their generator's", "origin": str(self._place)}]

    def path_of(self, stem):
        """Path of the image for this photo, or None without content. Raises ContentError."""
        if self._place is None or not self._place.is_dir():
            return self._place
        if stem not in self._images:
            raise ContentError(f"the content folder {self._place} has no image named {stem}")
        return self._images[stem]


def read_content(path: Path | None, reconstruction: Reconstruction, limits: LimitSettings) -> np.ndarray | None:
    """The initial texture made elsewhere, uint8 [h, w, 3]: of a content image's path, else the reconstruction's; or None."""
    return reconstruction.content if path is None else read_photo(path, limits)


def content_as_texture(content, size):
    """A given initial texture, uint8 [h, w, 3], resampled to [size, size, 3] float32, 0..1, its empty places filled.

    Generators leave black what they do not paint (around the island, in the mouth), with ragged edges that need not be
    those of the mesh: larger black areas, and those at the border, take the colours beside them. A content image that is all black stays so.
    """
    black = (content.max(axis=2) <= EMPTY).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(black, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= EMPTY_AREA * black.size
    large[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True  # at the image's border
    large[0] = False  # what is painted
    empty = cv2.dilate(large[labels].astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
    image = as_float(content)
    if empty.any() and not empty.all():
        image = dilate(image, ~empty)
    if image.shape[:2] == (size, size):
        return image
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC).clip(0, 1)
