"""The losses of STROTSS (Kolkin et al. 2019) as FaceRefiner uses them, and the rendering loss.

All are pure functions of samples in rows, [N, C], and return a scalar; weights are applied in the loop. With
the cosine distance D(X, Y)_ij = 1 - <x_i, y_j> / (|x_i| |y_j|), a row of zeros is at distance 1 from everything.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

# Rotates RGB so that the first axis is brightness and the others are colour.
DECORRELATION = (
    (0.577350, 0.577350, 0.577350),
    (-0.577350, 0.788675, -0.211325),
    (-0.577350, -0.211325, 0.788675),
)

SEARCHED_AT_ONCE = 512  # rows of the matrix of distances that are in memory
CHROMA_STEP = 0.02
BAND_ROWS = 256  # of N x N matrices that are worked on at once
VECTOR = 16  # floats in a vector register
GRAM_BLOCKS = 4  # more blocks save more of the symmetric product, but are smaller and so slower


def directions(samples: Tensor) -> Tensor:
    """Rows of unit length [N, C]. Rows of zeros stay zero and get no gradient, instead of one of 1 / epsilon."""
    norms = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    return samples / torch.where(norms > torch.finfo(samples.dtype).tiny ** 0.5, norms, torch.inf)


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
        raise ValueError(
            f"self_similarity_loss: got {len(result)} result and {len(content)} content samples, need as many"
        )
    return self_similarity(directions(result), directions(content))


def self_similarity(result: Tensor, content: Tensor, low_precision: bool = False) -> Tensor:
    """`self_similarity_loss` of directions [N, C] and [N, K], which a step makes once for all its losses.

    low_precision: products in bfloat16, about a common mean, so that distances keep three digits.
    """
    return _SelfSimilarity.apply(result, content, low_precision)


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
    x, s = directions(result), directions(style)
    return partner_distance(x, s, nearest(x, s))


def partner_distance(result: Tensor, style: Tensor, partners: Tensor) -> Tensor:
    """mean_i D(x_i, s_partner(i)) of directions [N, C] and [M, C]; partners: [N], of `nearest` or fixed."""
    return 1 - (result * style.index_select(0, partners)).sum(dim=1).mean()


@torch.no_grad()
def nearest(result: Tensor, style: Tensor) -> Tensor:
    """Which row of `style` [M, C] has the largest product with each row of `result` [N, C]: [N].

    Directions give the smallest cosine distance. The product is made in the dtype of `style`; in bfloat16 take the mean
    off its rows, which changes no order.
    """
    result = result.to(style.dtype)
    return torch.cat([(rows @ style.T).argmax(dim=1) for rows in result.split(SEARCHED_AT_ONCE)])


@dataclass(frozen=True)
class Moments:
    """Mean [C] and covariance [C, C] of samples."""

    mean: Tensor
    covariance: Tensor


def moments(samples: Tensor, low_precision: bool = False) -> Moments:
    """Mean and covariance (with N - 1) of samples [N, C], N at least 2. low_precision: products in bfloat16."""
    _check_samples("samples", samples)
    if len(samples) < 2:
        raise ValueError(f"moments: got {len(samples)} sample, need at least 2 for a covariance")
    mean = samples.mean(dim=0)
    return Moments(mean, _Gram.apply((samples - mean).T, low_precision) / (len(samples) - 1))


def moment_distance(result: Moments, style: Moments) -> Tensor:
    """mean|mu_X - mu_S| + mean|Cov_X - Cov_S|; the style's moments can be computed once for all steps."""
    return (result.mean - style.mean).abs().mean() + (result.covariance - style.covariance).abs().mean()


def moment_distance_of(result: Tensor, style: Moments, low_precision: bool = False) -> Tensor:
    """`moment_distance(moments(result), style)` for samples [N, C] and a style without a gradient, faster."""
    mean = result.mean(dim=0)
    covariances = _CovarianceDistance.apply(result - mean.detach(), style.covariance, low_precision)
    return (mean - style.mean).abs().mean() + covariances


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
        # |x - s|^2 without |x|^2, the same for all partners; about the style's mean, against cancellation.
        centre = s.mean(dim=0)
        searched = torch.cat(((s - centre) * 2, -(s - centre).square().sum(dim=1, keepdim=True)), dim=1)
        partners = nearest(torch.cat((x - centre, torch.ones_like(x[:, :1])), dim=1), searched)
    squared = (x - s[partners]).square().sum(dim=1)
    return (squared.clamp(1e-5, 1e5) / 3).sqrt().mean()


