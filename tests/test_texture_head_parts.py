"""The texture of a whole head: its skin, its seam, and what is not the person's skin."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from textured_heads import COLLAR, HAIR, LIPS, SKIN, head_model, photographed, seam_steps

from pipeline.settings.schema import Config
from pipeline.texture.head_parts import BAGS, head_texels, seam_points
from pipeline.texture.initial import complete_texture
from pipeline.texture.provenance import mean_shares
from pipeline.texture.sampled import unwrap_photo

SIZE = 1024
CONFIG = Config(texture_size=SIZE)


@functools.cache
def completed(yaw):
    reconstruction = photographed(yaw)
    sampled = unwrap_photo(reconstruction, CONFIG)
    return sampled, complete_texture(sampled, reconstruction, None, CONFIG)


@pytest.mark.parametrize("yaw", [0, 35])
def test_the_seam_does_not_show_at_any_mip_level(yaw):
    head_model()
    _, initial = completed(yaw)
    steps = seam_steps(initial.texture)
    assert list(steps) == [1024, 512, 256, 128, 64, 32] and max(steps.values()) < 2 / 255, steps


def test_a_seam_would_be_found():
    """Sides that differ in light by 5 %, as a completion of each half by itself leaves them."""
    head_model()
    _, initial = completed(35)
    uneven = initial.texture * np.linspace(0.975, 1.025, SIZE, dtype=np.float32)[:, None]
    assert min(seam_steps(uneven).values()) > 4 / 255


def test_the_halves_differ_away_from_the_seam():
    _, initial = completed(35)
    rows = initial.texture[SIZE // 4 : SIZE // 2]
    assert np.abs(rows - rows[:, ::-1])[:, SIZE // 4 : SIZE // 3].mean() > 5 / 255


@pytest.mark.parametrize("yaw", [0, 35])
def test_hair_and_collar_stay_out(yaw):
    sampled, initial = completed(yaw)
    skin, points = sampled.head.coarse
    texture = cv2.resize(initial.texture, skin.shape[::-1], interpolation=cv2.INTER_AREA)
    scalp, neck = skin & (points[..., 1] > 80), skin & (points[..., 1] < -155)
    assert scalp.sum() > 1000 and neck.sum() > 500
    for where, foreign in ((scalp, HAIR), (neck, COLLAR)):
        colours = np.log(texture[where] + 0.05)
        own, other = (np.abs(colours - np.log(np.add(colour, 0.05))).sum(1) for colour in (SKIN, foreign))
        assert (own < other).mean() > 0.99


def test_the_skin_takes_no_colours_of_other_islands():
    reconstruction = photographed(0)
    sampled, initial = completed(0)
    others = sampled.mask & ~sampled.head.of("skin")
    spoilt = replace(sampled, texture=np.where(others[..., None], np.float32([0, 1, 0]), sampled.texture))
    found = complete_texture(spoilt, reconstruction, None, CONFIG).texture
    skin = sampled.head.of("skin")
    np.testing.assert_array_equal(found[skin], initial.texture[skin])


def test_sockets_and_mouth_begin_with_the_colour_at_their_rim_and_darken():
    sampled, initial = completed(0)
    head = sampled.head
    for name, rim_colour in (("eye_socket_left", SKIN), ("mouth", LIPS)):
        where = head.of(name) & (sampled.visibility == 0)
        points, colours = head.positions(where), initial.texture[where]
        skin_points = head.at_rest[np.unique(head.mesh.faces[head._face_parts == 0])]
        depth = np.sqrt(((points[:, None] - _near(skin_points, points)) ** 2).sum(-1)).min(1)
        shallow, deep = depth < 0.3 * BAGS[name][0], depth > BAGS[name][0]
        assert shallow.sum() > 5 and deep.sum() > 20
        assert np.abs(np.median(colours[shallow], axis=0) - rim_colour).max() < 0.22, name
        assert np.median(colours[deep]) < 0.6 * np.median(colours[shallow]), name


def _near(points, others):
    low, high = others.min(0) - 3, others.max(0) + 3
    return points[((points > low) & (points < high)).all(1)]


def test_lengths_are_millimetres_of_the_face():
    reconstruction = photographed(0)
    density = [head_texels(reconstruction, size, size).texels_per_mm for size in (512, 2048)]
    assert density[1] == pytest.approx(4 * density[0])
    assert 4.2 < density[1] < 5.5  # 5.5 texels for a mm of the model, whose eyes are 55 mm apart
    enlarged = replace(reconstruction, rig=_scaled(reconstruction.rig, 100))
    assert head_texels(enlarged, 512, 512).texels_per_mm == pytest.approx(density[0], rel=1e-3)


def _scaled(rig, factor):
    lengths = ("neutral", "target_offsets", "eye_centres", "eye_radii")
    return replace(rig, **{name: getattr(rig, name) * factor for name in lengths})


def test_a_mesh_without_rig_has_no_parts():
    assert head_texels(replace(photographed(0), rig=None), 64, 64) is None


def test_seam_points_lie_on_the_back_of_the_plane_of_symmetry():
    head = head_texels(photographed(0), 64, 64)
    points = seam_points(head.mesh, head.at_rest, head._face_parts == 0)
    assert len(points) > 80 and np.abs(points[:, 0]).max() < 1e-3 and points[:, 2].max() < 0


def test_shares_add_up():
    sampled, initial = completed(35)
    shares = mean_shares(initial.provenance, sampled.mask)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4) and min(shares.values()) > 0
