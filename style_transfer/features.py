"""What content and style are compared by: VGG16 hypercolumns (the paper) or raw patches (nothing to obtain).

Both offer `maps(image)`, the dense part, and `columns(maps, rows, columns, nearest)`, the samples [N, C] that the
losses take; `sample(image, rows, columns)` is both in one, for a step. Images are [1, 3, H, W] in -1..1; the first 3
channels of a column are the colour of its texel.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from style_transfer import sampling
from style_transfer.convolution import FixedConvolution

# Outputs of ReLU 1_1 1_2 2_1 2_2 3_1 3_2 3_3 4_3 5_3, and the layers before the last of them. 0 is a pooling.
CAPTURED_LAYERS = (1, 3, 6, 8, 11, 13, 15, 22, 29)
CAPTURED_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512)
NOISE_FROM = 15  # ReLU 3_3
CONVOLUTIONS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def vgg16_layers() -> nn.Sequential:
    """VGG16's layers up to the last captured one, untrained; named by number as in torchvision's `features`."""
    layers = nn.Sequential()
    channels = 3
    for width in CONVOLUTIONS:
        if width:
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return layers


class VGG16Hypercolumns(nn.Module):
    """Hypercolumns of VGG16 (Simonyan and Zisserman 2015): 3 channels of input and 2176 of nine ReLU layers.

    The network follows the device of the images it is given.
    """

    # The receptive field (196 texels) reaches everywhere: what is unseen has to be filled, not avoided.
    reach = 0

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        precision: torch.dtype = torch.float32,
        zero: Sequence[float] = (0.0, 0.0, 0.0),
    ):
        """Args:
            weights: state dict of `vgg16_layers()`: "0.weight" [64, 3, 3, 3], "0.bias" [64], ..., "28.bias" [512].
            zero: normalised input that these weights take as zero, and pad with; torchvision's take zero.
            precision: of the network's arithmetic and maps, and of the losses' products: float32 or bfloat16.
        Raises:
            ValueError: not weights of these layers.
        """
        super().__init__()
        self.layers = vgg16_layers()
        try:
            self.layers.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"VGG16Hypercolumns: {' '.join(str(error).split())}") from error
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.register_buffer("zero", torch.tensor(zero, dtype=torch.float32).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.precision = precision
        # For `neighbours`: no colour, and no conv5, as published.
        self.matched_layers = _slices((3, *CAPTURED_WIDTHS))[1:-1]
        self.layers.to(dtype=precision, memory_format=torch.channels_last)  # a column is then contiguous in every map
        self._on_cpu = {
            index: FixedConvolution(layer.weight, layer.bias)
            for index, layer in enumerate(self.layers)
            if isinstance(layer, nn.Conv2d)
        }

    def maps(self, image: Tensor, noise: torch.Generator | None = None) -> list[Tensor]:
        """The normalised input and the captured layers.

        Args:
            image: [1, 3, H, W], -1..1, H and W at least 16.
            noise: source of noise N(0, 1), the same for all channels of a texel, which is added to the captured layers
                from ReLU 3_3 on and goes on into the layers behind; None: no noise.
        Returns:
            10 tensors [1, C, H / 2^k, W / 2^k]; 2179 channels in all.
        """
        maps = []
        self._forward(image, noise, maps.append)
        return maps

    def first_maps(self, image: Tensor, count: int) -> list[Tensor]:
        """The first `count` of `maps(image)`, without the work on the others."""
        maps = []
        self._forward(image, None, maps.append, CAPTURED_LAYERS[count - 2] if count > 1 else -1)
        return maps

    def sample(self, image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Hypercolumns [N, 2179] of an image at rows, columns [N], bilinear: `columns(maps(image), rows, columns)`,
        with a backward pass that adds the samples' gradients to the network's own, map by map."""
        positions, samples = sampling.Positions(rows, columns), []

        def read(feature: Tensor) -> Tensor:
            feature, found = positions.read(feature)
            samples.append(found)
            return feature

        self._forward(image, None, read)
        return torch.cat(samples, dim=1)

    def normalised(self, image: Tensor) -> Tensor:
        """The input as torchvision normalises it, [1, 3, H, W], of an image in -1..1. The layers take it
        less `zero`."""
        feature = ((image + 1) / 2 - self.mean) / self.std
        return feature.to(dtype=self.precision, memory_format=torch.channels_last)

    def _forward(
        self,
        image: Tensor,
        noise: torch.Generator | None,
        capture: Callable[[Tensor], Tensor | None],
        last: int = CAPTURED_LAYERS[-1],
    ) -> None:
        """Calls `capture` with every captured map up to layer `last`; what it returns, if anything, goes on into the next
        layer."""
        _check_image(image, smallest=16)
        if self.mean.device != image.device:
            self.to(image.device)
        feature = self.normalised(image)
        captured = capture(feature)
        feature = (feature if captured is None else captured) - self.zero.to(feature.dtype)
        for index, layer in enumerate(self.layers[: last + 1]):
            if image.device.type != "cpu" or isinstance(layer, nn.MaxPool2d):
                feature = layer(feature)
            elif index in self._on_cpu:  # with its ReLU
                feature = self._on_cpu[index](feature)
            if index in CAPTURED_LAYERS:
                if noise is not None and index >= NOISE_FROM:
                    shape = (1, 1, *feature.shape[2:])
                    drawn = torch.randn(shape, generator=noise, device=noise.device, dtype=feature.dtype)
                    feature = feature + drawn.to(feature.device)
                captured = capture(feature)
                feature = feature if captured is None else captured

    def columns(self, maps: list[Tensor], rows: Tensor, columns: Tensor, nearest: bool = False) -> Tensor:
        """Hypercolumns [N, 2179] at rows, columns [N]; `nearest` rounds down in every layer."""
        return (sampling.nearest if nearest else sampling.bilinear)(maps, rows, columns)


