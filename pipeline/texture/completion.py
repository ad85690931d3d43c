"""The initial texture I_C: complete colours from what one photo shows.

A texel the photo does not show takes the colour of its mirror image, moved by the difference in light between the two
places, and by what is left of a step at the border. What neither side shows is filled smoothly. Seen texels keep the
photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.texture.relight import light_difference
from renderer.dilate import push_pull

REFERENCE_TEXTURE = 512  # distances below are in texels of a texture this wide
LIGHT_BLUR = 6.0  # pores and lashes say nothing about light
BORDER_BAND = 14.0  # width of the band beside the seen texels in which the step to them is measured
STEP_BLUR = 12.0  # wide enough that a lash or brow at the border does not colour the skin behind it
LIGHT_LIMIT = 1.2  # largest change of light between the halves, natural log units
STEP_LIMIT = 0.6  # natural log units; more is no difference in light
SURE_BORDER = 6.0  # over which seen texels at the border gain weight in a fill
DETAIL_SIGMA = 1.5  # finer than this is detail that may be continued
DETAIL_WINDOW = 20.0  # side of the windows it is continued in
EDGE_BLEND = 8.0  # over which mirrored texels give way to the smooth fill
OFFSET = 0.05  # of log colours: dark texels are noise
SEEN = 0.99


@dataclass(frozen=True)
class Completion:
    """texture [H, W, 3] float32, 0..1. mirrored, smooth [H, W] float32: share of each texel's colour that came from its
    mirror image and from the smooth fill; the rest is the photo's."""

    texture: np.ndarray
    mirrored: np.ndarray
    smooth: np.ndarray


def complete(sampled, visibility, mask, normals, settings):
    """Complete a sampled texture.

    sampled: I_S [H, W, 3], 0..1. visibility: [H, W], 0..1. mask: [H, W] bool, texels inside the islands.
    normals: outward unit normals [H, W, 3] in the head frame (x to the person's left) of a texture that is symmetric
    about u = 0.5; None where the mesh has no known symmetry: nothing is mirrored then.
    settings: pipeline.settings.schema.CompletionSettings.
    Returns Completion. Raises ValueError where no texel is seen.
    """
    seen = np.where(mask, visibility, 0).astype(np.float32)
    if not (seen > SEEN).any():
        raise ValueError("the photo shows no texel of the mesh well enough: check that mesh and camera fit the photo")
    sampled = np.where(seen[..., None] > 0, sampled, 0).astype(np.float32)
    unit = max(mask.shape) / REFERENCE_TEXTURE
    # The outermost seen texels hold a little of what is beside the face; they must not spread it.
    sure = _ramp_inside(seen > SEEN, SURE_BORDER * unit)
    if not sure.any():
        sure = seen
    if normals is None or settings.method == "smooth":
        filled = _smooth_fill(sampled, sure, mask)
        shares = np.where(mask, 1 - seen, 0)
        return Completion(_blend(filled, sampled, seen), np.zeros_like(seen), shares)

    mirror, mirror_seen = sampled[:, ::-1], seen[:, ::-1] * mask
    # Where the mirror image is itself badly seen its colours fade out, before the seam to the fill could show.
    known = _ramp_inside(mirror_seen > SEEN, EDGE_BLEND * unit)
    if settings.relight:
        mirror = _relit(mirror, sampled, seen, mask, normals, settings, unit)
    mirror = _harmonised(mirror, np.where(known > 0, mirror_seen, 0), sampled, seen, settings, unit)

    both = np.maximum(seen, known)
    mixed = _blend(mirror, sampled, np.where(both > 0, seen / np.maximum(both, 1e-6), 0))
    filled = _smooth_fill(mixed, np.maximum(sure, known), mask)
    unseen = _blend(filled + _continued_detail(mixed, np.maximum(sure, known), mask, unit), mirror, known)
    texture = _blend(unseen, sampled, seen)
    return Completion(
        np.where(mask[..., None], np.clip(texture, 0, 1), 0).astype(np.float32),
        np.where(mask, (1 - seen) * known, 0).astype(np.float32),
        np.where(mask, (1 - seen) * (1 - known), 0).astype(np.float32),
    )


def _blend(background, foreground, weight):
    return background + weight[..., None] * (foreground - background)


