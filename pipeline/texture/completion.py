"""The initial texture I_C: completes the colours that one photo shows.

A texel that the photo does not show takes the colour of its mirror texel, corrected for the difference in light between
the two and for the remaining step at the border. Texels that neither side shows are filled smoothly. Seen texels keep
the photo's colours.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.settings.schema import CompletionSettings
from pipeline.texture.relight import light_difference, texture_density
from renderer.dilate import push_pull

# Lengths are in millimetres on the head.
LIGHT_BLUR = 2.4  # removes pores and lashes before light is estimated
BORDER_BAND = 5.6  # width of the band beside the seen texels in which the step to them is measured
STEP_BLUR = 4.8  # wide enough that a lash or brow at the border does not tint the skin behind it
LIGHT_LIMIT = 1.2  # largest change of light between the halves, natural log units
STEP_LIMIT = 0.6  # largest step corrected at the border, natural log units; larger ones are not due to light
FILL_RAMP = 2.4  # distance from the border over which seen texels gain weight in a fill
DETAIL_SIGMA = 0.6  # detail finer than this is continued into filled texels
DETAIL_WINDOW = 8.0  # side of the windows of continued detail
EDGE_BLEND = 3.2  # distance over which mirrored texels fade into the smooth fill
OFFSET = 0.05  # added before the logarithm, as dark texels are noisy
SEEN = 0.99  # visibility above which a texel counts as seen


@dataclass(frozen=True)
class Completion:
    """A completed texture. The shares of mirrored and smooth colour are per texel; the rest is the photo's."""

    texture: np.ndarray  # [H, W, 3] float32, 0..1
    mirrored: np.ndarray  # [H, W] float32, 0..1, share of the mirror texel's colour
    smooth: np.ndarray  # [H, W] float32, 0..1, share of the smooth fill


def complete(
    sampled: np.ndarray,  # [H, W, 3] float, 0..1
    visibility: np.ndarray,  # [H, W] float, 0..1
    mask: np.ndarray,  # [H, W] bool
    normals: np.ndarray | None,  # [H, W, 3] float, unit
    settings: CompletionSettings,
    texels_per_mm: float | None = None,
    detail_reach: float | None = None,
    sources: np.ndarray | None = None,  # [H, W] float, 0..1
    detail_area: np.ndarray | None = None,  # [H, W] bool
) -> Completion:
    """Completes a sampled texture.

    sampled: I_S. visibility: per-texel confidence of I_S. mask: texels inside the islands.
    normals: outward normals in the head frame (x to the person's left) of a texture that is symmetric about u = 0.5;
    None where the mesh has no known symmetry: nothing is mirrored then.
    texels_per_mm: along a millimetre of the face; None: of a texture like the face template's, see `texture_density`.
    detail_reach: mm over which continued detail fades; None: it does not, which shows its repetition in wide areas.
    sources: weights of texels in smooth fills, such as little for hair; None: all alike.
    detail_area: where continued detail does not fade, with a detail_reach.
    Raises ValueError where no texel is seen.
    """
    seen = np.where(mask, visibility, 0).astype(np.float32)
    if not (seen > SEEN).any():
        raise ValueError("the photo shows no texel of the mesh well enough: check that mesh and camera match the photo")
    sampled = np.where(seen[..., None] > 0, sampled, 0).astype(np.float32)
    unit = texels_per_mm or texture_density(mask.shape)
    # The outermost seen texels contain some background colour, which must not spread.
    reliable = _ramp_inside(seen > SEEN, FILL_RAMP * unit)
    if not reliable.any():
        reliable = seen
    if sources is not None:
        reliable = reliable * sources
    if normals is None or settings.method == "smooth":
        filled = _smooth_fill(sampled, reliable, mask)
        shares = np.where(mask, 1 - seen, 0)
        return Completion(_blend(filled, sampled, seen), np.zeros_like(seen), shares)

    mirror, mirror_seen = sampled[:, ::-1], seen[:, ::-1] * mask
    # Mirrored colours fade out where the mirror side is badly seen, so that no seam to the fill shows.
    known = _ramp_inside(mirror_seen > SEEN, EDGE_BLEND * unit)
    if settings.relight:
        mirror = _relight(mirror, sampled, seen, mask, normals, settings, unit)
    mirror = _match_border(mirror, np.where(known > 0, mirror_seen, 0), sampled, seen, settings, unit)

    both = np.maximum(seen, known)
    mixed = _blend(mirror, sampled, np.where(both > 0, seen / np.maximum(both, 1e-6), 0))
    solid = np.maximum(reliable, known if sources is None else known * sources[:, ::-1])
    filled = _smooth_fill(mixed, solid, mask)
    detail = _continue_detail(mixed, solid, mask, unit, detail_reach, detail_area)
    unseen = _blend(filled + detail, mirror, known)
    texture = _blend(unseen, sampled, seen)
    return Completion(
        np.where(mask[..., None], np.clip(texture, 0, 1), 0).astype(np.float32),
        np.where(mask, (1 - seen) * known, 0).astype(np.float32),
        np.where(mask, (1 - seen) * (1 - known), 0).astype(np.float32),
    )


