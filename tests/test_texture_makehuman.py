"""The texture of a head in MakeHuman's layout."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from head_file import head_model
from synthetic_faces import head
from textured_heads import IRIS, SCLERA, SKIN, painted, photographed

from external.anny import load_head_layout
from pipeline.reconstruction.images import as_bytes
from pipeline.runs.run_folder import MAKEHUMAN_TEXTURE
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import load_config
from pipeline.texture.makehuman import NECK_FADE, is_in_head_layout, makehuman_texture, neck_area, neck_density
from pipeline.texture.results import write_makehuman
from renderer.dilate import dilate
from renderer.interpolate import interpolate
from renderer.mesh import load_mesh, save_mesh
from renderer.rasterize import rasterize_uv

SIZE = 512
RED = (0.6, 0.2, 0.2)
MIDDLE = 0.38053  # u that the neck's island is symmetric about


def mapped(values):
    """Values [V, C] of the model's vertices as a texture [SIZE, SIZE, C] in our layout, extended."""
    model, layout = head_model(), load_head_layout()
    fragments = rasterize_uv(layout.uvs, layout.uv_triangles, SIZE, SIZE)
    return dilate(interpolate(values, model.triangles, fragments), fragments.face_ids >= 0)


@functools.cache
def layout_of_makehuman():
    model = head_model()
    fragments = rasterize_uv(model.uvs, model.uv_triangles, SIZE, SIZE)
    part = np.append(np.array(model.part_names)[model.parts], "")[fragments.face_ids]
    return fragments, part, np.append(neck_area(model), False)[fragments.face_ids]


def test_every_point_of_the_head_keeps_its_colour():
    """The texture tells each place on the head: a flip, a swap of sides or another part's colour would show."""
    model = head_model()
    low, high = model.vertices.min(0), model.vertices.max(0)
    places = (model.vertices - low) / (high - low)
    result = makehuman_texture(mapped(places))
    fragments, part, _ = layout_of_makehuman()
    difference = np.abs(result - interpolate(places, model.triangles, fragments)).max(-1)
    assert result.shape == (SIZE, SIZE, 3) and result.dtype == np.float32
    for name, limit in (("skin", 0.01), ("mouth", 0.02), ("tongue", 0.02), ("upper_teeth", 0.02), ("eye_left", 0.03)):
        assert np.median(difference[part == name]) < limit, name
    assert np.percentile(difference[part == "skin"], 99) < 0.05


def test_eyeballs_have_their_irises():
    """At 2048 an iris of MakeHuman's has a radius of 2 texels."""
    model = head_model()
    texture = painted(2048, 0.0)
    result = makehuman_texture(dilate(texture, texture.any(-1)))
    fragments = rasterize_uv(model.uvs, model.uv_triangles, 2048, 2048)
    part = np.append(np.array(model.part_names)[model.parts], "")[fragments.face_ids]
    places = interpolate(model.vertices, model.triangles, fragments)
    for side, centre in zip(("left", "right"), model.eye_centres(model.vertices), strict=True):
        ball = part == f"eye_{side}"
        towards = places[ball] - centre
        angle = np.degrees(np.arctan2(np.hypot(*towards[:, :2].T), towards[:, 2]))
        for where, colour in (((angle > 8) & (angle < 16), IRIS), (angle > 30, SCLERA)):
            colours = result[ball][where]
            assert len(colours) >= 4 and np.abs(np.median(colours, axis=0) - colour).max() < 0.12, (side, colour)


def test_the_body_has_the_colour_of_the_skin_and_nothing_is_black():
    texture = painted(SIZE, 0.0)
    texture = dilate(np.where(texture.sum(-1, keepdims=True) > 1.2, texture, np.float32(SKIN)), texture.any(-1))
    result = makehuman_texture(texture)
    fragments, _, _ = layout_of_makehuman()
    body = result[int(0.5 * SIZE), int(0.4 * SIZE)]
    assert np.abs(body - SKIN).max() < 0.02
    outside = fragments.face_ids < 0
    assert (np.abs(result[outside] - body).max(-1) == 0).mean() > 0.8 and result[outside].min() > 0.1


