"""Laplacian pyramid of an image; its levels are the parameters of the paper's optimisation."""

import torch.nn.functional as F
from torch import Tensor


def build(image: Tensor, depth: int) -> list[Tensor]:
    """Split an image into `depth` levels of detail and the coarse image that remains.

    level = x - up(down(x)); down and up are bilinear with align_corners=False, down halves (floor, at least 1).

    Args:
        image: [B, C, H, W], any size.
        depth: number of levels of detail, at least 0.
    Returns:
        depth + 1 tensors, fine to coarse; `collapse` turns them back into the image.
    Raises:
        ValueError: wrong shape or depth.
    """
    if image.ndim != 4:
        raise ValueError(f"build: got image {list(image.shape)}, need [B, C, H, W]")
    if depth < 0:
        raise ValueError(f"build: got depth {depth}, need at least 0")
    levels = []
    for _ in range(depth):
        smaller = resize(image, (max(image.shape[2] // 2, 1), max(image.shape[3] // 2, 1)))
        levels.append(image - resize(smaller, image.shape[2:]))
        image = smaller
    return [*levels, image]


def collapse(levels: list[Tensor]) -> Tensor:
    """The image [B, C, H, W] of a pyramid, H and W those of its first level. `levels[1:]` gives it at half size."""
    if not levels:
        raise ValueError("collapse: got no level, need at least 1")
    image = levels[-1]
    for level in reversed(levels[:-1]):
        image = level + resize(image, level.shape[2:])
    return image


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, align_corners=False: two-tap, so right for enlarging and for halving."""
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)
