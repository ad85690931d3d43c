"""Laplacian pyramid: what is taken apart comes back, at any size."""

import pytest
import torch

from style_transfer import pyramid


@pytest.mark.parametrize("size", [(32, 64), (33, 50), (7, 19), (1, 5), (61, 1)])
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_collapse_undoes_build(size, depth):
    image = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    levels = pyramid.build(image, depth)
    assert len(levels) == depth + 1
    torch.testing.assert_close(pyramid.collapse(levels), image, rtol=0, atol=1e-14)


def test_level_sizes_halve():
    levels = pyramid.build(torch.rand(1, 3, 45, 22), 5)
    assert [tuple(level.shape[2:]) for level in levels] == [(45, 22), (22, 11), (11, 5), (5, 2), (2, 1), (1, 1)]


def test_a_flat_image_has_no_detail():
    levels = pyramid.build(torch.full((1, 3, 21, 34), 0.7), 4)
    assert all(level.abs().max() < 1e-6 for level in levels[:-1])
    torch.testing.assert_close(levels[-1], torch.full((1, 3, 1, 2), 0.7))


def test_halving_is_the_mean_of_four():
    image = torch.rand(1, 1, 6, 4, dtype=torch.float64)
    expected = (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) / 4
    torch.testing.assert_close(pyramid.build(image, 1)[1], expected)
    torch.testing.assert_close(pyramid.collapse(pyramid.build(image, 2)[1:]), expected)


def test_collapse_is_linear_in_the_levels():
    generator = torch.Generator().manual_seed(1)
    first, second = (pyramid.build(torch.rand(1, 3, 13, 22, generator=generator, dtype=torch.float64), 3) for _ in "ab")
    together = pyramid.collapse([2 * a + b for a, b in zip(first, second, strict=True)])
    torch.testing.assert_close(together, 2 * pyramid.collapse(first) + pyramid.collapse(second))


def test_errors():
    with pytest.raises(ValueError, match=r"\[3, 8, 8\]"):
        pyramid.build(torch.rand(3, 8, 8), 2)
    with pytest.raises(ValueError, match="depth -1"):
        pyramid.build(torch.rand(1, 3, 8, 8), -1)
    with pytest.raises(ValueError, match="no level"):
        pyramid.collapse([])
