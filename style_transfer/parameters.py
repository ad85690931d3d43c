"""What the optimiser moves: the texels of a texture, or the levels of its Laplacian pyramid.

Both offer `start(size, support)` before the steps at one scale, `images()` in each step, `step(learning_rate)` after
the backward pass, `finish()` after the last, and `texture()`, the result at full size. `images` returns the texture at
that scale twice, [1, 3, h, w] in 0..1: equal in value, the first passes on the gradients of content and style, the
second those of the rendering.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from style_transfer import pyramid
from style_transfer.settings import RefineSettings


class TexelParameters:
    """The texels, each with a step size: the photo moves seen texels by `learning_rate`, and unseen ones which it
    touches by `style_step`; content and style move texels by `style_step`, fading out with confidence.

    The two motions are separate parameters. Adam's step does not depend on the size of the gradient, so with one
    parameter a half-seen texel that the rendering happens to miss would follow the style at the photo's speed.
    """

    def __init__(self, texture: Tensor, seen: Tensor, mask: Tensor, learning_rate: float, settings: RefineSettings):
        """Args:
        texture: [1, 3, H, W], 0..1.
        seen: [1, 1, H, W], confidence, 0..1.
        mask: [1, 1, H, W] bool, texels inside the islands.
        """
        self._texture, self._seen, self._mask = texture, seen, mask
        self._style_ratio = min(settings.style_step / learning_rate, 1.0)
        self._style_region = settings.style_region

    def start(self, size: tuple[int, int], support: Tensor) -> None:
        """Begin a scale of `size` = (height, width), with a fresh optimiser.

        support: [1, 1, height, width], 0..1: the share of its step that the rendering may move a texel by.
        """
        seen = shrink(self._seen, self._mask, size)
        self._base = shrink(self._texture, self._mask, size)
        self._rendering_step = (self._style_ratio + (1 - self._style_ratio) * seen) * support
        # Texels outside the islands are neighbours of those inside, in windows and in enlarging: style must not move
        # them.
        inside = (F.interpolate(self._mask.to(seen.dtype), size=size, mode="area") > 1 - 1e-6).to(seen.dtype)
        movable = 1 - seen if self._style_region == "unseen" else torch.ones_like(seen)
        self._style_step = self._style_ratio * movable * inside
        self._rendering_change = torch.zeros_like(self._base, requires_grad=True)
        self._style_change = torch.zeros_like(self._base, requires_grad=True)
        self._optimiser = torch.optim.Adam([self._rendering_change, self._style_change], fused=True)

    def images(self) -> tuple[Tensor, Tensor]:
        by_rendering = self._rendering_step * self._rendering_change
        by_style = self._style_step * self._style_change
        styled = self._base + by_rendering.detach() + by_style
        rendered = self._base + by_rendering + by_style.detach()
        return styled, rendered

    def step(self, learning_rate: float) -> None:
        take_step(self._optimiser, learning_rate)

    @torch.no_grad()
    def finish(self) -> None:
        """Add the change to the full-size texture, which so keeps its detail."""
        change = self._rendering_step * self._rendering_change + self._style_step * self._style_change
        self._texture = self._texture + pyramid.resize(change, self._texture.shape[2:])

    def texture(self) -> Tensor:
        return self._texture


class PyramidParameters:
    """The levels of the Laplacian pyramid of the texture in -1..1, as in the paper. The optimiser lasts for all scales.

    At a coarser scale the finest levels rest.
    """

    def __init__(self, texture: Tensor, seen: Tensor, mask: Tensor, settings: RefineSettings):
        """Args as those of `TexelParameters`."""
        self._levels = [
            level.detach().requires_grad_() for level in pyramid.build(texture * 2 - 1, settings.pyramid_depth)
        ]
        self._seen, self._mask = seen, mask
        self._style_region = settings.style_region
        if settings.optimiser == "sgd":
            self._optimiser = torch.optim.SGD(self._levels, lr=settings.learning_rate, momentum=settings.momentum)
        else:
            self._optimiser = torch.optim.Adam(self._levels, fused=True)

    def start(self, size: tuple[int, int], support: Tensor) -> None:
        """Begin a scale of `size` = (height, width). The gradient's size counts here, `support` is not needed."""
        height = self._levels[0].shape[2]
        resting = max(math.floor(math.log2(height / size[0]) + 1e-6), 0)
        self._active = self._levels[min(resting, len(self._levels) - 1) :]
        self._size = size
        self._style_gate = 1 - shrink(self._seen, self._mask, size) if self._style_region == "unseen" else None

    def images(self) -> tuple[Tensor, Tensor]:
        image = pyramid.collapse(self._active)
        if image.shape[2:] != self._size:
            image = pyramid.resize(image, self._size)
        image = (image + 1) / 2
        if self._style_gate is None:
            return image, image
        return torch.lerp(image.detach(), image, self._style_gate), image

    def step(self, learning_rate: float) -> None:
        take_step(self._optimiser, learning_rate)

    def finish(self) -> None:
        """Nothing to add: the levels are the texture."""

    def texture(self) -> Tensor:
        with torch.no_grad():
            return (pyramid.collapse(self._levels) + 1) / 2


def take_step(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def luminance_only(image: Tensor) -> Tensor:
    """The image, [1, 3, H, W], whose gradient moves all channels alike: luminance, and no chroma."""
    luminance = image.mean(dim=1, keepdim=True)
    return image.detach() + (luminance - luminance.detach())


def shrink(image: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Down-sample by area, averaging texels inside the mask only, so that no background bleeds into the islands.

    Args:
        image: [1, C, H, W].
        mask: [1, 1, H, W] bool.
        size: (height, width), at most (H, W).
    Returns:
        [1, C, height, width]; where nothing is inside the mask, the plain average.
    """
    if tuple(image.shape[2:]) == tuple(size):
        return image
    weights = mask.to(image.dtype)
    coverage = F.interpolate(weights, size=size, mode="area")
    inside = F.interpolate(image * weights, size=size, mode="area") / coverage.clamp_min(1e-6)
    return torch.where(coverage > 0, inside, F.interpolate(image, size=size, mode="area"))