def _blend(background: np.ndarray, foreground: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blends [H, W, C] images by the weight [H, W], 0..1, of the foreground."""
    return background + weight[..., None] * (foreground - background)


def _blur(values: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """Weighted Gaussian mean [H, W, C] of values [H, W, C]. weights [H, W] float32, 0..1. sigma: texels."""
    size = values.shape[1::-1]
    step = max(int(sigma / 3), 1)  # a wide Gaussian is accurate enough on a smaller grid
    small = (max(size[0] // step, 1), max(size[1] // step, 1))
    shrunk = lambda image: cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    blurred = lambda image: cv2.GaussianBlur(shrunk(image), (0, 0), sigma / step)
    total, summed = blurred(weights), blurred(values * weights[..., None])
    means = push_pull(summed / np.maximum(total, 1e-6)[..., None], np.minimum(total * 1e3, 1))
    return cv2.resize(means, size, interpolation=cv2.INTER_LINEAR)


def _smooth_fill(values: np.ndarray, weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fills values [H, W, C] where weights [H, W], 0..1, are low, or outside the mask [H, W]."""
    return push_pull(values, np.where(mask, weights, 0).astype(np.float32))


def _continue_detail(
    values: np.ndarray,
    known: np.ndarray,
    mask: np.ndarray,
    unit: float,
    reach: float | None,
    area: np.ndarray | None = None,
) -> np.ndarray:
    """Brightness detail [H, W, 1] for smoothly filled texels, from overlapping windows of nearby known texels.

    values [H, W, 3]; known [H, W], 0..1; mask [H, W] bool; unit: texels per mm; reach: mm over which it fades,
    from the known texels and from an area [H, W] bool.
    Continues pores, stubble and camera noise beside the border. Only fine detail is used, clipped in amplitude, so that
    no wrinkle or hair is repeated. Overlapping windows are added with weights whose squares sum to 1, which preserves
    the variance. Colour detail is omitted, because it looks like stains.
    """
    missing, solid = mask & (known < 0.999), known > 0.5
    if reach is not None:
        full = solid if area is None else solid | area
        distance = cv2.distanceTransform((~full).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / (reach * unit)
        missing &= distance < 2.5
    half = max(round(DETAIL_WINDOW * unit / 2), 2)
    whole = cv2.erode(solid.astype(np.uint8), np.ones((2 * half + 1,) * 2), borderValue=0) > 0
    if not missing.any() or not whole.any():
        return np.zeros((*mask.shape, 1), np.float32)
    fine = (values - _blur(values, known, DETAIL_SIGMA * unit)).mean(-1)
    spread = 1.4826 * np.median(np.abs(fine[solid]))
    fine = np.clip(fine, -2.5 * spread, 2.5 * spread).astype(np.float32)
    nearest = distance_transform_edt(~whole, return_distances=False, return_indices=True)
    shifts = np.random.default_rng(0)  # fixed seed: every run completes a photo in the same way
    bump = np.sin(np.pi * (np.arange(2 * half) + 0.5) / (2 * half)).astype(np.float32)
    bump = bump[:, None] * bump  # with a step of half a window the squares sum to 1
    height, width = mask.shape
    padded = np.pad(missing, (half, 2 * half))  # so that every window lies inside
    detail = np.zeros(padded.shape, np.float32)
    for row in range(0, height + half, half):
        for column in range(0, width + half, half):
            window = np.s_[row : row + 2 * half, column : column + 2 * half]
            if padded[window].any():
                wanted = np.array([row, column]) + shifts.integers(-8 * half, 8 * half + 1, 2)
                y, x = nearest[:, np.clip(wanted[0], 0, height - 1), np.clip(wanted[1], 0, width - 1)]
                detail[window] += fine[y - half : y + half, x - half : x + half] * bump
    result = np.where(missing, detail[half : half + height, half : half + width], 0)
    return (result if reach is None else result * np.exp(-(distance**2)))[..., None]


def _depth_inside(area: np.ndarray) -> np.ndarray:
    """Distance [H, W] float32 of each texel of an area [H, W] bool to the nearest texel outside it."""
    return cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _ramp_inside(area: np.ndarray, width: float) -> np.ndarray:
    """Smooth ramp [H, W] float32 inside an area [H, W] bool: 0 at its border, 1 from `width` texels inwards."""
    distance = _depth_inside(np.pad(area, 1))[1:-1, 1:-1]
    t = np.clip(distance / max(width, 1e-6), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _relight(
    mirror: np.ndarray,  # [H, W, 3] float32, 0..1
    sampled: np.ndarray,  # [H, W, 3] float32, 0..1
    seen: np.ndarray,  # [H, W] float32, 0..1
    mask: np.ndarray,  # [H, W] bool
    normals: np.ndarray,  # [H, W, 3]
    settings: CompletionSettings,
    unit: float,
) -> np.ndarray:
    """The mirrored colours [H, W, 3] under the light of the side they are copied to."""
    colours = np.log(_blur(sampled, seen, LIGHT_BLUR * unit) + OFFSET)
    change = light_difference(colours, seen > SEEN, mask, normals, settings.light_spread, unit)
    change = np.clip(change, -LIGHT_LIMIT, LIGHT_LIMIT)
    return np.maximum((mirror + OFFSET) * np.exp(change) - OFFSET, 0)


def _match_border(
    mirror: np.ndarray,  # [H, W, 3] float32, 0..1
    mirror_seen: np.ndarray,  # [H, W] float32, 0..1
    sampled: np.ndarray,  # [H, W, 3] float32, 0..1
    seen: np.ndarray,  # [H, W] float32, 0..1
    settings: CompletionSettings,
    unit: float,
) -> np.ndarray:
    """The mirrored colours [H, W, 3] without their step to the seen ones.

    Both are known in a band beside the border. Their log ratio in the band is extended smoothly into the unseen texels
    and fades with the distance from the border.
    """
    unseen_distance, seen_distance = _depth_inside(seen < SEEN), _depth_inside(seen >= SEEN)
    band = np.exp(-0.5 * (seen_distance / (BORDER_BAND / 2 * unit)) ** 2).astype(np.float32)
    overlap = np.where((seen >= SEEN) & (mirror_seen > SEEN), band, 0).astype(np.float32)
    if not overlap.any():
        return mirror
    sigma, both = LIGHT_BLUR / 2 * unit, np.minimum(seen, mirror_seen)
    seen_colours = np.log(np.maximum(_blur(sampled, both, sigma), 0) + OFFSET)
    mirrored_colours = np.log(np.maximum(_blur(mirror, both, sigma), 0) + OFFSET)
    step = _blur(np.clip(seen_colours - mirrored_colours, -STEP_LIMIT, STEP_LIMIT), overlap, STEP_BLUR * unit)
    fading = np.exp(-unseen_distance / (settings.border_decay * unit))[..., None]
    return np.maximum((mirror + OFFSET) * np.exp(step * fading) - OFFSET, 0).astype(np.float32)
