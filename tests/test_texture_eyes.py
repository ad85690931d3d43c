"""Eyeballs of a whole head, completed around what the lids show."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from textured_heads import IRIS, IRIS_RADIUS, PUPIL, SCLERA, photographed

from pipeline.settings.schema import Config
from pipeline.texture.eyes import PLAIN_IRIS, fill_eyes, find_eyes
from pipeline.texture.sampled import unwrap_photo

CONFIG = Config(texture_size=1024)
PIXELS_PER_MM = 2.0


@functools.cache
def sampled_head():
    return unwrap_photo(photographed(0), CONFIG)


def filled(sampled):
    texture = np.where(sampled.head.of("skin")[..., None], np.float32([0.66, 0.48, 0.40]), sampled.texture)
    return fill_eyes(sampled.head, sampled.eyes, texture, sampled.visibility)


def colours(texture, eye, low, high):
    """Colours [N, 3] at angles low..high, degrees, from the eye's axis."""
    angle = np.linalg.norm(eye.directions, axis=1)
    return texture[eye.where][(angle > low) & (angle < high)]


def test_the_iris_is_found():
    for eye in sampled_head().eyes.values():
        assert eye.iris_is_seen and eye.sclera_is_seen
        assert np.abs(eye.centre).max() <= 1 and abs(eye.radius - IRIS_RADIUS) < 1.5


def test_the_whole_iris_has_the_seen_colours():
    sampled = sampled_head()
    texture, notes = filled(sampled)
    assert notes == []
    for eye in sampled.eyes.values():
        iris, sclera = colours(texture, eye, 9, 15), colours(texture, eye, 23, 28)
        assert np.abs(iris - IRIS).max() < 0.12 and np.abs(sclera - SCLERA).max() < 0.15
        assert np.abs(colours(texture, eye, 0, 4) - PUPIL).max() < 0.08
        assert (sampled.visibility[eye.where] == 0).mean() > 0.5  # most of it was not seen


def test_seen_texels_keep_the_photos_colours():
    sampled = sampled_head()
    texture, _ = filled(sampled)
    eyes = sampled.head.of("eye_left", "eye_right") & (sampled.visibility >= 1)
    assert eyes.sum() > 200
    np.testing.assert_allclose(texture[eyes], sampled.texture[eyes], atol=1e-6)


def test_highlights_and_lashes_do_not_count():
    sampled = sampled_head()
    eye, spoilt, seen = sampled.eyes["left"], sampled.texture.copy(), sampled.visibility
    angle = np.linalg.norm(eye.directions - (5.0, 3.0), axis=1)
    spot = np.zeros(seen.shape, bool)
    spot[eye.where] = angle < 3
    lash = np.zeros(seen.shape, bool)
    sclera = (seen[eye.where] > 0.9) & (np.linalg.norm(eye.directions, axis=1) > 23)
    middle = np.median(eye.directions[sclera & (eye.directions[:, 0] > 0)], axis=0)
    lash[eye.where] = np.linalg.norm((eye.directions - middle) / (1, 5), axis=1) < 1
    spoilt[spot & (seen > 0)], spoilt[lash & (seen > 0)] = (1, 1, 1), (0.08, 0.05, 0.04)
    assert (spot & (seen > 0.9)).any() and (lash & (seen > 0.9)).any()
    eyes, cleaned = find_eyes(sampled.head, spoilt, seen, PIXELS_PER_MM)
    assert (cleaned[spot | lash] == 0).all()
    texture, _ = filled(replace(sampled, texture=spoilt, visibility=cleaned, eyes=eyes))
    assert texture[spot].max() < 0.75 and np.abs(texture[lash].mean(0) - SCLERA).max() < 0.15


def test_eyes_that_are_not_seen_get_a_plain_dark_iris_and_a_note():
    sampled = sampled_head()
    unseen = np.where(sampled.head.of("eye_left", "eye_right"), 0, sampled.visibility)
    eyes, seen = find_eyes(sampled.head, sampled.texture, unseen, PIXELS_PER_MM)
    texture, notes = filled(replace(sampled, visibility=seen, eyes=eyes))
    assert len(notes) == 2 and "plain dark brown" in notes[0]
    iris = colours(texture, eyes["left"], 8, 12)
    assert np.abs(iris / iris.sum(1, keepdims=True) - PLAIN_IRIS / PLAIN_IRIS.sum()).max() < 0.05


def test_small_eyes_count_as_unseen():
    sampled = sampled_head()
    eyes, _ = find_eyes(sampled.head, sampled.texture, sampled.visibility, 0.4)
    assert not any(eye.iris_is_seen for eye in eyes.values())


@pytest.mark.parametrize("hidden", ["left", "right"])
def test_an_eye_that_is_not_seen_takes_the_others_colours(hidden):
    sampled = sampled_head()
    unseen = np.where(sampled.head.eye(hidden), 0, sampled.visibility)
    eyes, seen = find_eyes(sampled.head, sampled.texture, unseen, PIXELS_PER_MM)
    texture, notes = filled(replace(sampled, visibility=seen, eyes=eyes))
    assert notes == [f"the iris of the {hidden} eye is not seen: the other eye's is used"]
    assert np.abs(np.median(colours(texture, eyes[hidden], 9, 15), axis=0) - IRIS).max() < 0.05
    assert np.abs(np.median(colours(texture, eyes[hidden], 23, 28), axis=0) - SCLERA).max() < 0.08
