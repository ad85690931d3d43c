"""The refinement: content, style and rendering losses optimise one texture, coarse to fine (FaceRefiner, section 3)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from style_transfer import losses, neighbours, sampling
from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.parameters import PyramidParameters, TexelParameters, luminance_only, shrink
from style_transfer.settings import RefineSettings

SEEN = 0.99  # confidence from which a texel may give style
LOG_EVERY = 10
# Texels to either side that a texel's share of the pixels is held against. Not a length on the surface: the share
# varies from texel to texel, as pixels happen to hit them.
SUPPORT_REACH = 4
COLOUR_SPAN = 2  # the paper's colours span -1..1, ours 0..1: its weight of the rendering loss expects twice our L1


@dataclass(frozen=True)
class RenderTarget:
    """What the texture has to reproduce at one size.

    render: maps a texture [1, 3, h, w], 0..1, to the colours [N, 3] of N pixels; differentiable.
    photo: colours [N, 3] of these pixels, 0..1.
    weights: [N], 0..1; pixels of weight 0 count in the mean.
    rendering_of: gives the `render` of a list of texels alone. rendering_of(ids [M] into the flattened texture) maps
        [1, 3, 1, M] to [N, 3], right for pixels that see no other texel; None: cannot be had.
    """

    render: Callable[[Tensor], Tensor]
    photo: Tensor
    weights: Tensor
    rendering_of: Callable[[Tensor], Callable[[Tensor], Tensor]] | None = None


@dataclass(frozen=True)
class RefinedTexture:
    """texture: [1, 3, H, W], 0..1. losses: one dict per logged step. notes: what had to be relaxed, in words."""

    texture: Tensor
    losses: list[dict[str, float]]
    notes: list[str] = field(default_factory=list)


def refine_texture(
    content: Tensor,  # [1, 3, H, W], 0..1
    style: Tensor,  # [1, 3, H, W], 0..1 where seen
    seen: Tensor,  # [1, 1, H, W], 0..1
    mask: Tensor,  # [1, 1, H, W], bool
    targets: Callable[[int, int], RenderTarget],
    features: VGG16Hypercolumns | PatchFeatures | None,
    settings: RefineSettings,
    generator: torch.Generator,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> RefinedTexture:
    """Refine an initial texture so that it matches the photo where seen and looks like the seen part elsewhere.

    With `parameters: pyramid`, `optimiser: sgd`, `style_region: all`, `style_from_seen: false`, `mirrored_style: true`
    and no `rendering_iterations`, `decay_learning_rate` or `stretch_between_transfers` this is the published loop, but
    that

    - the result is the texture after the last step; published is the one before it,
    - the grid's positions are chosen as pairs, without replacement; there rows and columns are shuffled separately,
    - images go from one transfer to the next as they are. `stretch_between_transfers` stores them as published, but
      leaves the result alone, which is stretched there too,
    - the mean of the rendering loss is over the pixels that `targets` gives; there over all of a photo of fixed crop.

    Args:
        content: I_C, initial texture [1, 3, H, W], RGB, 0..1, complete.
        style: I_S, texture sampled from the photo, same shape; read only where `seen` exceeds 0.99, or inside the
            islands with `style_from_seen: false`.
        seen: confidence of the sampled texture [1, 1, H, W], 0..1.
        mask: texels inside the UV islands [1, 1, H, W], bool.
        targets: `targets(h, w)` gives the rendering target for a texture of that size; called once per size.
        features: what content and style are compared by; None: rendering loss only.
        settings: schedule, weights and step sizes; `settings.features` is the caller's business.
        generator: source of all randomness. Same seed, same bytes on a CPU.
        progress: called with steps done, steps in all and the last losses, every 10 steps.
    Returns:
        The refined texture I_X, clamped to 0..1, with its losses; unweighted, "rendering" in units of 0..1.
    Raises:
        ValueError: inputs or settings that do not fit, or no seen texel to take style from.
        FloatingPointError: the optimisation diverged.
    """
    _check_inputs(content, style, seen, mask, settings, features)
    height, width = content.shape[2:]
    islands = mask
    if settings.style_from_seen:
        # What is unseen is black or worse in the sampled texture; windows that reach there find the content instead.
        style = torch.where((seen > SEEN) & mask, style, content)
    else:
        # As published: what is outside the islands is black, and takes part like any other texel.
        content, style = (torch.where(islands, image, 0.0) for image in (content, style))
        mask = torch.ones_like(mask)
    sizes = [(max(round(height * scale), 1), max(round(width * scale), 1)) for scale in settings.scales]
    final_size = [(height, width)] if settings.rendering_iterations else []
    target_at = {size: targets(*size) for size in dict.fromkeys(sizes + final_size)}
    if settings.content_weight == 0 and settings.style_weight == 0:
        features = None
    log = _Log(settings.transfers * len(sizes) * settings.iterations + settings.rendering_iterations, progress)
    notes: list[str] = []

    texture = content
    content_weight, rendering_weight = settings.content_weight, settings.rendering_weight
    for transfer in range(settings.transfers):
        if settings.parameters == "pyramid":
            parameters = PyramidParameters(texture, seen, mask, settings)
        else:
            parameters = TexelParameters(texture, seen, mask, settings.learning_rate, settings)
        for scale, size in zip(settings.scales, sizes, strict=True):
            f = 1 / scale
            a, b, g = content_weight * f, settings.style_weight * f, rendering_weight * f
            target = target_at[size]
            parameters.start(size, _support(target, size, texture))
            comparison = _prepare(features, texture, style, seen, mask, size, settings, generator, notes)
            if comparison is not None and settings.style == "neighbours":
                present = None if scale == settings.scales[0] else parameters.images()[0].detach()
                comparison = _with_targets(comparison, present)
            layered_from = settings.iterations * (1 - settings.layer_matching if scale == settings.scales[-1] else 1)
            for step in range(settings.iterations):
                styled, rendered = parameters.images()
                terms = {"rendering": losses.rendering_loss(target.render(rendered), target.photo, target.weights)}
                total = g * COLOUR_SPAN * terms["rendering"]
                if comparison is not None:
                    styled = luminance_only(styled) if settings.chroma == "held" else styled
                    terms |= _compare(comparison, styled, a, settings, generator, layered=step >= layered_from)
                    total = total + a * terms["content"] + b * terms["style"]
                    if settings.chroma == "term":
                        total = total + settings.chroma_weight * f * terms["chroma"]
                total.backward()
                parameters.step(_learning_rate(settings.learning_rate, step, settings))
                log.step({"transfer": transfer, "scale": scale}, {"total": total, **terms})
            parameters.finish()
        texture = parameters.texture()
        if settings.stretch_between_transfers and transfer + 1 < settings.transfers:
            texture = stretched(texture)
            texture = texture if settings.style_from_seen else torch.where(islands, texture, 0.0)
        content_weight /= settings.content_decay
        rendering_weight *= settings.rendering_growth

    # Not in the paper: seen texels end on the photo, texels that no pixel touches get no gradient and stay.
    if settings.rendering_iterations:
        target = target_at[height, width]
        render, images = target.render, [texture, seen, mask, _support(target, (height, width), texture)]
        if target.rendering_of is not None:  # only texels that the pixels touch; the others would not move
            ids = torch.nonzero(images[3].flatten() > 0)[:, 0]
            render, images = target.rendering_of(ids), [image.flatten(2)[:, :, None, ids] for image in images]
        parameters = TexelParameters(*images[:3], settings.rendering_step, settings)
        parameters.start(tuple(images[0].shape[2:]), images[3])
        for step in range(settings.rendering_iterations):
            rendering = losses.rendering_loss(render(parameters.images()[1]), target.photo, target.weights)
            rendering.backward()
            parameters.step(settings.rendering_step * _cosine(step, settings.rendering_iterations))
            log.step({"transfer": settings.transfers, "scale": 1.0}, {"total": rendering, "rendering": rendering})
        parameters.finish()
        if target.rendering_of is not None:
            texture = texture.flatten(2).index_copy(2, ids, parameters.texture()[:, :, 0]).reshape(texture.shape)
        else:
            texture = parameters.texture()

    if not torch.isfinite(texture).all():
        raise FloatingPointError("the refined texture has values that are not finite: lower learning_rate")
    return RefinedTexture(texture.detach().clamp(0, 1), log.losses, notes)


@dataclass(frozen=True)
class _Comparison:
    """What stays the same for all steps of one transfer and scale."""

    features: VGG16Hypercolumns | PatchFeatures
    rows: Tensor  # [G], grid of result positions
    columns: Tensor  # [G]
    content_image: Tensor  # [1, 3, h, w], 0..1
    content_columns: Tensor | None  # [G, C], for the targets of `style: neighbours`
    content: Tensor  # [G, C], directions
    style_columns: Tensor | None  # [S, C], likewise
    style: losses.Style
    low_precision: bool  # of products
    targets: neighbours.Targets | None = None  # with `style: neighbours`


@torch.no_grad()
def _prepare(
    features: VGG16Hypercolumns | PatchFeatures | None,
    texture: Tensor,
    style: Tensor,
    seen: Tensor,
    mask: Tensor,
    size: tuple[int, int],
    settings: RefineSettings,
    generator: torch.Generator,
    notes: list[str],
) -> _Comparison | None:
    """Draw style positions and the result grid at one size, and read style and content there."""
    if features is None or settings.iterations == 0:
        return None
    texture, style = (2 * shrink(image, mask, size) - 1 for image in (texture, style))
    seen = shrink(seen, mask, size)[0, 0]
    inside = F.interpolate(mask.to(texture.dtype), size=size, mode="area")[0, 0] > SEEN

    allowed = inside
    if settings.style_from_seen:
        allowed = _style_texels((seen > SEEN) & inside, features.reach, settings.style_samples, notes)
    draws = sampling.draw_style_positions(
        allowed, settings.style_samples, settings.style_draws, generator, settings.mirrored_style
    )
    maps = {False: features.maps(style)}
    if settings.mirrored_style:
        maps[True] = features.maps(style.flip(3))
    samples = torch.cat([features.columns(maps[d.mirrored], d.rows, d.columns, nearest=True) for d in draws])
    del maps
    if len(samples) < 2:
        raise ValueError(
            f"refine_texture: got a single seen texel at {size[0]} x {size[1]}, need at least 2 to take style from"
        )

    rows, columns = (axis.to(texture.device) for axis in sampling.result_grid(*size, generator))
    movable = inside & (seen < SEEN) if settings.style_region == "unseen" else inside
    for region in (movable, inside, torch.ones_like(inside)):
        chosen = region[rows.long(), columns.long()]
        if chosen.sum() >= 2:
            rows, columns = rows[chosen], columns[chosen]
            break
    content_maps = features.maps(texture, generator) if settings.content_noise else features.maps(texture)
    grid_content = features.columns(content_maps, rows, columns)
    low = features.precision is torch.bfloat16
    samples, grid_content = samples.to(texture.dtype), grid_content.to(texture.dtype)
    described = losses.describe_style(samples, settings.moment_weight > 0, low)
    image, directions = (texture + 1) / 2, losses.directions(grid_content)
    kept = (grid_content, samples) if settings.style == "neighbours" else (None, None)
    return _Comparison(features, rows, columns, image, kept[0], directions, kept[1], described, low)


@torch.no_grad()
def _with_targets(comparison: _Comparison, present: Tensor | None) -> _Comparison:
    """With fixed targets for the content, mixed with the present result [1, 3, h, w], 0..1, where there is one."""
    wanted, features = comparison.content_columns, comparison.features
    if present is not None:
        result = features.sample(2 * present - 1, comparison.rows, comparison.columns).to(wanted.dtype)
        wanted = torch.lerp(result, wanted, neighbours.CONTENT_SHARE)
    return replace(comparison, targets=neighbours.match(wanted, comparison.style_columns, features.matched_layers))


def _compare(
    comparison: _Comparison,
    image: Tensor,
    content_weight: float,
    settings: RefineSettings,
    generator: torch.Generator,
    layered: bool = False,
) -> dict[str, Tensor]:
    """Content loss L_c and style loss L_s = L_r + m L_m + L_k / max(a f, 1) at a random choice of the grid; with
    targets the distance to these, or where `layered` to each layer's nearest style."""
    chosen = sampling.choose(len(comparison.rows), settings.result_samples, generator, image.device)
    result = comparison.features.sample(2 * image - 1, comparison.rows[chosen], comparison.columns[chosen])
    result = result.to(image.dtype)
    zero = result.new_zeros(())
    terms = {"content": zero, "style": zero}
    if settings.chroma == "term":
        colours = [(2 * texture - 1)[0].flatten(1).T for texture in (image, comparison.content_image)]
        terms["chroma"] = losses.chroma_loss(*colours)
    if comparison.targets is not None:
        if layered:
            terms["style"] = neighbours.layered_distance(result, comparison.targets)
        else:
            terms["style"] = neighbours.fixed_distance(result, comparison.targets, chosen)
        return terms
    directions, style, low = losses.directions(result), comparison.style, comparison.low_precision
    if settings.content_weight > 0:
        terms["content"] = losses.self_similarity(directions, comparison.content[chosen], low)
    if settings.style_weight > 0:
        partners = losses.nearest(directions, style.searched)
        terms["relaxed_emd"] = losses.partner_distance(directions, style.directions, partners)
        terms["moments"] = zero
        if settings.moment_weight > 0:
            terms["moments"] = losses.moment_distance_of(result, style.moments, low)
        terms["colour"] = losses.colour_loss(result[:, :3], style.colours)
        moments = settings.moment_weight * terms["moments"]
        terms["style"] = terms["relaxed_emd"] + moments + terms["colour"] / max(content_weight, 1.0)
    return terms


