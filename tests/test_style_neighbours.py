"""Replaced columns: the match is exact for columns that are style, and the distance has no gradient there."""

import pytest
import torch

from style_transfer import losses, neighbours
from style_transfer.features import PatchFeatures, VGG16Hypercolumns

LAYERS = (slice(3, 7), slice(7, 16), slice(16, 21))


def columns(count, seed, dtype=torch.float64):
    return torch.rand(count, 23, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.1


def test_style_is_matched_with_itself():
    style = columns(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(neighbours.match(style, style, LAYERS).partners, torch.arange(40))
    assert torch.equal(neighbours.match(style[order], style, LAYERS).partners, order)


def test_the_match_is_the_nearest_by_centred_cosine():
    content, style = columns(30, 2), columns(50, 3)
    x, s = (neighbours.weighted(c, LAYERS) for c in (content, style))
    x, s = ((c - c.mean(0)) / (c - c.mean(0)).norm(dim=1, keepdim=True) for c in (x, s))
    assert torch.equal(neighbours.match(content, style, LAYERS).partners, (x @ s.T).argmax(1))


def test_layers_count_by_their_number_of_channels():
    found = neighbours.weighted(columns(5, 4), LAYERS)
    assert found.shape == (5, 18)
    torch.testing.assert_close(found[:, :4], columns(5, 4)[:, 3:7] / 4)
    torch.testing.assert_close(found[:, 13:], columns(5, 4)[:, 16:21] / 5)


@pytest.mark.parametrize("layered", [False, True])
def test_a_texture_that_is_style_rests(layered):
    """Fixed point: every column is its own target."""
    style = columns(40, 5)
    targets = neighbours.match(style, style, LAYERS)
    chosen = torch.arange(0, 40, 3)
    result = style[chosen].clone().requires_grad_()
    if layered:
        distance = neighbours.layered_distance(result, targets)
    else:
        distance = neighbours.fixed_distance(result, targets, chosen)
    distance.backward()
    # Layers are matched about the means of what is compared, so only whole sets of samples are their own nearest.
    assert layered or abs(distance.item()) < 1e-12
    assert layered or result.grad.abs().max() < 1e-12
    if layered:
        whole = style.clone().requires_grad_()
        neighbours.layered_distance(whole, targets).backward()
        assert whole.grad.abs().max() < 1e-12


@pytest.mark.parametrize("layered", [False, True])
def test_gradient(layered):
    targets = neighbours.match(columns(12, 6), columns(20, 7), LAYERS)
    chosen = torch.tensor([0, 3, 4, 9])

    def distance(result):
        if layered:
            return neighbours.layered_distance(result, targets)
        return neighbours.fixed_distance(result, targets, chosen)

    assert torch.autograd.gradcheck(distance, (columns(4, 8).requires_grad_(),))


def test_steps_approach_the_targets():
    targets = neighbours.match(columns(30, 9), columns(25, 10), LAYERS)
    result, chosen = columns(30, 9).requires_grad_(), torch.arange(30)
    optimiser = torch.optim.Adam([result], lr=0.05)
    first = neighbours.fixed_distance(result, targets, chosen).item()
    for _ in range(80):
        optimiser.zero_grad()
        distance = neighbours.fixed_distance(result, targets, chosen)
        distance.backward()
        optimiser.step()
    assert distance.item() < first / 20
    x = losses.directions(neighbours.weighted(result.detach(), LAYERS))
    assert (1 - (x * targets.style[targets.partners]).sum(1)).max() < first


def test_extractors_say_which_channels_are_matched():
    patches = PatchFeatures((3, 5))
    assert patches.matched_layers == (slice(0, 27), slice(27, 102))
    with torch.device("meta"):
        from style_transfer.features import vgg16_layers

    vgg16 = VGG16Hypercolumns(vgg16_layers().state_dict())
    assert [layer.stop - layer.start for layer in vgg16.matched_layers] == [64, 64, 128, 128, 256, 256, 256, 512]
    assert vgg16.matched_layers[0].start == 3