def chroma_loss(result: Tensor, content: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + e^2) - e over differences d of chroma, the second and third decorrelated axis. Not in the
    paper.

    e = CHROMA_STEP: |d| itself would make Adam jump about 0 by whole steps. result, content: [N, 3], colours at the
    same positions, -1..1. Returns a scalar, at least 0; luminance does not matter.
    """
    if result.shape != content.shape or result.ndim != 2 or result.shape[1] != 3:
        raise ValueError(f"chroma_loss: got {list(result.shape)} and {list(content.shape)}, need [N, 3] twice")
    axes = torch.tensor(DECORRELATION[1:], dtype=result.dtype, device=result.device)
    return (((result - content) @ axes.T).square() + CHROMA_STEP**2).sqrt().mean() - CHROMA_STEP


@dataclass(frozen=True)
class Style:
    """What the losses read of style samples [S, C]: the same in all steps at one scale."""

    directions: Tensor  # [S, C]
    searched: Tensor  # [S, C], what `nearest` takes
    colours: Tensor  # [S, 3]
    moments: Moments | None


def describe_style(samples: Tensor, with_moments: bool = True, low_precision: bool = False) -> Style:
    """Style of samples [S, C], the first 3 channels the colour. low_precision: products in bfloat16."""
    units = directions(samples)
    searched = (units - units.mean(dim=0)).to(torch.bfloat16) if low_precision else units
    return Style(
        units, searched, samples[:, :3].contiguous(), moments(samples, low_precision) if with_moments else None
    )


def rendering_loss(rendered: Tensor, photo: Tensor, weights: Tensor) -> Tensor:
    """L_1 = mean over pixels and channels of |R - I| * mask.

    Args:
        rendered: R [N, 3], colours of the rendering at N pixels.
        photo: I [N, 3], colours of the photo there.
        weights: mask [N], 0..1.
    Returns:
        Scalar; the mean is over all N pixels, also those of weight 0. (The paper's is over a whole photo, cropped the
        same way every time; over the covered pixels it does not depend on the crop. Weights scaled by covered / all
        give the paper's.)
    Raises:
        ValueError: shapes that do not belong together.
    """
    if rendered.ndim != 2 or rendered.shape != photo.shape or weights.shape != rendered.shape[:1]:
        raise ValueError(
            f"rendering_loss: got rendered {list(rendered.shape)}, photo {list(photo.shape)}, weights "
            f"{list(weights.shape)}, need [N, 3], [N, 3] and [N]"
        )
    return ((rendered - photo).abs() * weights[:, None]).mean()


class _SelfSimilarity(torch.autograd.Function):
    """`self_similarity` with its gradient written down: distances are symmetric, so one product gives it.

    With t_j = sum_i D_ij, N_ij = D_ij / t_j, s = sign(N(X) - N(Y)) and q_j = sum_i s_ij N_ij, dL/dD_ij is
    G_ij = (s_ij - q_j) / (n t_j), and the gradient of X is -(G + G^T) X. All is done in bands of rows that stay in
    the cache; D being symmetric, s_ji is made from D_ij.
    """

    @staticmethod
    def forward(context, result: Tensor, content: Tensor, low_precision: bool) -> Tensor:
        sides = [_SelfDistances.of(rows, low_precision) for rows in (result, content)]
        bands = [slice(first, first + BAND_ROWS) for first in range(0, len(result), BAND_ROWS)]
        total, weighted_signs = 0.0, [torch.zeros_like(side.inverse) for side in sides]
        for band in bands:
            shares = [side.distances[band] * side.inverse for side in sides]
            signs = shares[0] - shares[1]
            total = total + _absolute_sum(signs)
            signs.sign_()
            for sums, share in zip(weighted_signs, shares, strict=True):
                sums += share.mul_(signs).sum(dim=0)
        needed = context.needs_input_grad[:2]
        context.low_precision, context.rows = low_precision, (result, content)
        context.symmetric = [torch.empty_like(sides[0].distances) if need else None for need in needed]
        for band in bands if any(needed) else ():
            along, across = (
                torch.sub(
                    *(side.distances[band] * inverse for side, inverse in zip(sides, inverses, strict=True))
                ).sign_()
                for inverses in (
                    [side.inverse for side in sides],
                    [side.inverse[band, None] for side in sides],
                )
            )
            for side, sums, symmetric in zip(sides, weighted_signs, context.symmetric, strict=True):
                if symmetric is not None:
                    through = torch.where(side.held, 0.0, sums)
                    torch.sub(along, through, out=symmetric[band]).mul_(side.inverse)
                    symmetric[band] += (across - through[band, None]).mul_(side.inverse[band, None])
        return total / len(result)

    @staticmethod
    def backward(context, gradient: Tensor):
        found = [
            None
            if symmetric is None
            else _product(symmetric, rows, context.low_precision).mul_(sign * gradient / len(rows))
            for sign, symmetric, rows in zip((-1, 1), context.symmetric, context.rows, strict=True)
        ]
        return *found, None


@dataclass(frozen=True)
class _SelfDistances:
    distances: Tensor  # D [N, N]
    inverse: Tensor  # 1 / t [N]
    held: Tensor  # [N], where t is held at its least

    @classmethod
    def of(cls, rows: Tensor, low_precision: bool) -> "_SelfDistances":
        """Of directions [N, C]."""
        along, offset = None, rows.new_ones(())
        if low_precision:  # <x, y> about the mean m: <x - m, y - m> + <x, m> + <y, m> - <m, m>
            mean = rows.mean(dim=0)
            along, offset = rows @ mean, 1 + mean @ mean
            distances = gram(rows - mean, True)
        else:
            distances = gram(rows)
        sums = torch.empty_like(distances[0])
        for first in range(0, len(rows), BAND_ROWS):
            band = distances[first : first + BAND_ROWS].neg_()
            if along is None:
                band += offset
            else:
                band.sub_(along).add_((offset - along[first : first + BAND_ROWS])[:, None])
            # Rounding makes distances of equal rows slightly negative; where all rows are equal nothing else is left.
            sums[first : first + BAND_ROWS] = band.clamp_min_(0).sum(dim=1)
        least = len(rows) * torch.finfo(rows.dtype).eps
        return cls(distances, 1 / sums.clamp_min(least), sums <= least)


class _Gram(torch.autograd.Function):
    """`gram`, whose gradient (G + G^T) rows is one product."""

    @staticmethod
    def forward(context, rows: Tensor, low_precision: bool) -> Tensor:
        context.save_for_backward(rows)
        context.low_precision = low_precision
        return gram(rows, low_precision)

    @staticmethod
    def backward(context, gradient: Tensor):
        (rows,) = context.saved_tensors
        return _product(gradient + gradient.T, rows, context.low_precision), None


class _CovarianceDistance(torch.autograd.Function):
    """mean |A^T A / (N - 1) - Cov_S| of centred samples A [N, C].

    A mean that follows the samples changes nothing in the gradient: its columns sum to zero already.
    """

    @staticmethod
    def forward(context, centred: Tensor, covariance: Tensor, low_precision: bool) -> Tensor:
        context.low_precision, context.centred = low_precision, centred
        difference = gram(centred.T, low_precision).div_(len(centred) - 1).sub_(covariance)
        loss = _absolute_sum(difference) / difference.numel()
        context.signs = difference.sign_()  # symmetric but for rounding
        return loss

    @staticmethod
    def backward(context, gradient: Tensor):
        signs, centred = context.signs, context.centred
        scale = 2 * gradient / (signs.numel() * (len(centred) - 1))
        return _product(centred, signs, context.low_precision).mul_(scale), None, None


def gram(rows: Tensor, low_precision: bool = False) -> Tensor:
    """rows rows^T [N, N] of [N, C]: the blocks on and below the diagonal; those above are copied."""
    given = rows.to(torch.bfloat16) if low_precision else rows
    if len(rows) < 4 * GRAM_BLOCKS * GRAM_BLOCKS:
        return (given @ given.T).to(rows.dtype)
    product = rows.new_empty(len(rows), len(rows))
    ends = [len(rows) * block // GRAM_BLOCKS for block in range(GRAM_BLOCKS + 1)]
    for first, last in pairwise(ends):
        product[first:last, :last] = given[first:last] @ given[:last].T
        product[:first, first:last] = product[first:last, :first].T
    return product


def _product(matrix: Tensor, rows: Tensor, low_precision: bool) -> Tensor:
    """matrix rows, [N, C], of [N, M] and [M, C]."""
    if low_precision:
        return (matrix.to(torch.bfloat16) @ rows.to(torch.bfloat16)).to(rows.dtype)
    # On a CPU, products of whole vectors are 1.4 times as fast as those of 2179 columns.
    columns = rows.shape[1]
    return (matrix @ F.pad(rows, (0, -columns % VECTOR)))[:, :columns]


def _absolute_sum(matrix: Tensor) -> Tensor:
    """Sum of |m_ij|, row by row: a sum over all at once is split by the number of threads, which changes its bytes."""
    return torch.linalg.vector_norm(matrix, 1, dim=1).sum()


def _check_samples(name: str, samples: Tensor) -> None:
    if samples.ndim != 2 or not len(samples) or not samples.is_floating_point():
        raise ValueError(f"{name}: got {samples.dtype} {list(samples.shape)}, need floats [N, C] with N at least 1")


def _check_pair(loss: str, result: Tensor, style: Tensor) -> None:
    _check_samples("result", result)
    _check_samples("style", style)
    if result.shape[1] != style.shape[1]:
        raise ValueError(f"{loss}: got {result.shape[1]} result and {style.shape[1]} style channels, need as many")