def _support(target: RenderTarget, size: tuple[int, int], like: Tensor) -> Tensor:
    """How well the pixels determine each texel [1, 1, h, w], 0..1, held against its neighbours.

    Adam moves a texel that a single pixel touches with its last percent as fast as any other; along the border of what
    is rendered such texels would take on wild colours.
    """
    texture = torch.zeros((1, 3, *size), dtype=like.dtype, device=like.device, requires_grad=True)
    (target.render(texture) * target.weights[:, None]).sum().backward()
    share = texture.grad[:, :1].clamp_min(0)
    usual = F.avg_pool2d(share, 2 * SUPPORT_REACH + 1, stride=1, padding=SUPPORT_REACH, count_include_pad=False)
    return (share / (0.5 * usual).clamp_min(1e-12)).clamp(0, 1)


def _style_texels(seen: Tensor, reach: int, wanted: int, notes: list[str]) -> Tensor:
    """Texels [H, W] bool whose windows stay within the seen ones; nearer to the border where too few remain."""
    unseen = (~seen).to(torch.float32)[None, None]
    distance = reach
    while True:
        near = F.max_pool2d(unseen, (2 * distance + 1, 1), stride=1, padding=(distance, 0))
        near = F.max_pool2d(near, (1, 2 * distance + 1), stride=1, padding=(0, distance))
        allowed = near[0, 0] == 0
        if distance == 0 or allowed.sum() >= wanted:
            break
        distance //= 2
    if distance < reach:
        notes.append(
            f"style at {seen.shape[0]} x {seen.shape[1]}: positions keep {distance} instead of {reach} texels from "
            f"what is unseen, else fewer than {wanted} would remain; {int(allowed.sum())} do"
        )
    return allowed


