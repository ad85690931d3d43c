"""How well a rendering agrees with the photo, inside the face."""

import numpy as np
from skimage.metrics import structural_similarity


def rendering_scores(rendering, photo, region):
    """PSNR in dB and SSIM (Wang et al. 2004, Gaussian window, sigma 1.5) of a rendering over a region.

    rendering, photo: [H, W, 3], 0..1. region: [H, W] bool. Outside the region both hold the photo, so that SSIM's window
    meets no foreign edge. Returns {"psnr": ..., "ssim": ...}; None for both where the region is empty, and for a PSNR
    that is infinite.
    """
    if not region.any():
        return {"psnr": None, "ssim": None}
    error = np.mean((rendering[region].astype(np.float64) - photo[region]) ** 2)
    composed = np.where(region[..., None], rendering, photo).astype(np.float64)
    psnr = float(-10 * np.log10(error)) if error > 0 else None
    if min(region.shape) < 11:  # the window's size
        return {"psnr": psnr, "ssim": None}
    _, map_ = structural_similarity(
        composed, photo.astype(np.float64), channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    return {"psnr": psnr, "ssim": float(map_[region].mean())}
