"""The initial texture I_C: complete colours, from a given content image or from what the photo shows."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_float, read_photo
from pipeline.settings.schema import Config, LimitSettings
from pipeline.texture.completion import complete
from pipeline.texture.sampled import Sampled
from renderer.dilate import dilate

EMPTY, EMPTY_AREA = 2, 5e-4  # of 255, and of the image: what a content image leaves black is larger than a pupil


@dataclass(frozen=True)
class Initial:
    """I_C and where it comes from; arrays are float32, 0..1."""

    texture: np.ndarray  # I_C [H, W, 3], complete, continued past the islands
    goal: np.ndarray  # [H, W, 3], I_C with the sampled texture over it as far as it is seen
    provenance: dict[str, np.ndarray]  # {name in pipeline.texture.provenance.LEGEND: share [H, W] of each texel's colour}


def complete_texture(
    sampled: Sampled, reconstruction: Reconstruction, content: np.ndarray | None, config: Config
) -> Initial:
    """I_C of a sampled texture. content: initial texture made elsewhere, uint8 [h, w, 3], in place of the completion."""
    seen, mask = sampled.visibility, sampled.mask
    if content is not None:
        given = np.where(mask[..., None], content_as_texture(content, config.texture_size), 0)
        texture = dilate(given, mask)
        goal = dilate(texture + seen[..., None] * (sampled.texture - texture), mask)
        return Initial(texture, goal, {"observed": seen, "given": 1 - seen})
    normals = None
    if reconstruction.symmetric:
        normals = (sampled.geometry.normals @ reconstruction.head_to_camera[:3, :3]) * sampled.outward
    completion = complete(sampled.texture, seen, mask, normals, config.completion)
    texture = dilate(completion.texture, mask)
    return Initial(
        texture, texture, {"observed": seen, "mirrored": completion.mirrored, "synthesised": completion.smooth}
    )


def read_content(path: Path | None, reconstruction: Reconstruction, limits: LimitSettings) -> np.ndarray | None:
    """The initial texture made elsewhere, uint8 [h, w, 3]: of a content image's path, else the reconstruction's; or None."""
    return reconstruction.content if path is None else read_photo(path, limits)


def content_as_texture(content: np.ndarray, size: int) -> np.ndarray:
    """A given initial texture, uint8 [h, w, 3], resampled to [size, size, 3] float32, 0..1, its empty places filled.

    Generators leave black what they do not paint (around the island, in the mouth), with ragged edges that need not be
    those of the mesh: larger black areas, and those at the border, take the colours beside them. A content image that is
    all black stays so.
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
