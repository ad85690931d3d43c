import cv2
import numpy as np
import pytest

from renderer.dilate import dilate, push_pull


def island(height, width):
    y, x = np.mgrid[:height, :width]
    return ((x - width / 2) / (0.35 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2 < 1


def test_islands_are_unchanged_and_constants_continue():
    mask = island(70, 101)
    texture = np.where(mask[..., None], [0.2, 0.5, 0.8], 0).astype(np.float32)
    filled = dilate(texture, mask)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[mask], texture[mask])
    np.testing.assert_allclose(filled, np.broadcast_to(np.float32([0.2, 0.5, 0.8]), filled.shape), atol=1e-5)


def test_values_stay_in_range_and_start_at_the_nearest_texel():
    rng = np.random.default_rng(0)
    mask = island(90, 64)
    texture = np.where(mask[..., None], rng.uniform(0.3, 0.7, (90, 64, 3)), 0).astype(np.float32)
    filled = dilate(texture, mask)
    assert filled.min() >= 0.3 - 1e-5 and filled.max() <= 0.7 + 1e-5
    rows, columns = np.nonzero(mask[:, 1:] & ~mask[:, :-1])
    steps = ((0, 1), (0, -1), (1, 0), (-1, 0))
    beside = np.stack([texture[rows + down, columns + right] for down, right in steps])
    assert np.abs(filled[rows, columns] - beside).max(axis=2).min(axis=0).max() < 1e-5


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_mip_maps_show_no_seam(level):
    mask = island(128, 192)
    ramp = np.linspace(0.3, 0.9, 192, dtype=np.float32)[None, :, None].repeat(128, axis=0).repeat(3, axis=2)
    filled = dilate(ramp * mask[..., None], mask)
    size = (192 >> level, 128 >> level)
    coarse, expected = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (filled, ramp))
    touched = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    # Half of the ramp's rise over a coarse texel is what the nearest colour can be off.
    assert np.abs(coarse - expected)[touched].max() < 0.6 / 192 * 2**level * 1.5


def test_islands_that_touch_the_border_and_odd_sizes():
    mask = np.zeros((7, 13), dtype=bool)
    mask[:, -1] = True
    filled = dilate(np.where(mask[..., None], 1, 0).astype(np.float32).repeat(3, axis=2), mask)
    np.testing.assert_allclose(filled, 1, atol=1e-6)


def test_everything_or_nothing():
    texture = np.random.default_rng(1).random((5, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(dilate(texture, np.ones((5, 9), dtype=bool)), texture)
    np.testing.assert_array_equal(dilate(texture, np.zeros((5, 9), dtype=bool)), texture)
    with pytest.raises(ValueError, match="one size"):
        dilate(texture, np.ones((9, 5), dtype=bool))


def test_push_pull_keeps_known_values():
    rng = np.random.default_rng(2)
    values, known = rng.random((21, 34, 3)).astype(np.float32), rng.random((21, 34)) < 0.1
    filled = push_pull(values, known.astype(np.float32))
    np.testing.assert_array_equal(filled[known], values[known])
    assert filled.min() >= values[known].min() - 1e-6 and filled.max() <= values[known].max() + 1e-6
    assert (push_pull(values, np.zeros((21, 34), dtype=np.float32)) == 0).all()
