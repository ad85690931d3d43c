"""How well a rendering agrees with the photo: inside the face, and as the same person. No loss uses these."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from skimage.metrics import structural_similarity

from external import arcface
from external.assets import IDENTITY_NETWORK, assets_folder
from pipeline.reconstruction.images import as_bytes
from pipeline.settings.errors import ConfigError

WINDOW = 11  # px, of SSIM
BAND_PIXELS = 2**20  # compared at once: SSIM takes some 500 bytes for each


def rendering_scores(rendering: np.ndarray, photo: np.ndarray, region: np.ndarray) -> dict[str, float | None]:
    """PSNR in dB and SSIM (Wang et al. 2004, Gaussian window, sigma 1.5) of a rendering over a region.

    rendering, photo: [H, W, 3], 0..1. region: [H, W] bool. Outside the region both hold the photo, so that SSIM's window
    meets no foreign edge. Returns {"psnr": ..., "ssim": ...}; None for both where the region is empty, and for a PSNR
    that is infinite.
    """
    if not region.any():
        return {"psnr": None, "ssim": None}
    squares, similar, count = 0.0, 0.0, int(region.sum())
    rows = max(BAND_PIXELS // region.shape[1], WINDOW)
    for top in range(0, region.shape[0], rows):
        inside = region[top : top + rows]
        if inside.any():
            # With the rows that the windows at the band's edges reach, it is as if the whole had been compared at once.
            low, high = max(top - WINDOW, 0), min(top + rows + WINDOW, region.shape[0])
            own = slice(top - low, top - low + len(inside))
            there = photo[low:high].astype(np.float64)
            here = np.where(region[low:high, :, None], rendering[low:high], there)
            squares += np.square(here[own][inside] - there[own][inside]).mean(axis=1).sum()
            similar += _similarity(here, there)[own][inside].mean(axis=1).sum() if min(here.shape[:2]) >= WINDOW else np.nan
    error, ssim = squares / count, similar / count
    return {"psnr": float(-10 * np.log10(error)) if error > 0 else None, "ssim": float(ssim) if np.isfinite(ssim) else None}


def _similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM at every pixel and channel, [H, W, 3]."""
    return structural_similarity(
        first, second, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1]


@cache
def _network(setting: str) -> arcface.IResNet50:
    try:
        return arcface.load(assets_folder(setting) / IDENTITY_NETWORK)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def identity_similarity(
    setting: str, photo: np.ndarray, rendering: np.ndarray, points: Sequence | None
) -> float | None:
    """Cosine similarity, -1..1, of the faces in photo and rendering over the photo, both [H, W, 3], 0..1.

    setting: `assets`. points: [5, 2] px, pixel centres at +0.5. None without the weights or the points.
    Raises ConfigError where the weights are another network's.
    """
    if points is None or not (assets_folder(setting) / IDENTITY_NETWORK).is_file():
        return None
    crops = [arcface.align(as_bytes(image), np.asarray(points) - 0.5) for image in (photo, rendering)]
    first, second = arcface.embed(_network(setting), np.stack(crops))
    return float(arcface.similarity(first, second))
