"""What the photo shows between the lips, and completed teeth and tongue."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from textured_heads import head_model, painted, photographed, separated

from external.anny import load_head_layout
from pipeline.reconstruction.images import as_bytes
from pipeline.settings.schema import Config
from pipeline.texture.head_parts import TEETH, head_texels
from pipeline.texture.initial import complete_texture
from pipeline.texture.mouth import LEAST_OPENING, drawn_teeth, opening, tooth_places
from pipeline.texture.sampled import unwrap_photo
from renderer.interpolate import interpolate
from renderer.mesh import Mesh
from renderer.rasterize import rasterize, rasterize_uv
from renderer.render import render

SIZE = 1024
ENAMEL, LIPS = np.array([0.8, 0.75, 0.65]), np.array([0.6, 0.3, 0.3])


@functools.cache
def laughing(weight=0.6):
    """A head with an open mouth, whose upper teeth are green at its left and white elsewhere."""
    still, model, (source, parts, _) = photographed(0), head_model(), separated()
    names = ["jawOpen", "mouthUpperUpLeft", "mouthUpperUpRight"]
    weights = np.zeros(len(model.expression_names), np.float32)
    weights[[model.expression_names.index(name) for name in names]] = weight, weight, weight
    rig = replace(still.rig, weights=weights)
    vertices = rig.posed() @ still.head_to_camera[:3, :3].T + still.head_to_camera[:3, 3]
    mesh = Mesh(vertices, still.mesh.faces, still.mesh.uvs, still.mesh.uv_faces)
    texture = painted(2 * 640, 0.0)
    layout = load_head_layout()
    fragments = rasterize_uv(layout.uvs.astype(np.float64), layout.uv_triangles, *texture.shape[:2])
    part = np.where(fragments.face_ids >= 0, parts[mesh.faces[fragments.face_ids, 0]], -1)
    x = interpolate(model.vertices[source], mesh.faces, fragments)[..., 0]
    teeth = np.isin(part, [model.part_names.index(name) for name in TEETH])
    texture[teeth] = ENAMEL
    texture[teeth & (x > 0)] = (0.55, 0.75, 0.55)
    photo, _ = render(texture, mesh, still.camera, (0.25, 0.35, 0.30))
    return replace(still, mesh=mesh, rig=rig, photo=as_bytes(photo))


@functools.cache
def completed(weight=0.6):
    reconstruction = laughing(weight)
    sampled = unwrap_photo(reconstruction, Config(texture_size=SIZE))
    return sampled, complete_texture(sampled, reconstruction, None, Config(texture_size=SIZE))


def test_what_is_visible_between_the_lips_is_seen_and_takes_the_photo_s_colours():
    sampled, initial = completed()
    upper = sampled.head.of("upper_teeth") & (sampled.visibility > 0.99)
    assert upper.sum() > 100
    np.testing.assert_allclose(initial.texture[upper], sampled.texture[upper], atol=1e-6)
    assert (initial.provenance["observed"][upper] > 0.99).all()
    x = np.zeros(upper.shape)
    x[upper] = sampled.head.positions(upper)[:, 0]
    greenish = initial.texture[..., 1] - initial.texture[..., 0]
    assert np.median(greenish[upper & (x > 3)]) > 0.1 > -0.02 > np.median(greenish[upper & (x < -3)])
    assert (sampled.head.of("mouth", "tongue") & (sampled.visibility > 0.99)).sum() > 50


def test_the_rendering_between_the_lips_is_the_photo():
    reconstruction = laughing()
    sampled, initial = completed()
    whole, _ = render(initial.texture, reconstruction.mesh, reconstruction.camera)
    names = sampled.head.rig.part_names.tolist()
    inside = np.isin(
        np.append(sampled.head.rig.vertex_parts[reconstruction.mesh.faces[:, 0]], -1)[_faces(reconstruction)],
        [names.index(name) for name in ("mouth", "tongue", *TEETH)],
    )
    assert inside.sum() > 300
    error = np.abs(whole - reconstruction.photo / 255.0)[inside]
    assert np.median(error) < 0.02 and np.mean(error) < 0.05


def _faces(reconstruction):
    return rasterize(reconstruction.mesh, reconstruction.camera).face_ids


def test_nothing_is_seen_of_the_teeth_of_a_closed_mouth():
    reconstruction = photographed(0)
    sampled = unwrap_photo(reconstruction, Config(texture_size=SIZE))
    head = sampled.head
    assert opening(head, reconstruction) < LEAST_OPENING < opening(completed()[0].head, laughing())
    assert not sampled.visibility[head.of("tongue", *TEETH)].any()
    initial = complete_texture(sampled, reconstruction, None, Config(texture_size=SIZE))
    front = head.of("upper_teeth")
    along, height, inner = tooth_places(head, "upper_teeth", front)
    colours = initial.texture[front][(np.abs(along) < 8) & (inner == 0) & (height > 2) & (height < 6)]
    middle = np.median(colours, axis=0)
    assert middle.min() > 0.35 and middle[0] / middle[2] < 1.6  # off-white
    tongue = np.median(initial.texture[head.of("tongue")], axis=0)
    assert tongue[0] > 1.2 * tongue[1]


@pytest.mark.parametrize("name", TEETH)
def test_drawn_teeth_have_gaps_gums_and_fade_to_the_back(name):
    head = head_texels(photographed(0), SIZE, SIZE)
    where = head.of(name)
    colours = drawn_teeth(head, name, where, ENAMEL, LIPS)
    along, height, inner = tooth_places(head, name, where)
    assert np.ptp(along) > 90 and abs(along.max() + along.min()) < 4 and height.max() > 12
    front = (inner == 0) & (height > 2.5) & (height < 5)
    brightness = colours.mean(axis=1)
    middles = front & (np.abs(np.abs(along) - 3.5) < 1)
    gap = front & (np.abs(along) < 0.3)
    assert gap.any() and np.median(brightness[gap]) < 0.6 * np.median(brightness[middles])
    gum = (inner == 0) & (height > 12.5) & (np.abs(along) < 15)
    assert np.median(colours[gum][:, 0] / colours[gum][:, 1]) > 1.6 > np.median(colours[middles][:, 0] / colours[middles][:, 1])
    assert np.median(brightness[np.abs(along) > 45]) < 0.5 * np.median(brightness[middles])
    behind = (inner == 1) & (np.abs(along) < 10)
    assert behind.any() and np.median(brightness[behind]) < 0.8 * np.median(brightness[middles])


def test_unseen_teeth_continue_the_colour_of_seen_ones():
    sampled, initial = completed()
    head = sampled.head
    where = head.of("upper_teeth")
    along, height, inner = tooth_places(head, "upper_teeth", where)
    unseen = (sampled.visibility[where] == 0) & (inner == 0) & (height < 8) & (np.abs(along) < 20)
    assert unseen.sum() > 20
    colours = initial.texture[where][unseen & (along < -2)]
    assert np.abs(np.log(np.percentile(colours, 75, axis=0) / ENAMEL)).max() < 0.5