def stretched(texture: Tensor) -> Tensor:
    """As the published code stores a texture: least and largest value become 0 and 1, in 255 steps, rounded down."""
    texture = texture.clamp(0, 1)
    span = (texture.max() - texture.min()).clamp_min(torch.finfo(texture.dtype).eps)
    return ((texture - texture.min()) / span * 255).floor() / 255


def _learning_rate(start: float, step: int, settings: RefineSettings) -> float:
    return start * _cosine(step, settings.iterations) if settings.decay_learning_rate else start


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))


class _Log:
    """Keeps the losses of every tenth step, stops a run that diverges, reports progress."""

    def __init__(self, total: int, progress: Callable[[int, int, dict[str, float]], None] | None):
        self.losses: list[dict[str, float]] = []
        self._total, self._done, self._progress = total, 0, progress

    def step(self, where: dict[str, Any], terms: dict[str, Tensor]) -> None:
        self._done += 1
        if self._done != 1 and self._done % LOG_EVERY and self._done != self._total:
            return
        values = {name: term.item() for name, term in terms.items()}
        if not all(math.isfinite(value) for value in values.values()):
            given = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
            raise FloatingPointError(
                f"the loss is not finite at step {self._done} (scale {where['scale']:g}: {given}): lower learning_rate"
                ", or check that render and photo are finite"
            )
        self.losses.append({**where, "step": self._done, **values})
        if self._progress:
            self._progress(self._done, self._total, self.losses[-1])


