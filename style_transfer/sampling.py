"""Where textures are compared, and reading feature maps there.

Coordinates count texels of the first map: (0, 0) is the centre of the first texel.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear(maps: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolate every map and put the channels side by side: hypercolumns.

    Coordinates are halved at every drop of resolution from one map to the next, as in STROTSS.

    Args:
        maps: list of [1, C, H, W], in order of falling resolution; fastest where they are channels last in memory.
        rows, columns: [N] coordinates in the first map, 0 .. H - 1 and 0 .. W - 1.
    Returns:
        [N, sum of C].
    Raises:
        ValueError: maps or coordinates of wrong shape.
    """
    _check(maps, rows, columns)
    positions = Positions(rows, columns)
    return torch.cat([positions.read(feature)[1] for feature in maps], dim=1)


def nearest(maps: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Like `bilinear`, with the coordinates rounded down in every map, as the paper reads the style."""
    _check(maps, rows, columns)
    rows, columns = rows.to(torch.float32), columns.to(torch.float32)
    samples = []
    for index, feature in enumerate(maps):
        if index and _drops(maps[index - 1].shape[2:], feature.shape[2:]):
            rows, columns = rows / 2, columns / 2
        height, width = feature.shape[2:]
        flat = rows.long().clamp(0, height - 1) * width + columns.long().clamp(0, width - 1)
        samples.append(_texels(feature).index_select(0, flat))
    return torch.cat(samples, dim=1)


class Positions:
    """Coordinates that are read in maps of falling resolution, one after the other."""

    def __init__(self, rows: Tensor, columns: Tensor):
        """rows, columns: [N] coordinates in the first map that is read."""
        self._rows, self._columns = rows, columns
        self._size: tuple[int, int] | None = None

    def read(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """A map [1, C, H, W] and its samples [N, C].

        The map that is returned is the one given; a network that goes on from it gets the samples' gradient added where
        its own gradient comes back, without a map of zeros for it.
        """
        size = feature.shape[2:]
        if self._size is None or tuple(size) != self._size:
            if self._size is not None and _drops(self._size, size):
                self._rows, self._columns = self._rows / 2, self._columns / 2
            self._size = tuple(size)
            self._blend = _Blend.at(self._rows, self._columns, *size)
        return _Read.apply(feature, self._blend)


@dataclass(frozen=True)
class _Blend:
    """Samples as weighted texels of a map; and texels as weighted samples, for the gradient: each texel's sum is made
    in one order, so that the bytes are the same with any number of threads."""

    texels: Tensor  # [N, 4], row-major numbers
    weights: Tensor  # [N, 4]
    touched: Tensor  # [U], texels, each once
    starts: Tensor  # [U], where a texel's samples begin in the next two
    samples: Tensor  # [4 N]
    sample_weights: Tensor  # [4 N]

    @classmethod
    def at(cls, rows: Tensor, columns: Tensor, height: int, width: int) -> "_Blend":
        top, left = rows.floor(), columns.floor()
        down, right = rows - top, columns - left
        top, left = top.long().clamp(0, height - 1), left.long().clamp(0, width - 1)
        below, beside = (top + 1).clamp_max(height - 1), (left + 1).clamp_max(width - 1)
        texels = torch.stack(
            (top * width + left, top * width + beside, below * width + left, below * width + beside), dim=1
        )
        weights = torch.stack(((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right), dim=1)
        if not weights[:, 1:].any():  # whole texels, as in the first maps
            texels, weights = texels[:, :1].contiguous(), weights[:, :1].contiguous()
        order = texels.flatten().argsort(stable=True)
        touched, counts = texels.flatten()[order].unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts
        return cls(texels, weights, touched, starts, order // texels.shape[1], weights.flatten()[order])


class _Read(torch.autograd.Function):
    """(feature, blend) -> (feature, samples)."""

    @staticmethod
    def forward(context, feature: Tensor, blend: _Blend) -> tuple[Tensor, Tensor]:
        context.blend, context.shape = blend, feature.shape
        context.set_materialize_grads(False)
        samples = F.embedding_bag(
            blend.texels, _texels(feature), per_sample_weights=blend.weights.to(feature.dtype), mode="sum"
        )
        # Returned as it is, a map would come out as a view with another stride of its one-image batch, which layers do
        # not take for channels last.
        return feature.detach(), samples

    @staticmethod
    def backward(context, of_feature: Tensor | None, of_samples: Tensor | None):
        if of_samples is None:
            return of_feature, None
        if of_feature is None:
            _, channels, height, width = context.shape
            of_feature = of_samples.new_zeros(1, height, width, channels).permute(0, 3, 1, 2)
        blend = context.blend
        found = F.embedding_bag(
            blend.samples, of_samples.contiguous(), blend.starts,
            per_sample_weights=blend.sample_weights.to(of_samples.dtype), mode="sum",
        )  # fmt: skip
        # Into the gradient as it came: it has just been made by the one layer that follows.
        texels = _texels(of_feature)
        texels.index_copy_(0, blend.touched, texels.index_select(0, blend.touched) + found)
        if texels.data_ptr() != of_feature.data_ptr():
            of_feature = texels.view(1, *context.shape[2:], context.shape[1]).permute(0, 3, 1, 2)
        return of_feature, None


def _texels(feature: Tensor) -> Tensor:
    """A map [1, C, H, W] as rows [H W, C]: a view where channels are last in memory, a copy elsewhere."""
    return feature[0].permute(1, 2, 0).reshape(-1, feature.shape[1])


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
        raise ValueError(
            "draw_style_positions: got a mask without any seen texel, need at least one to take style from"
        )
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


def _drops(before: tuple[int, int], after: tuple[int, int]) -> bool:
    return after[0] < before[0] or after[1] < before[1]


def _check(maps: list[Tensor], rows: Tensor, columns: Tensor) -> None:
    for feature in maps:
        if feature.ndim != 4 or feature.shape[0] != 1:
            raise ValueError(f"maps: got {list(feature.shape)}, need [1, C, H, W]")
    if not maps or rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"sampling: got {len(maps)} maps, rows {list(rows.shape)}, columns {list(columns.shape)}, "
            "need at least 1 map, [N] and [N]"
        )