class PatchFeatures:
    """Raw RGB patches over a Gaussian pyramid: one window per level, the finest first.

    With the default a column holds the 3 x 3 texels around its position, 5 x 5 at half and 7 x 7 at a quarter of the
    resolution: 249 channels. Windows are gathered at the sampled positions only.
    """

    def __init__(self, sizes: tuple[int, ...] = (3, 5, 7)):
        """Args:
            sizes: width of the window on each level, odd.
        Raises:
            ValueError: an even or missing size.
        """
        if not sizes or any(size < 1 or size % 2 == 0 for size in sizes):
            raise ValueError(f"PatchFeatures: got sizes {sizes}, need odd numbers, one per pyramid level")
        self.sizes = tuple(sizes)
        self.precision = torch.float32
        self.matched_layers = _slices([3 * size * size for size in self.sizes])

    @property
    def reach(self) -> int:
        """How many texels a column looks away from its position, the blur of the pyramid included."""
        reach, blur = 0.0, 0.0
        for level, size in enumerate(self.sizes):
            step = 2**level
            # Half a texel of rounding below the finest level; four binomial taps reach 1.5 texels of the level above.
            reach = max(reach, step * (size // 2 + (0.5 if level else 0)) + blur)
            blur += 1.5 * step
        return math.ceil(reach)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Gaussian pyramid of the image, fine to coarse; a texel of a level lies in the middle of 2 x 2 finer ones.

        Args:
            image: [1, 3, H, W], -1..1, H and W at least 2^(levels - 1).
        Returns:
            One tensor [1, 3, H // 2^k, W // 2^k] per level.
        """
        _check_image(image, smallest=2 ** (len(self.sizes) - 1))
        levels = [image]
        for _ in self.sizes[1:]:
            height, width = (length // 2 * 2 for length in levels[-1].shape[2:])
            levels.append(_Halve.apply(levels[-1][:, :, :height, :width]))
        return levels

    def columns(self, maps: list[Tensor], rows: Tensor, columns: Tensor, nearest: bool = False) -> Tensor:
        """Windows around the positions, those that leave the image repeat its border.

        Args:
            maps: of `maps`.
            rows, columns: [N], texels of the image, 0 .. H - 1 and 0 .. W - 1.
            nearest: take the window of the closest texel on each level; bilinear otherwise.
        Returns:
            [N, C]; the first 3 channels are the colour at the position itself.
        """
        if len(maps) != len(self.sizes) or rows.ndim != 1 or rows.shape != columns.shape:
            raise ValueError(
                f"PatchFeatures: got {len(maps)} maps, rows {list(rows.shape)}, columns {list(columns.shape)}, "
                f"need {len(self.sizes)} maps, [N] and [N]"
            )
        rows, columns = rows.to(maps[0].dtype), columns.to(maps[0].dtype)
        windows = []
        for level, (feature, size) in enumerate(zip(maps, self.sizes, strict=True)):
            level_rows = (rows + 0.5) / 2**level - 0.5
            level_columns = (columns + 0.5) / 2**level - 0.5
            windows.append(_windows(feature, level_rows, level_columns, size, nearest))
        return torch.cat(windows, dim=1)

    def sample(self, image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Windows [N, C] of an image around rows, columns [N], bilinear."""
        return self.columns(self.maps(image), rows, columns)


class _Halve(torch.autograd.Function):
    """Half resolution by the binomial kernel [1 3 3 1] / 8, borders repeated; H and W even.

    Its adjoint is bilinear enlargement / 4, on a CPU ten times faster than the backward pass of the convolution.
    """

    @staticmethod
    def forward(ctx, image: Tensor) -> Tensor:  # [1, 3, H, W] -> [1, 3, H / 2, W / 2]
        binomial = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=image.dtype, device=image.device) / 8
        # A full kernel, zero between different channels: faster than one group per channel.
        kernel = torch.eye(3, dtype=image.dtype, device=image.device)[:, :, None, None] * (binomial[:, None] * binomial)
        return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, stride=2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return F.interpolate(gradient, scale_factor=2, mode="bilinear", align_corners=False) / 4


def _windows(feature: Tensor, rows: Tensor, columns: Tensor, size: int, nearest: bool) -> Tensor:
    """Windows [N, size * size * 3] of a map [1, 3, H, W], the middle texel first."""
    height, width = feature.shape[2:]
    top = (rows + 0.5 if nearest else rows).floor()
    left = (columns + 0.5 if nearest else columns).floor()
    extra = 0 if nearest else 1
    around = torch.arange(size + extra, device=feature.device) - size // 2
    window_rows = (top.long()[:, None] + around).clamp(0, height - 1)
    window_columns = (left.long()[:, None] + around).clamp(0, width - 1)
    flat = window_rows[:, :, None] * width + window_columns[:, None, :]
    # Texels as rows: their gradients come back as rows too, several times faster than as single numbers.
    window = feature[0].flatten(1).T.contiguous().index_select(0, flat.flatten()).view(*flat.shape, 3)
    if not nearest:
        down = (rows - top)[:, None, None, None]
        right = (columns - left)[:, None, None, None]
        window = torch.lerp(window[:, :-1], window[:, 1:], down)
        window = torch.lerp(window[:, :, :-1], window[:, :, 1:], right)
    window = window.reshape(len(rows), size * size, 3)
    middle = size * size // 2
    return torch.cat((window[:, middle : middle + 1], window[:, :middle], window[:, middle + 1 :]), dim=1).flatten(1)


def _slices(widths: Sequence[int]) -> tuple[slice, ...]:
    """Channels of each layer in a column."""
    ends = list(itertools.accumulate(widths))
    return tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True))


def _check_image(image: Tensor, smallest: int) -> None:
    if image.ndim != 4 or image.shape[:2] != (1, 3) or min(image.shape[2:]) < smallest:
        raise ValueError(f"features: got image {list(image.shape)}, need [1, 3, H, W] with H and W at least {smallest}")
