"""Extends a texture's colours beyond the edges of its UV islands."""

import cv2
import numpy as np

REFERENCE_TEXTURE = 1024  # texels on the longer side; NEAREST_REACH is measured at this size
# A share of the texture, not a length on the surface: what lies outside the islands serves filters and mip levels.
NEAREST_REACH = 8.0  # texels over which the nearest colour fades into the smooth fill


def dilate(texture: np.ndarray, mask: np.ndarray, sources: np.ndarray | None = None) -> np.ndarray:
    """Fills every texel outside the mask, so that filtering and mip-mapping bring no foreign colour into the islands.

    texture [H, W, 3] float, mask [H, W] bool. Near an island a texel takes the nearest island texel's colour; further
    away (over about 8 texels of a 1024 texture) it takes a smooth push-pull fill. sources [H, W] float32: weights of the
    texels that the smooth fill is made from; None: the mask. Returns [H, W, 3] float32. Texels in the mask do not
    change; an empty mask returns a copy of the texture. Raises ValueError when the shapes do not match.
    """
    texture, mask = np.asarray(texture, dtype=np.float32), np.asarray(mask, dtype=bool)
    if texture.ndim != 3 or texture.shape[2] != 3 or mask.shape != texture.shape[:2]:
        raise ValueError(f"texture {texture.shape} and mask {mask.shape}: [H, W, 3] and [H, W] of one size are needed")
    if mask.all() or not mask.any():
        return texture.copy()
    closest, distance = nearest(texture, mask)
    reach = NEAREST_REACH * max(mask.shape) / REFERENCE_TEXTURE
    near = np.exp(-np.maximum(distance - 1, 0) / reach)[..., None]
    smooth = push_pull(texture, mask.astype(np.float32) if sources is None else sources)
    filled = near * closest + (1 - near) * smooth
    return np.where(mask[..., None], texture, filled).astype(np.float32)


def nearest(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What lies at the nearest texel of the mask: its values [H, W, C] float32, and how far it is [H, W], in texels.

    values [H, W, C], mask [H, W] bool with at least one texel inside and one outside.
    """
    distance, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((labels.max() + 1, values.shape[2]), dtype=np.float32)
    by_label[labels[mask]] = values[mask]
    return by_label[labels], distance


def push_pull(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smooth fill of where weights are 0, by a pyramid of weighted means (Gortler et al. 1996, "The Lumigraph").

    values [H, W, C] float32, weights [H, W] float32, 0..1. Returns [H, W, C]: the values where the weight is 1, the
    blend of coarser means elsewhere; 0 when no weight is positive.
    """
    height, width = weights.shape
    if height == 1 and width == 1:
        return np.where(weights[..., None] > 0, values, 0).astype(np.float32)
    edges = ((0, height % 2), (0, width % 2))
    known = np.pad(weights, edges)
    weighted = np.pad(values * weights[..., None], (*edges, (0, 0)))
    half = (known.shape[0] // 2, 2, known.shape[1] // 2, 2)
    total = known.reshape(half).sum(axis=(1, 3))
    sums = weighted.reshape(*half, -1).sum(axis=(1, 3))
    means = np.divide(sums, total[..., None], out=np.zeros_like(sums), where=total[..., None] > 0)
    coarse = push_pull(means, np.minimum(total, 1))
    # Scaling by exactly 2 and cropping keeps the halved grids aligned where a side is odd.
    grown = cv2.resize(coarse, (known.shape[1], known.shape[0]), interpolation=cv2.INTER_LINEAR)
    grown = grown.reshape(*known.shape, -1)[:height, :width]
    return weights[..., None] * values + (1 - weights[..., None]) * grown
