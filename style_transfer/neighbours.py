"""Style by replaced columns (Kolkin et al. 2022, "Neural Neighbor Style Transfer"): the second choice of style term.

Once per scale every content column is replaced by its nearest style column. The steps then lower the plain cosine
distance of the result's columns to these fixed targets: no matrix of distances in the loop. In the last steps each
layer is matched by itself, anew in each step, which sharpens. Layers count alike whatever their width, and colour is
left to the other terms.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from style_transfer import losses

CONTENT_SHARE = 0.75  # of what is matched; the rest is the present result, but for the coarsest scale


@dataclass(frozen=True)
class Targets:
    """Fixed targets of the grid's positions, and the style that they come from."""

    layers: tuple[slice, ...]  # channels of a column that are compared, a slice per layer
    style: Tensor  # [S, C'], directions of weighted columns
    partners: Tensor  # [G], row of the style for every position of the grid
    style_layers: tuple[Tensor, ...]  # [S, C_l] each, directions
    searched_layers: tuple[Tensor, ...]  # [S, C_l] each, directions about the layer's mean


def match(content: Tensor, style: Tensor, layers: tuple[slice, ...]) -> Targets:
    """Targets for content columns [G, C] out of style columns [S, C]: nearest by the cosine of centred columns."""
    parts = [style[:, layer] for layer in layers]
    content, style = weighted(content, layers), weighted(style, layers)
    return Targets(
        layers,
        losses.directions(style),
        losses.nearest(about_mean(content), about_mean(style)),
        tuple(losses.directions(part) for part in parts),
        tuple(about_mean(part) for part in parts),
    )


def about_mean(columns: Tensor) -> Tensor:
    """Directions of columns [N, C] less their mean."""
    return losses.directions(columns - columns.mean(dim=0))


def weighted(columns: Tensor, layers: tuple[slice, ...]) -> Tensor:
    """The layers of columns [N, C] side by side, each divided by its number of channels."""
    return torch.cat([columns[:, layer] / (layer.stop - layer.start) for layer in layers], dim=1)


def fixed_distance(result: Tensor, targets: Targets, chosen: Tensor) -> Tensor:
    """mean_i D(x_i, target_i), 0 .. 2. result: columns [N, C] at the positions `chosen` [N] of the grid."""
    directions = losses.directions(weighted(result, targets.layers))
    return losses.partner_distance(directions, targets.style, targets.partners[chosen])


def layered_distance(result: Tensor, targets: Targets) -> Tensor:
    """Mean over layers of mean_i min_j D(x_i, s_j), matched about the layers' means. result: columns [N, C]."""
    found = []
    for layer, style, searched in zip(targets.layers, targets.style_layers, targets.searched_layers, strict=True):
        columns = result[:, layer]
        partners = losses.nearest(about_mean(columns.detach()), searched)
        found.append(losses.partner_distance(losses.directions(columns), style, partners))
    return torch.stack(found).mean()