def _check_inputs(
    content: Tensor,
    style: Tensor,
    seen: Tensor,
    mask: Tensor,
    settings: RefineSettings,
    features: VGG16Hypercolumns | PatchFeatures | None,
) -> None:
    height, width = content.shape[-2:] if content.ndim == 4 else (0, 0)
    given = {"content": content, "style": style, "seen": seen, "mask": mask}
    for name, image in given.items():
        channels = 3 if name in ("content", "style") else 1
        if list(image.shape) != [1, channels, height, width] or height * width == 0:
            size = f"{height}, {width}" if height * width else "H, W"
            raise ValueError(f"refine_texture: got {name} {list(image.shape)}, need [1, {channels}, {size}]")
    if mask.dtype != torch.bool:
        raise ValueError(f"refine_texture: got mask {mask.dtype}, need bool")
    if not torch.isfinite(content).all():
        raise ValueError("refine_texture: got content with values that are not finite; every texel needs a colour")
    if not ((seen >= 0) & (seen <= 1)).all():
        raise ValueError(f"refine_texture: got seen {seen.min():.3g} .. {seen.max():.3g}, need confidences 0 .. 1")
    read = (seen > SEEN) & mask if settings.style_from_seen else mask
    if not torch.isfinite(style[read.expand_as(style)]).all():
        where = (
            "at seen texels" if settings.style_from_seen else "inside the islands, all read with style_from_seen: false"
        )
        raise ValueError(f"refine_texture: got style with values that are not finite {where}")
    if settings.content_noise and isinstance(features, PatchFeatures):
        raise ValueError("refine_texture: got content_noise with patches; it is noise on layers of vgg16")
