"""The scalp of a whole head: hair where the photo's labels show it, skin elsewhere."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from textured_heads import COLLAR, HAIR, SKIN, head_model, labels_of, photographed

from external.anny import load_head_layout
from pipeline.settings.schema import CompletionSettings, Config
from pipeline.texture import labels
from pipeline.texture.ears import EAR_OUT, out_of_head, shade_ears
from pipeline.texture.head_parts import head_texels
from pipeline.texture.initial import complete_texture
from pipeline.texture.provenance import mean_shares
from pipeline.texture.sampled import unwrap_photo
from pipeline.texture.scalp import COLUMNS, FRONT, HIDDEN, ROWS, STEP, angles, hairline, usual_hairline

SIZE = 1024


def complete(yaw=0, hair_from=62.0, scalp="hair", change=None, size=SIZE):
    """The sampled and the initial texture; change(labels): other labels than the true ones."""
    config = Config(texture_size=size, completion=CompletionSettings(scalp=scalp))
    reconstruction, shown = photographed(yaw, hair_from=hair_from), labels_of(yaw, hair_from=hair_from)
    sampled = unwrap_photo(replace(reconstruction, painted=shown if change is None else change(shown.copy())), config)
    return sampled, complete_texture(sampled, reconstruction, None, config)


completed = functools.cache(complete)


def at_rest(sampled, initial):
    """Coarse skin texels [N]: points at rest in mm and colours."""
    skin, points = sampled.head.coarse
    colours = cv2.resize(initial.texture, skin.shape[::-1], interpolation=cv2.INTER_AREA)
    return points[skin], colours[skin]


def like(colours, colour, *others):
    """Share of colours [N, 3] that are nearer to a colour than to others, by hue and brightness."""
    away = [np.abs(np.log(colours + 0.05) - np.log(np.add(each, 0.05))).sum(1) for each in (colour, *others)]
    return float((np.argmin(away, axis=0) == 0).mean())


@pytest.mark.parametrize("yaw", [0, 35])
def test_the_scalp_has_the_hair_of_the_person(yaw):
    points, colours = at_rest(*completed(yaw))
    _, y, z = points.T
    top, back, nape, throat = y > 85, (z < -150) & (y > 10), (z < -110) & (y < -105), (z > -80) & (y < -130)
    for where, colour, other in ((top, HAIR, SKIN), (back, HAIR, SKIN), (nape, SKIN, HAIR), (throat, SKIN, HAIR)):
        assert where.sum() > 100 and like(colours[where], colour, other, COLLAR) > 0.99
    median = np.median(np.log(colours[back] + 0.02), axis=0)
    assert np.abs(median - np.log(np.add(HAIR, 0.02))).max() < 0.15


def test_hair_has_strands_and_skin_has_none():
    sampled, initial = completed(0)
    where = sampled.head.of("skin") & (sampled.visibility == 0)
    points = sampled.head.positions(where)
    logs = np.log(initial.texture + 0.02).mean(-1)
    detail = (logs - cv2.GaussianBlur(logs, (0, 0), 4))[where]
    _, y, z = points.T
    top, throat = detail[(y > 60) & (z < -90)], detail[(y < -150) & (z > -90)]
    assert 0.02 < top.std() < 0.2 and throat.std() < 0.01


def test_the_same_photo_gives_the_same_bytes():
    np.testing.assert_array_equal(complete(35)[1].texture, completed(35)[1].texture)


def test_the_setting_skin_leaves_the_scalp_bare():
    sampled, initial = complete(scalp="skin")
    points, colours = at_rest(sampled, initial)
    assert sampled.scalp is None and like(colours[points[:, 1] > 75], SKIN, HAIR) > 0.99


@pytest.mark.parametrize(("yaw", "size"), [(0, 1024), (35, 1024), (0, 2048)])
def test_the_seam_does_not_show_in_the_hair(yaw, size):
    layout = load_head_layout()
    _, initial = completed(yaw) if size == SIZE else complete(yaw, size=size)
    skin = np.array(layout.island_names)[layout.islands] == "skin"
    ends = layout.uvs[layout.seams[np.isin(layout.seams[:, 0, 0], layout.uv_triangles[skin])]].astype(np.float64)
    sides = ends[np.abs(ends[:, 0, :, 0] + ends[:, 1, :, 0] - 1).max(1) < 1e-4].mean(axis=2)
    level = initial.texture
    while len(level) >= 32:
        places = (sides * (1, -1) + (0, 1)) * len(level) - 0.5
        columns, rows = np.moveaxis(places.astype(np.float32), -1, 0)
        found = cv2.remap(level, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(found[:, 0] - found[:, 1]).max() < 2 / 255, len(level)
        level = cv2.resize(level, (len(level) // 2,) * 2, interpolation=cv2.INTER_AREA)


def test_a_fringe_is_no_hair_of_the_forehead():
    points, colours = at_rest(*complete(hair_from=38.0))
    x, y, z = points.T
    forehead, top = (np.abs(x) < 30) & (y > 30) & (y < 55) & (z > -40), y > 85
    assert like(colours[forehead], SKIN, HAIR) > 0.99 and like(colours[top], HAIR, SKIN) > 0.99


def test_the_hairline_recedes_with_that_of_the_photo():
    points, colours = at_rest(*complete(hair_from=90.0))
    x, y, z = points.T
    middle = (np.abs(x) < 20) & (z > -60)
    assert like(colours[middle & (y > 72) & (y < 84)], SKIN, HAIR) > 0.99
    assert like(colours[(y > 40) & (z < -150)], HAIR, SKIN) > 0.99


def test_bald_heads_have_no_hair_and_a_hat_hides_its_colour():
    without = lambda shown: np.where(shown == labels.HAIR, labels.SKIN, shown)
    hat = lambda shown: np.where(shown == labels.HAIR, labels.OTHER, shown)
    bald, _ = complete(change=without)
    assert bald.scalp is None and bald.notes == ()
    covered, initial = complete(change=hat)
    assert covered.scalp is None and covered.notes == (HIDDEN,) == initial.notes[:1]
    points, colours = at_rest(covered, initial)
    assert like(colours[points[:, 1] > 75], SKIN, HAIR) > 0.99


def test_dark_skin_beside_other_things_is_not_used():
    reconstruction, shown = photographed(0), labels_of(0)
    beside = cv2.distanceTransform((shown != labels.OTHER).astype(np.uint8), cv2.DIST_L2, 5) < 12
    shadow = beside & (shown == labels.SKIN)
    photo = np.where(shadow[..., None], reconstruction.photo // 4, reconstruction.photo)
    seen = [
        unwrap_photo(replace(reconstruction, photo=each, painted=shown), Config(texture_size=SIZE))
        for each in (reconstruction.photo, photo)
    ]  # fmt: skip
    dark = (seen[0].visibility > 0.9) & (seen[1].texture.mean(-1) < 0.6 * seen[0].texture.mean(-1))
    assert dark.sum() > 300 and seen[1].visibility[dark].mean() < 0.1


def test_labels_count_for_meshes_without_parts_too():
    reconstruction, shown = replace(photographed(0), rig=None), labels_of(0)
    sampled = unwrap_photo(replace(reconstruction, painted=shown), Config(texture_size=512))
    foreign = np.repeat(np.float32(shown != labels.SKIN)[..., None], 3, axis=2)
    found = unwrap_photo(replace(reconstruction, photo=(foreign * 255).astype(np.uint8)), Config(texture_size=512))
    assert (sampled.visibility > 0.9).sum() > 5000
    assert found.texture[sampled.visibility > 0.9].max() < 0.01


def test_shares_add_up_and_hair_is_synthesised_or_mirrored():
    sampled, initial = completed(35)
    shares = mean_shares(initial.provenance, sampled.mask)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4) and min(shares.values()) > 0
    hair = sampled.scalp.hair > 0.99
    assert initial.provenance["synthesised"][hair].mean() > 0.4


def test_the_usual_hairline_is_symmetric_and_runs_above_the_eyes_and_ears():
    head = head_texels(photographed(0), 64, 64)
    out = out_of_head(head)
    line = usual_hairline(head, out)
    np.testing.assert_allclose(line, line[::-1])
    ears = head.at_rest[out > EAR_OUT]
    assert 200 < len(ears) < 800 and np.abs(ears[:, 0]).min() > 55 and np.ptp(ears[:, 1]) < 80
    column, row = angles(np.array([(0.0, 45.0, 8.0), (0.0, 95.0, -30.0), (0.0, -10.0, -175.0), (0.0, -130.0, -130.0)]))
    above = line[np.clip(np.round(column).astype(int), 0, COLUMNS - 1)] - row
    assert (above * (-1, 1, 1, -1) > 0).all()


def test_columns_go_around_and_mirror():
    points = np.array([(30.0, 60.0, -20.0), (-30.0, 60.0, -20.0), (0.0, 60.0, 0.0)])
    column, row = angles(points)
    assert column[0] + column[1] == pytest.approx(COLUMNS - 1, abs=1e-3) and row[0] == pytest.approx(row[1])
    assert column[2] == pytest.approx(FRONT - 0.5, abs=1e-3)


def test_the_hairline_follows_evidence_on_both_sides_and_is_usual_without():
    usual = np.full(COLUMNS, 140.0, np.float32)
    nothing = np.zeros((ROWS, COLUMNS), np.float32)
    line, natural = hairline(usual, nothing, nothing)
    np.testing.assert_allclose(line, usual)
    assert natural.max() == 0
    skin, hair, left = nothing.copy(), nothing.copy(), np.s_[FRONT : FRONT + 90]
    higher = 120
    skin[higher:200, left], hair[40:higher, left] = 1, 1
    line, natural = hairline(usual, skin, hair)
    middle = np.s_[FRONT + 20 : FRONT + 70]
    assert np.abs(line[middle] - higher).max() * STEP < 2 and natural[middle].min() > 0.9
    assert np.abs(line[::-1][middle] - higher).max() * STEP < 4  # mirrored
    assert np.abs(line[:60] - 140).max() * STEP < 2  # the back keeps the usual one
    hair[:, left], skin[:, left] = 0, 0
    hair[40:180, left], skin[180:200, left] = 1, 1  # a fringe
    assert np.abs(hairline(usual, skin, hair)[0] - 140).max() * STEP < 3


def test_filled_ears_are_dark_in_their_hollows_and_others_keep_their_colours():
    head_model()
    head = head_texels(photographed(0), 512, 512)
    texture = np.full((512, 512, 3), 0.5, np.float32)
    filled = np.ones((512, 512), np.float32)
    shaded = shade_ears(head, texture, filled)
    changed = np.abs(shaded - texture).max(-1) > 1e-6
    points = head.positions(changed & (head.part >= 0))
    assert np.abs(points[:, 0]).min() > 50 and points[:, 2].max() < -45
    assert shaded[changed].min() < 0.35 and (shaded[changed][:, 0] > shaded[changed][:, 1]).all()
    np.testing.assert_array_equal(shade_ears(head, texture, 0 * filled), texture)
