"""Where textures are compared, and reading feature maps there.

Coordinates count texels of the first map: (0, 0) is the centre of the first texel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def bilinear(maps: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolate every map and put the channels side by side: hypercolumns.

    Coordinates are halved at every drop of resolution from one map to the next, as in STROTSS.

    Args:
        maps: list of [1, C, H, W], in order of falling resolution.
        rows, columns: [N] coordinates in the first map, 0 .. H - 1 and 0 .. W - 1.
    Returns:
        [N, sum of C].
    Raises:
        ValueError: maps or coordinates of wrong shape.
    """
    _check(maps, rows, columns)
    rows, columns = rows.to(maps[0].dtype), columns.to(maps[0].dtype)
    samples = []
    for index, feature in enumerate(maps):
        if index and _drops(maps[index - 1], feature):
            rows, columns = rows / 2, columns / 2
        height, width = feature.shape[2:]
        texels = feature.reshape(feature.shape[1], -1)
        top, left = rows.floor(), columns.floor()
        down, right = rows - top, columns - left
        top, left = top.long().clamp(0, height - 1), left.long().clamp(0, width - 1)
        below, beside = (top + 1).clamp_max(height - 1), (left + 1).clamp_max(width - 1)
        samples.append(
            texels[:, top * width + left] * ((1 - down) * (1 - right))
            + texels[:, top * width + beside] * ((1 - down) * right)
            + texels[:, below * width + left] * (down * (1 - right))
            + texels[:, below * width + beside] * (down * right)
        )
    return torch.cat(samples).T


def nearest(maps: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Like `bilinear`, with the coordinates rounded down in every map, as the paper reads the style."""
    _check(maps, rows, columns)
    rows, columns = rows.to(maps[0].dtype), columns.to(maps[0].dtype)
    samples = []
    for index, feature in enumerate(maps):
        if index and _drops(maps[index - 1], feature):
            rows, columns = rows / 2, columns / 2
        height, width = feature.shape[2:]
        flat = rows.long().clamp(0, height - 1) * width + columns.long().clamp(0, width - 1)
        samples.append(feature.reshape(feature.shape[1], -1)[:, flat])
    return torch.cat(samples).T


@dataclass(frozen=True)
class StyleDraw:
    """Positions [N] of one draw; of a mirrored draw they are positions in the mirrored texture."""

    rows: Tensor
    columns: Tensor
    mirrored: bool


def draw_style_positions(
    mask: Tensor, count: int, draws: int, generator: torch.Generator, mirrored: bool = False
) -> list[StyleDraw]:
    """Draw positions from the seen texels, each draw without replacement.

    Args:
        mask: [H, W] bool, texels that may be drawn.
        count: positions per draw; a draw has fewer where the mask has fewer texels.
        draws: number of draws.
        mirrored: take draws 0, 2, 4, ... from the mirrored texture (left and right swapped).
    Returns:
        `draws` draws.
    Raises:
        ValueError: an empty mask.
    """
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(f"draw_style_positions: got mask {mask.dtype} {list(mask.shape)}, need bool [H, W]")
    positions = mask.nonzero()
    if not len(positions):
        raise ValueError("draw_style_positions: got a mask without any seen texel, need at least one to take style from")
    drawn = []
    for draw in range(draws):
        rows, columns = positions[choose(len(positions), count, generator, mask.device)].to(torch.float32).T
        swap = mirrored and draw % 2 == 0
        drawn.append(StyleDraw(rows, mask.shape[1] - 1 - columns if swap else columns, swap))
    return drawn


def result_grid(height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Regular grid with a random offset, of about 128 x 128 positions or fewer.

    Its stride is sqrt(H W // 128^2), rounded down for rows and up for columns, at least 1 (STROTSS).

    Returns:
        rows, columns: [N] float32, on the generator's device.
    """
    stride = math.sqrt(height * width // 128**2)
    row_stride, column_stride = max(math.floor(stride), 1), max(math.ceil(stride), 1)
    row_offset = torch.randint(row_stride, (), generator=generator, device=generator.device)
    column_offset = torch.randint(column_stride, (), generator=generator, device=generator.device)
    rows = torch.arange(int(row_offset), height, row_stride, device=generator.device, dtype=torch.float32)
    columns = torch.arange(int(column_offset), width, column_stride, device=generator.device, dtype=torch.float32)
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    return rows.flatten(), columns.flatten()


def choose(total: int, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Indices [min(total, count)] of a random choice out of `total`, without replacement."""
    return torch.randperm(total, generator=generator, device=generator.device)[:count].to(device)


def _drops(before: Tensor, after: Tensor) -> bool:
    return after.shape[2] < before.shape[2] or after.shape[3] < before.shape[3]


def _check(maps: list[Tensor], rows: Tensor, columns: Tensor) -> None:
    for feature in maps:
        if feature.ndim != 4 or feature.shape[0] != 1:
            raise ValueError(f"maps: got {list(feature.shape)}, need [1, C, H, W]")
    if not maps or rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"sampling: got {len(maps)} maps, rows {list(rows.shape)}, columns {list(columns.shape)}, "
            "need at least 1 map, [N] and [N]"
        )