def _blur(values, weights, sigma):
    """Gaussian mean [H, W, C] of the values where they are known."""
    size = values.shape[1::-1]
    step = max(int(sigma / 3), 1)  # a wide Gaussian is as good on a smaller grid
    small = (max(size[0] // step, 1), max(size[1] // step, 1))
    total = cv2.resize(weights, small, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(values * weights[..., None], small, interpolation=cv2.INTER_AREA)
    total = cv2.GaussianBlur(total, (0, 0), sigma / step)
    summed = cv2.GaussianBlur(summed, (0, 0), sigma / step)
    means = push_pull(summed / np.maximum(total, 1e-6)[..., None], np.minimum(total * 1e3, 1))
    return cv2.resize(means, size, interpolation=cv2.INTER_LINEAR)


def _smooth_fill(values, weights, mask):
    return push_pull(values, np.where(mask, weights, 0).astype(np.float32))


def _continued_detail(values, known, mask, unit):
    """Brightness detail [H, W, 1] for smoothly filled texels: windows of the known texels' detail nearby, overlapping.

    Pores, stubble and the camera's noise go on beside the border. Only fine detail is taken, and its edges are clipped,
    so that no wrinkle or hair is repeated; overlapping windows are added with weights whose squares sum to 1, which keeps
    the variance. Colour detail is left out: continued, it looks like stains.
    """
    detail = np.zeros(mask.shape, np.float32)
    missing, solid = mask & (known < 0.999), known > 0.5
    half = max(round(DETAIL_WINDOW * unit / 2), 2)
    whole = cv2.erode(solid.astype(np.uint8), np.ones((2 * half + 1,) * 2), borderValue=0) > 0
    if not missing.any() or not whole.any():
        return detail[..., None]
    fine = (values - _blur(values, known, DETAIL_SIGMA * unit)).mean(-1)
    spread = 1.4826 * np.median(np.abs(fine[solid]))
    fine = np.clip(fine, -2.5 * spread, 2.5 * spread).astype(np.float32)
    nearest = distance_transform_edt(~whole, return_distances=False, return_indices=True)
    shifts = np.random.default_rng(0)  # fixed: the same photo is completed alike by every run
    bump = np.sin(np.pi * (np.arange(2 * half) + 0.5) / (2 * half)).astype(np.float32)
    bump = bump[:, None] * bump  # with a step of half a window the squares sum to 1
    height, width = mask.shape
    for row in range(0, height + half, half):
        for column in range(0, width + half, half):
            top, left = max(row - half, 0), max(column - half, 0)
            bottom, right = min(row + half, height), min(column + half, width)
            if bottom <= top or right <= left or not missing[top:bottom, left:right].any():
                continue
            wanted = np.array([row, column]) + shifts.integers(-8 * half, 8 * half + 1, 2)
            source = nearest[:, np.clip(wanted[0], 0, height - 1), np.clip(wanted[1], 0, width - 1)]
            window = fine[source[0] - half : source[0] + half, source[1] - half : source[1] + half] * bump
            detail[top:bottom, left:right] += window[
                top - row + half : bottom - row + half, left - column + half : right - column + half
            ]
    return np.where(missing, detail, 0)[..., None]


def _ramp_inside(area, width):
    """1 deep inside the area, falling to 0 at its border over a width in texels. [H, W] float32."""
    distance = cv2.distanceTransform(np.pad(area.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    t = np.clip(distance / max(width, 1e-6), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _relit(mirror, sampled, seen, mask, normals, settings, unit):
    """The mirrored colours under the light of the side they go to."""
    colours = np.log(_blur(sampled, seen, LIGHT_BLUR * unit) + OFFSET)
    change = light_difference(colours, seen > SEEN, mask, normals, settings.light_spread)
    change = np.clip(change, -LIGHT_LIMIT, LIGHT_LIMIT)
    return np.maximum((mirror + OFFSET) * np.exp(change) - OFFSET, 0)


def _harmonised(mirror, mirror_seen, sampled, seen, settings, unit):
    """The mirrored colours without their step to the seen ones.

    In a band beside the border both are known. Their log ratio there is continued smoothly into the unseen texels and
    fades with the distance from the border.
    """
    unseen_distance = cv2.distanceTransform((seen < SEEN).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    seen_distance = cv2.distanceTransform((seen >= SEEN).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    band = np.exp(-0.5 * (seen_distance / (BORDER_BAND / 2 * unit)) ** 2).astype(np.float32)
    overlap = np.where((seen >= SEEN) & (mirror_seen > SEEN), band, 0).astype(np.float32)
    if not overlap.any():
        return mirror
    sigma = LIGHT_BLUR / 2 * unit
    both = np.minimum(seen, mirror_seen)
    there = np.log(np.maximum(_blur(sampled, both, sigma), 0) + OFFSET)
    here = np.log(np.maximum(_blur(mirror, both, sigma), 0) + OFFSET)
    step = np.clip(there - here, -STEP_LIMIT, STEP_LIMIT)
    step = _blur(step, overlap, STEP_BLUR * unit)
    fading = np.exp(-unseen_distance / (settings.border_decay * unit))[..., None]
    return np.maximum((mirror + OFFSET) * np.exp(step * fading) - OFFSET, 0).astype(np.float32)