@functools.cache
def red_neck():
    """A head of SKIN whose neck becomes red downwards, brighter on its left; its texture in MakeHuman's layout."""
    model = head_model()
    values = np.tile(np.float32(SKIN), (len(model.vertices), 1))
    share = np.clip((-0.10 - model.vertices[:, 1:2]) / 0.04, 0, 1) * (model.vertices[:, 2:] < 0.02)
    values += share * (np.float32(RED) - np.float32(SKIN))
    side = np.clip(np.abs(model.vertices[:, :1]) / 0.04, 0, 1) * np.sign(model.vertices[:, :1])
    return makehuman_texture(mapped(values + 0.1 * share * side))


def test_the_neck_fades_into_the_body():
    result, (_, _, neck) = red_neck(), layout_of_makehuman()
    body, middle = result[SIZE // 2, int(0.4 * SIZE)], round(MIDDLE * SIZE)
    assert np.abs(body - SKIN).max() < 0.01
    column = result[:, middle]
    cut = np.flatnonzero(neck[:, middle])[-1]
    assert np.abs(column[cut] - RED).max() < 0.1
    steps = np.abs(np.diff(column[cut - 2 : cut + 60], axis=0)).max(-1)
    assert steps.max() < 0.04  # of a difference of .28
    length = round(NECK_FADE * neck_density(head_model()) * SIZE)
    assert 25 < length < 60
    assert (column[cut + length + 2 : SIZE // 2] == body).all()
    assert np.abs(column[cut + length // 2] - body).max() > 0.02


def test_both_sides_of_the_cut_down_the_back_of_the_body_are_equal():
    """The body's island is cut from the neck's outer ends on, outwards; these mirror each other."""
    result, (_, _, neck) = red_neck(), layout_of_makehuman()
    columns = np.flatnonzero(neck.any(0))
    row = round(np.flatnonzero(neck[:, columns[0]]).mean())
    middle = MIDDLE * SIZE - 0.5
    line = lambda row, columns: np.stack([np.interp(columns, np.arange(SIZE), band) for band in result[row].T], axis=1)
    outwards = middle - columns[0] + np.arange(1, 60)
    for each in range(row - 2, row + 3):
        left, right = line(each, middle - outwards), line(each, middle + outwards)
        assert np.abs(left - right).max() < 4 / 255
        assert np.abs(left[5] - SKIN).max() > 20 / 255  # where the neck has an effect
    inside = np.arange(2, 20)
    sides = np.abs(result[:, columns[0] + inside] - result[:, columns[-1] - inside])
    assert sides[neck[:, columns[0] + inside]].max() > 20 / 255  # the neck itself has two sides


def test_the_layout_is_recognised(tmp_path):
    mesh = photographed(0).mesh
    save_mesh(mesh, tmp_path / "mesh.obj")
    assert is_in_head_layout(load_mesh(tmp_path / "mesh.obj"))
    assert not is_in_head_layout(replace(mesh, uvs=mesh.uvs * 0.9))
    assert not is_in_head_layout(head(0).mesh)


def test_a_mesh_that_is_no_head_gets_a_note_instead(tmp_path):
    texture = as_bytes(painted(64, 0.0))
    (note,) = write_makehuman(tmp_path, head(0).mesh, texture)
    assert MAKEHUMAN_TEXTURE in note and not (tmp_path / MAKEHUMAN_TEXTURE).exists()
    assert write_makehuman(tmp_path, photographed(0).mesh, texture) == []
    assert (tmp_path / MAKEHUMAN_TEXTURE).is_file()


def test_the_setting_needs_a_head():
    config = load_config(None, ["output.makehuman=true", "reconstruct.system=head"])
    assert "head" in config.refinement_needs
    assert "head" not in load_config(None, ["reconstruct.system=face_mesh"]).refinement_needs
    expected = "output.makehuman: got true with reconstruct.system: face_mesh.*needs head or auto"
    with pytest.raises(ConfigError, match=expected):
        load_config(None, ["output.makehuman=true", "reconstruct.system=face_mesh"])
