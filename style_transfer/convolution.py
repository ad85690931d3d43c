"""3 x 3 convolutions with fixed weights and a ReLU on a CPU, forward and backward, faster than torch's and with the same bytes for
any number of threads."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Winograd's F(4 x 4, 3 x 3) after Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural Networks": 36 products
# give 16 outputs, where 144 are plain. Points 0, 1, -1, 2, -2 and infinity.
TILE = 4
WINDOW = TILE + 2
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

# Where it pays: below, transforms take what products save.
FEWEST_CHANNELS = 2**15  # of the input times those of the output
FEWEST_VALUES = 2**19  # of a map: channels times texels
TILES_AT_ONCE = 128  # what is worked on stays in the cache


class FixedConvolution:
    """max(w * x + b, 0) with zero padding of 1, for maps [1, C, H, W] that are channels last in memory.

    No gradient for the weights. The forward pass is torch's convolution: which values a ReLU or a pooling lets through
    hangs on the last bits, and every choice that falls the other way changes the gradient by more than rounding does.
    The backward pass, a linear map, is a convolution with turned and transposed weights: by Winograd's algorithm for
    large maps in float32 (2e-6 off in the relative norm, torch's 7e-7), else by torch's forward convolution, because
    torch's backward one splits sums of small maps by the number of threads.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        """weight: [D, C, 3, 3]; bias: [D]; on a CPU."""
        self._weight, self._bias = weight, bias
        self._transposed = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        self._winograd: Tensor | None = None

    def __call__(self, feature: Tensor) -> Tensor:
        """[1, C, H, W] -> [1, D, H, W]."""
        return _Convolve.apply(feature, self)

    def forward(self, feature: Tensor) -> Tensor:
        return F.conv2d(feature, self._weight, self._bias, padding=1).relu_()

    def backward(self, gradient: Tensor) -> Tensor:
        """Of the convolution without its ReLU: [1, D, H, W] -> [1, C, H, W]."""
        pays = self._weight[..., 0, 0].numel() >= FEWEST_CHANNELS and gradient.numel() >= FEWEST_VALUES
        if not pays or gradient.dtype != torch.float32:
            return F.conv2d(gradient, self._transposed, padding=1)
        if self._winograd is None:
            self._winograd = winograd_kernel(self._transposed)
        return winograd(gradient, self._winograd)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(context, feature: Tensor, convolution: FixedConvolution) -> Tensor:
        context.convolution = convolution
        result = convolution.forward(feature)
        context.save_for_backward(result)
        return result

    @staticmethod
    def backward(context, gradient: Tensor):
        (result,) = context.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
        return context.convolution.backward(gradient.contiguous(memory_format=torch.channels_last)), None


def winograd_kernel(weight: Tensor) -> Tensor:
    """Transformed weights [36, C, D] of [D, C, 3, 3]."""
    transform = torch.tensor(_KERNEL, dtype=torch.float64)
    kernel = torch.einsum("ij,dcjk,lk->ilcd", transform, weight.double(), transform)
    return kernel.reshape(WINDOW * WINDOW, *kernel.shape[2:]).to(weight.dtype).contiguous()


def winograd(feature: Tensor, kernel: Tensor) -> Tensor:
    """Convolution of a map [1, C, H, W] with `winograd_kernel`'s weights [36, C, D] and zero padding of 1.

    Returns [1, D, H, W], channels last in memory.
    """
    _, channels, height, width = feature.shape
    to_window, to_tile = (
        torch.kron(matrix, matrix) for matrix in (feature.new_tensor(_INPUT), feature.new_tensor(_OUTPUT))
    )
    down, across = -(-height // TILE), -(-width // TILE)
    padding = (0, 0, 1, TILE * across - width + 1, 1, TILE * down - height + 1)
    padded = F.pad(feature[0].permute(1, 2, 0), padding)  # [4 down + 2, 4 across + 2, C]
    row, column, _ = padded.stride()
    found = feature.new_empty(down, TILE, across, TILE, kernel.shape[2])
    rows = max(TILES_AT_ONCE // across, 1)
    for first in range(0, down, rows):
        count = min(rows, down - first)
        windows = padded.as_strided(
            (WINDOW, WINDOW, count, across, channels), (row, column, TILE * row, TILE * column, 1), TILE * row * first
        )
        transformed = to_window @ windows.reshape(WINDOW * WINDOW, -1)
        products = torch.bmm(transformed.view(WINDOW * WINDOW, -1, channels), kernel)
        tiles = to_tile @ products.view(WINDOW * WINDOW, -1)
        tiles = tiles.view(TILE, TILE, count, across, -1).permute(2, 0, 3, 1, 4)
        found[first : first + count] = tiles
    return found.view(1, TILE * down, TILE * across, -1).permute(0, 3, 1, 2)[:, :, :height, :width]
