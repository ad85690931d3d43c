"""What is in front of the skin, on a rendered head of which it is known."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from textured_heads import photographed

from pipeline.reconstruction.painted import BACKGROUND, GLASSES, HAIR, OTHER, SKIN
from pipeline.reconstruction.witnesses import Witnesses
from pipeline.settings.schema import Config
from pipeline.texture.evidence import at_rest, look
from pipeline.texture.labels import Labels, Perceptron, label_photo, labels_of, painted_over, trunk
from pipeline.texture.sampled import unwrap_photo
from renderer.interpolate import interpolate
from renderer.rasterize import rasterize

CONFIG = Config(texture_size=512)


@functools.cache
def shown(yaw=0):
    """A head with the witnesses of its photo, and where its pixels lie on the head [H, W, 3], mm; nan beside it."""
    reconstruction = photographed(yaw)
    fragments = rasterize(reconstruction.mesh, reconstruction.camera)
    inside = fragments.face_ids >= 0
    places = interpolate(at_rest(reconstruction), reconstruction.mesh.faces, fragments)
    places[~inside] = np.nan
    person = np.where(inside, 255, 0).astype(np.uint8)
    return replace(reconstruction, witnesses=Witnesses(person, np.zeros((0, 21, 2), np.float32))), places


def found(reconstruction, **settings):
    return labels_of(reconstruction, CONFIG.changed(detect=CONFIG.detect.changed(**settings)))


@functools.cache
def of_head(yaw):
    return found(shown(yaw)[0])


def face_of(places):
    """Pixels [H, W] bool of the face's front, without eyes and mouth."""
    x, y, z = np.moveaxis(places, -1, 0)
    features = (np.abs(y) < 30) & (np.abs(x) < 60) | (np.abs(x) < 34) & (y < -45) & (y > -95)
    return ((x / 50) ** 2 + ((y + 30) / 70) ** 2 < 1) & (z > 0) & ~features


@pytest.mark.parametrize("yaw", [0, 35])
def test_skin_is_skin_and_hair_and_collar_are_not(yaw):
    (_, places), labels = shown(yaw), of_head(yaw)
    _, y, z = np.moveaxis(places, -1, 0)
    assert (labels.labels[face_of(places)] == SKIN).mean() > 0.98
    assert (labels.skin[face_of(places)] > 0.5).mean() > 0.98
    assert (labels.labels[(y > 75) & (z > -60)] == SKIN).mean() < 0.05
    assert labels.labels.shape == labels.skin.shape == places.shape[:2]
    assert labels.labels.dtype == np.uint8
    assert 0 <= labels.skin.min() and labels.skin.max() <= 1


def test_a_dark_ball_before_the_mouth_is_not_skin():
    reconstruction, places = shown(0)
    x, y, _ = np.moveaxis(places, -1, 0)
    ball = np.hypot(x - 8, y + 80) < 25
    photo = reconstruction.photo.copy()
    photo[ball] = (40, 60, 160)
    labels = found(replace(reconstruction, photo=photo))
    assert (labels.labels[ball] != SKIN).mean() > 0.9
    around = face_of(places) & (np.hypot(x - 8, y + 80) > 32)
    assert (labels.labels[around] == SKIN).mean() > 0.97


def test_without_the_trunk_hair_is_still_found():
    reconstruction, places = shown(0)
    labels = label_photo(reconstruction.photo / np.float32(255), reconstruction, reconstruction.witnesses, None)
    assert (labels.labels[face_of(places)] == SKIN).mean() > 0.95
    assert (labels.labels[places[..., 1] > 80] == SKIN).mean() < 0.3


def test_what_the_mask_says_does_not_count_beside_witnesses():
    reconstruction, _ = shown(0)
    masked = replace(reconstruction, mask=np.zeros(reconstruction.photo.shape[:2], np.uint8))
    assert unwrap_photo(masked, CONFIG).visibility.max() > 0.99


