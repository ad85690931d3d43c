"""Convolutions with fixed weights: equal to torch's, forward to the last bit, whatever the number of threads."""

import pytest
import torch
import torch.nn.functional as F

from style_transfer import convolution
from style_transfer.convolution import FixedConvolution


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(weight, bias, feature):
    """Result and gradient of this convolution, and of torch's in float64."""
    found = []
    for dtype in (torch.float32, torch.float64):
        given = feature.to(dtype).requires_grad_()
        if dtype is torch.float32:
            result = FixedConvolution(weight, bias)(given)
        else:
            result = F.conv2d(given, weight.to(dtype), bias.to(dtype), padding=1).relu()
        gradient = torch.autograd.grad(result, given, draw(*result.shape, seed=9).to(dtype))[0]
        found.append((result.detach(), gradient))
    return found


@pytest.mark.parametrize("size", [(32, 32), (33, 30), (1, 5)])
def test_gradient_by_winograd_equals_torch(size, monkeypatch):
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(convolution, "FEWEST_VALUES", 1)
    used, plain = [], convolution.winograd
    monkeypatch.setattr(convolution, "winograd", lambda *given: used.append(1) or plain(*given))
    weight, bias, feature = draw(24, 16, 3, 3) / 12, draw(24, seed=1), draw(1, 16, *size, seed=2)
    (result, gradient), (wanted, wanted_gradient) = both(weight, bias, feature)
    assert used
    assert (result - wanted).norm() < 1e-6 * wanted.norm()
    assert (gradient - wanted_gradient).norm() < 1e-5 * wanted_gradient.norm()


def test_small_maps_take_torch_both_ways_and_equal_it(monkeypatch):
    monkeypatch.setattr(convolution, "winograd", None)  # fails when called
    (result, gradient), (wanted, wanted_gradient) = both(
        draw(24, 16, 3, 3) / 12, draw(24, seed=1), draw(1, 16, 20, 20, seed=2)
    )
    assert (result - wanted).norm() < 1e-6 * wanted.norm()
    assert (gradient - wanted_gradient).norm() < 1e-6 * wanted_gradient.norm()


def test_forward_pass_is_torchs_to_the_last_bit():
    weight, bias, feature = draw(256, 256, 3, 3) / 48, draw(256, seed=1), draw(1, 256, 48, 48, seed=2)
    weight, feature = (given.contiguous(memory_format=torch.channels_last) for given in (weight, feature))
    assert torch.equal(FixedConvolution(weight, bias)(feature), F.conv2d(feature, weight, bias, padding=1).relu())


@pytest.mark.parametrize("channels, size", [((3, 64), 16), ((256, 256), 48)])
def test_same_bytes_for_any_number_of_threads(channels, size, monkeypatch):
    """torch's own backward pass of few channels and small maps differs from 3 threads on."""
    weight, feature = draw(channels[1], channels[0], 3, 3), draw(1, channels[0], size, size, seed=2)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            given = feature.clone().requires_grad_()
            result = FixedConvolution(weight, torch.zeros(channels[1]))(given)
            found.append(torch.autograd.grad(result, given, torch.ones_like(result))[0])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], gradient) for gradient in found[1:])


def test_winograd_kernel_of_a_single_one_moves_the_map():
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 2] = 1  # takes the right neighbour
    feature = draw(1, 1, 9, 11)
    moved = convolution.winograd(feature, convolution.winograd_kernel(weight))
    torch.testing.assert_close(moved, F.pad(feature, (0, 1))[:, :, :, 1:], rtol=0, atol=1e-5)
