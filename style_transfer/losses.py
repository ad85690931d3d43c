"""The losses of STROTSS (Kolkin et al. 2019) as FaceRefiner uses them, and the rendering loss.

All are pure functions of samples in rows, [N, C], and return a scalar; weights are applied in the loop. With
the cosine distance D(X, Y)_ij = 1 - <x_i, y_j> / (|x_i| |y_j|), a row of zeros is at distance 1 from everything.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Rotates RGB so that the first axis is brightness and the others are colour.
DECORRELATION = (
    (0.577350, 0.577350, 0.577350),
    (-0.577350, 0.788675, -0.211325),
    (-0.577350, -0.211325, 0.788675),
)


def self_similarity_loss(result: Tensor, content: Tensor) -> Tensor:
    """Content loss L_c = N mean_ij | D(X,X)_ij / sum_i D(X,X)_ij - D(Y,Y)_ij / sum_i D(Y,Y)_ij |.

    Args:
        result: X [N, C], columns of the texture being optimised.
        content: Y [N, K], columns of the content texture at the same positions; K may differ from C.
    Returns:
        Scalar, 0 .. 2, 0 for equal self-similarity.
    Raises:
        ValueError: unequal numbers of samples.
    """
    _check_samples("result", result)
    _check_samples("content", content)
    if len(result) != len(content):
        raise ValueError(f"self_similarity_loss: got {len(result)} result and {len(content)} content samples, need as many")
    difference = _normalised_self_distances(result) - _normalised_self_distances(content)
    return len(result) * difference.abs().mean()


def relaxed_emd(result: Tensor, style: Tensor) -> Tensor:
    """Relaxed earth mover's distance L_r = mean_i min_j D(X,S)_ij, in one direction, as published.

    The nearest partners are searched without a gradient and only their distances are differentiated: the same
    value and gradient as through the full [N, M] matrix, at a third of the time and memory.

    Args:
        result: X [N, C].
        style: S [M, C].
    Returns:
        Scalar, 0 .. 2.
    Raises:
        ValueError: unequal numbers of channels.
    """
    _check_pair("relaxed_emd", result, style)
    x, s = _directions(result), _directions(style)
    with torch.no_grad():
        partners = (x @ s.T).argmax(dim=1)
    return 1 - (x * s[partners]).sum(dim=1).mean()


@dataclass(frozen=True)
class Moments:
    """Mean [C] and covariance [C, C] of samples."""

    mean: Tensor
    covariance: Tensor


def moments(samples: Tensor) -> Moments:
    """Mean and covariance (with N - 1) of samples [N, C], N at least 2."""
    _check_samples("samples", samples)
    if len(samples) < 2:
        raise ValueError(f"moments: got {len(samples)} sample, need at least 2 for a covariance")
    mean = samples.mean(dim=0)
    centred = samples - mean
    return Moments(mean, centred.T @ centred / (len(samples) - 1))


def moment_distance(result: Moments, style: Moments) -> Tensor:
    """mean|mu_X - mu_S| + mean|Cov_X - Cov_S|; the style's moments can be computed once for all steps."""
    return (result.mean - style.mean).abs().mean() + (result.covariance - style.covariance).abs().mean()


def moment_loss(result: Tensor, style: Tensor) -> Tensor:
    """L_m = mean|mu_X - mu_S| + mean|Cov_X - Cov_S| over all channels, covariances with N - 1.

    Args:
        result: X [N, C], N at least 2.
        style: S [M, C], M at least 2.
    Returns:
        Scalar, at least 0.
    Raises:
        ValueError: unequal numbers of channels, or a single sample.
    """
    _check_pair("moment_loss", result, style)
    return moment_distance(moments(result), moments(style))


def colour_loss(result: Tensor, style: Tensor) -> Tensor:
    """L_k = mean_i min_j sqrt(clamp(|x_i - s_j|^2, 1e-5, 1e5) / 3) on decorrelated colours.

    Args:
        result: X [N, C], the first 3 channels are the colour.
        style: S [M, C], likewise.
    Returns:
        Scalar, sqrt(1e-5 / 3) .. sqrt(1e5 / 3); no gradient where the clamp holds.
    Raises:
        ValueError: unequal numbers of channels, or fewer than 3.
    """
    _check_pair("colour_loss", result, style)
    if result.shape[1] < 3:
        raise ValueError(f"colour_loss: got {result.shape[1]} channels, need at least the 3 of the colour")
    decorrelation = torch.tensor(DECORRELATION, dtype=result.dtype, device=result.device)
    x = result[:, :3] @ decorrelation.T
    s = style[:, :3] @ decorrelation.T
    with torch.no_grad():
        # |x - s|^2 without |x|^2, which is the same for all partners; about the style's mean, against cancellation.
        centre = s.mean(dim=0)
        partners = torch.addmm((s - centre).square().sum(dim=1), x - centre, (s - centre).T, alpha=-2).argmin(dim=1)
    squared = (x - s[partners]).square().sum(dim=1)
    return (squared.clamp(1e-5, 1e5) / 3).sqrt().mean()


def rendering_loss(rendered: Tensor, photo: Tensor, weights: Tensor) -> Tensor:
    """L_1 = mean over pixels and channels of |R - I| * mask.

    Args:
        rendered: R [N, 3], colours of the rendering at N pixels.
        photo: I [N, 3], colours of the photo there.
        weights: mask [N], 0..1.
    Returns:
        Scalar; the mean is over all N pixels, also those of weight 0. (The paper's is over a whole photo, cropped the same
        way every time; over the covered pixels it does not depend on the crop. Weights scaled by covered / all give the
        paper's.)
    Raises:
        ValueError: shapes that do not belong together.
    """
    if rendered.ndim != 2 or rendered.shape != photo.shape or weights.shape != rendered.shape[:1]:
        raise ValueError(
            f"rendering_loss: got rendered {list(rendered.shape)}, photo {list(photo.shape)}, weights "
            f"{list(weights.shape)}, need [N, 3], [N, 3] and [N]"
        )
    return ((rendered - photo).abs() * weights[:, None]).mean()


def _normalised_self_distances(samples: Tensor) -> Tensor:  # [N, C] -> [N, N]
    directions = _directions(samples)
    # Rounding makes distances of equal rows slightly negative; where all rows are equal nothing else is left of the sums.
    distances = (1 - directions @ directions.T).clamp_min(0)
    return distances / distances.sum(dim=0).clamp_min(len(samples) * torch.finfo(samples.dtype).eps)


def _directions(samples: Tensor) -> Tensor:
    """Rows of unit length. Rows of zeros stay zero and get no gradient, instead of one of 1 / epsilon."""
    norms = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    return samples / torch.where(norms > torch.finfo(samples.dtype).tiny ** 0.5, norms, torch.inf)


def _check_samples(name: str, samples: Tensor) -> None:
    if samples.ndim != 2 or not len(samples) or not samples.is_floating_point():
        raise ValueError(f"{name}: got {samples.dtype} {list(samples.shape)}, need floats [N, C] with N at least 1")


def _check_pair(loss: str, result: Tensor, style: Tensor) -> None:
    _check_samples("result", result)
    _check_samples("style", style)
    if result.shape[1] != style.shape[1]:
        raise ValueError(f"{loss}: got {result.shape[1]} result and {style.shape[1]} style channels, need as many")