def test_nothing_is_labelled_without_witnesses_or_where_hair_may_stay():
    reconstruction, _ = shown(0)
    assert labels_of(replace(reconstruction, witnesses=None), CONFIG) is None
    assert labels_of(reconstruction, CONFIG.changed(unwrap=CONFIG.unwrap.changed(exclude_hair=False))) is None


def test_paint_decides_where_it_differs():
    reconstruction, places = shown(0)
    painted = of_head(0).labels.copy()
    x, y, _ = np.moveaxis(places, -1, 0)
    cheek, scalp = np.hypot(x - 35, y + 40) < 10, (np.abs(x) < 15) & (y > 75) & (y < 95)
    painted[cheek], painted[scalp] = OTHER, SKIN
    labels = found(replace(reconstruction, painted=painted))
    np.testing.assert_array_equal(labels.labels, painted)
    within = lambda area: cv2.erode(area.astype(np.uint8), np.ones((9, 9))) > 0
    assert labels.skin[within(cheek)].max() < 0.05
    assert labels.skin[within(scalp)].min() > 0.95
    far = ~(cv2.dilate((cheek | scalp).astype(np.uint8), np.ones((31, 31))) > 0)
    np.testing.assert_allclose(labels.skin[far], of_head(0).skin[far], atol=1e-6)


def test_paint_alone_is_enough():
    reconstruction, _ = shown(0)
    painted = np.full(reconstruction.photo.shape[:2], SKIN, np.uint8)
    painted[:, :300] = HAIR
    labels = labels_of(replace(reconstruction, witnesses=None, painted=painted), CONFIG)
    assert labels.skin[:, :290].max() < 0.01 and labels.skin[:, 310:].min() > 0.99


def test_soft_edges_stay_where_paint_agrees():
    labels = np.full((40, 60), SKIN, np.uint8)
    labels[:, 30:] = BACKGROUND
    soft = np.tile(np.clip(np.linspace(2, -1, 60), 0, 1).astype(np.float32), (40, 1))
    np.testing.assert_array_equal(painted_over(Labels(labels, soft), labels, 2.0).skin, soft)


def test_kept_glasses_are_part_of_the_face():
    reconstruction, places = shown(0)
    x, y, _ = np.moveaxis(places, -1, 0)
    photo = reconstruction.photo.copy()
    frame = np.abs(np.hypot((np.abs(x) - 33) / 1.2, y) - 20) < 2
    frame |= (np.abs(x) < 12) & (np.abs(y - 4) < 2)
    photo[frame] = (20, 20, 25)
    given = replace(reconstruction, photo=photo)
    removed, kept = found(given, glasses="remove"), found(given, glasses="keep")
    assert not (kept.labels == GLASSES).any()
    assert (removed.labels[frame] == GLASSES).mean() > 0.5
    assert (kept.labels[frame] == SKIN).mean() > 0.5


def test_mirror_points_are_mirrored():
    reconstruction, _ = shown(0)
    view = look(reconstruction.photo / np.float32(255), reconstruction)
    mirrored = view.of_twin(view.positions)
    sure = (view.twin_seen > 0.99) & (view.facing > 0.5)
    assert sure.mean() > 0.1
    np.testing.assert_allclose(np.median(np.abs(mirrored[sure] - view.positions[sure] * (-1, 1, 1)), axis=0), 0, atol=1.5)


def test_the_network_gives_shares():
    random = np.random.default_rng(0)
    layers = ((random.normal(size=(4, 3)), random.normal(size=4)), (random.normal(size=(5, 4)), random.normal(size=5)))
    shares = Perceptron(np.zeros(3), np.ones(3), layers)(random.normal(size=(6, 7, 3)))
    assert shares.shape == (6, 7, 5)
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
    assert shares.min() >= 0


def test_the_trunk_is_the_one_of_the_set_up():
    if trunk() is None:
        pytest.skip("data/setup has no trunk of HED")
    maps = trunk().first_maps(torch.zeros(1, 3, 32, 48), 3)
    assert [tuple(one.shape) for one in maps] == [(1, 3, 32, 48), (1, 64, 32, 48), (1, 64, 32, 48)]
