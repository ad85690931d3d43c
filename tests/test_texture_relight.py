"""The difference in light between the halves of a face, against heads whose light is known."""

import functools

import cv2
import numpy as np
import pytest
import synthetic_faces
from synthetic_faces import albedo, lit, texel_grid

from pipeline.texture.relight import OPPONENT, light_difference
from renderer.light import ODD_IN_X, fit_light, spherical_harmonics

SIZE = 200
SPREAD = 0.2


seen_head = functools.cache(synthetic_faces.seen_head)


def scene(odd, yaw=40):
    """Log colours, what is seen, the islands, normals, and the true difference of log light."""
    _, confidence, mask, normals = seen_head(yaw, SIZE, subdivisions=1)
    seen = confidence > 0.99
    colours = albedo(SIZE)
    texture = np.log(lit(colours, normals, odd) + 1e-3)
    truth = np.log(lit(np.full_like(colours, 0.3), normals, odd)) - np.log(lit(np.full_like(colours, 0.3), normals, -odd))
    return texture, seen, mask, normals, truth


def error(found, truth, where):
    return np.sqrt(np.mean((found - truth)[where] ** 2))


@pytest.mark.parametrize("yaw", [-40, -20, 30, 50])
@pytest.mark.parametrize("odd", [-0.3, 0.15])
def test_most_of_the_difference_is_found_where_nothing_is_seen(yaw, odd):
    texture, seen, mask, normals, truth = scene(odd, yaw)
    hidden = mask & ~seen & seen[:, ::-1]
    found = light_difference(texture, seen, mask, normals, SPREAD)
    assert found.shape == (SIZE, SIZE, 3) and found.dtype == np.float32
    assert error(found, truth, hidden) < 0.5 * error(0, truth, hidden)


def test_a_symmetric_face_in_even_light_gives_no_difference():
    texture, seen, mask, normals, _ = scene(0.0, yaw=0)
    assert (seen == seen[:, ::-1])[mask].mean() > 0.95
    assert error(light_difference(texture, seen, mask, normals, SPREAD), 0, mask) < 0.02


def test_the_mirrored_photo_gives_the_mirrored_difference():
    texture, seen, mask, normals, _ = scene(0.3)
    found = light_difference(texture, seen, mask, normals, SPREAD)
    mirrored_normals = normals[:, ::-1] * (-1, 1, 1)
    other = light_difference(texture[:, ::-1], seen[:, ::-1], mask[:, ::-1], mirrored_normals, SPREAD)
    np.testing.assert_allclose(other, found[:, ::-1], atol=2e-3)
    np.testing.assert_allclose(found, -found[:, ::-1], atol=1e-6)
    assert (found[~(mask & mask[:, ::-1])] == 0).all()


def test_a_mark_counts_less_than_its_texels():
    """A birthmark moves the light less than where each texel is a witness of its own."""
    texture, seen, mask, normals, _ = scene(0.2)
    u, v = texel_grid(SIZE)
    mark = (((u - 0.25) / 0.07) ** 2 + ((v - 0.5) / 0.09) ** 2 < 1)[..., None] * np.array([-0.2, -0.35, -0.3])
    assert seen[mark.any(-1)].all()
    hidden = mask & ~seen & seen[:, ::-1]
    odd = list(ODD_IN_X)

    def witnesses(image):
        here = spherical_harmonics(normals)[..., odd] @ fit_light(spherical_harmonics(normals[seen]), image[seen], 0.01)[odd]
        return here - here[:, ::-1]

    moved, plain = (
        error(method(texture + mark), method(texture), hidden)
        for method in (lambda image: light_difference(image, seen, mask, normals, SPREAD), witnesses)
    )
    assert 0 < moved < 0.75 * plain


def test_hair_and_shadow_on_one_side_hardly_count():
    texture, seen, mask, normals, _ = scene(0.25)
    spoilt = texture.copy()
    u, v = texel_grid(SIZE)
    strands = seen & (np.abs(u - v + 0.5) < 0.04)
    assert 0.01 < strands.sum() / seen.sum() < 0.15
    spoilt[strands] -= 1.2
    hidden = mask & ~seen
    found, other = (light_difference(image, seen, mask, normals, SPREAD) for image in (texture, spoilt))
    assert error(other, found, hidden) < 0.15


def test_light_changes_its_brightness_rather_than_its_colour():
    """The same doubt, in brightness and in colour: more of it is taken for light in brightness."""
    rng = np.random.default_rng(3)
    _, seen, mask, normals, _ = scene(0.0)
    noise = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), 25)
    noise /= noise.std() / 0.1
    shares = []
    for channel in range(3):
        texture = noise[..., None] * np.linalg.inv(OPPONENT)[:, channel]
        found = light_difference(texture, seen, mask, normals, 0.03) @ OPPONENT.T
        shares.append(np.abs(found[..., channel]).mean())
    assert shares[0] > shares[1] > shares[2]


def test_spread_zero_in_the_limit_and_nothing_seen():
    texture, seen, mask, normals, _ = scene(0.3)
    small, large = (np.abs(light_difference(texture, seen, mask, normals, spread)).mean() for spread in (0.001, 0.2))
    assert small < 0.02 * large
    assert (light_difference(texture, np.zeros_like(seen), mask, normals, SPREAD) == 0).all()


def test_another_shape():
    texture, seen, mask, normals, truth = scene(0.3)
    rows = slice(60, 150)
    found = light_difference(texture[rows], seen[rows], mask[rows], normals[rows], SPREAD)
    hidden = (mask & ~seen & seen[:, ::-1])[rows]
    assert found.shape == (90, SIZE, 3)
    assert error(found, truth[rows], hidden) < 0.6 * error(0, truth[rows], hidden)
