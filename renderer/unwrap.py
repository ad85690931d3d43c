"""Resamples the photo into the texture: the sampled texture I_S of the FaceRefiner paper, before masking."""

import cv2
import numpy as np

from renderer.camera import Camera
from renderer.kernels import sample_footprints
from renderer.visibility import TexelGeometry

MAXIMUM_SAMPLES = 4  # along each side of a texel's footprint


def unwrap(photo: np.ndarray, geometry: TexelGeometry, camera: Camera) -> np.ndarray:
    """Samples the photo at the projection of every texel, visible or not.

    photo [H, W, 3] float32, RGB 0..1, of the camera's size. Returns [h, w, 3] float32 of the geometry's size: bicubic
    where the texture is finer than the photo, the mean over the texel's footprint where the photo is finer. The photo's
    border pixels extend outwards. The result is 0 outside the islands and behind the camera.
    Raises ValueError when the photo's size differs from the camera's.
    """
    photo = np.asarray(photo)
    expected = (camera.height, camera.width, 3)
    if photo.shape != expected or photo.dtype.kind != "f":
        given = f"{photo.dtype} of shape {photo.shape}"
        raise ValueError(f"the photo is {given}; floats {expected} are needed (the camera's size)")
    level_image = np.ascontiguousarray(photo, dtype=np.float32)
    sampled = np.zeros((*geometry.mask.shape, 3), dtype=np.float32)
    image = np.full((*geometry.mask.shape, 2), np.nan)
    image[geometry.mask] = camera.project(geometry.positions[geometry.mask])
    usable = np.isfinite(image).all(axis=2)
    if not usable.any():
        return sampled
    centres = np.ascontiguousarray(image[usable])
    along_columns, along_rows = (_steps(image, axis)[usable] for axis in (1, 0))
    extent = np.sqrt(np.maximum((along_columns**2).sum(axis=1), (along_rows**2).sum(axis=1)))
    # Level k halves the photo k times. A footprint too long for MAXIMUM_SAMPLES is sampled in a smaller photo.
    levels = np.ceil(np.log2(np.maximum(extent / MAXIMUM_SAMPLES, 1))).astype(int)
    levels = np.minimum(levels, int(np.log2(min(photo.shape[:2]))))
    colours = np.empty((len(centres), 3), dtype=np.float32)
    for level in range(levels.max() + 1):
        if level:
            size = ((level_image.shape[1] + 1) // 2, (level_image.shape[0] + 1) // 2)
            level_image = cv2.resize(level_image, size, interpolation=cv2.INTER_AREA)
        here = levels == level
        if not here.any():
            continue
        shrink = np.array([level_image.shape[1] / camera.width, level_image.shape[0] / camera.height])
        counts = np.clip(np.ceil(extent[here] * shrink.max() - 0.1), 1, MAXIMUM_SAMPLES).astype(np.int32)
        found = np.empty((len(counts), 3), dtype=np.float32)
        places = (positions[here] * shrink for positions in (centres, along_columns, along_rows))
        sample_footprints(level_image, *places, counts, found)
        colours[here] = found
    # Bicubic interpolation overshoots at hard edges.
    sampled[usable] = np.clip(colours, photo.min(), photo.max())
    return sampled


def _steps(image: np.ndarray, axis: int) -> np.ndarray:  # [h, w, 2] -> [h, w, 2], px
    """Steps in the photo between neighbouring texels along an axis of the texture. image: projections of the texels.

    Of the steps to the two neighbours the shorter one is used, as the longer one may lead into another island; 0
    without neighbours.
    """
    forward = np.diff(image, axis=axis)
    gap = np.full_like(image[:1] if axis == 0 else image[:, :1], np.nan)
    both = np.concatenate([forward, gap], axis), np.concatenate([gap, forward], axis)
    lengths = [np.nan_to_num((step**2).sum(axis=2), nan=np.inf) for step in both]
    shorter = np.where((lengths[0] <= lengths[1])[..., None], both[0], both[1])
    return np.nan_to_num(shorter, nan=0.0)
