"""Visibility against rays cast in float64."""

import dataclasses

import cv2
import numpy as np
import pytest
from reference_rasterizer import hidden_points
from synthetic_meshes import bump, dome, grid_mesh, plane, sphere, two_sheets

from renderer.camera import Camera
from renderer.mesh import Mesh, normalised
from renderer.visibility import outward_sign, texel_geometry, unoccluded, visibility

CAMERA = Camera(320, 240, 430.0, 430.0, 160, 120)


def true_visibility(geometry, mesh, camera):
    points = geometry.positions[geometry.mask]
    image = camera.project(points)
    inside = ((image >= 0) & (image <= [camera.width, camera.height])).all(axis=1)
    visible = np.zeros(geometry.mask.shape, dtype=bool)
    # Positions are float32, so a point may lie a little behind its own face.
    visible[geometry.mask] = inside & ~hidden_points(points, mesh.vertices, mesh.faces, clearance=1e-5)
    return visible


def distance_to(area):
    return cv2.distanceTransform((~area).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def cosines(geometry):
    return -(geometry.normals * normalised(geometry.positions)).sum(axis=-1)


def test_texel_geometry_of_a_sphere():
    geometry = texel_geometry(grid_mesh(sphere, 61, 121), 70, 96)
    assert geometry.positions.shape == geometry.normals.shape == (70, 96, 3) and geometry.mask.shape == (70, 96)
    assert geometry.positions.dtype == geometry.normals.dtype == np.float32 and geometry.mask.dtype == bool
    assert (geometry.positions[~geometry.mask] == 0).all() and (geometry.normals[~geometry.mask] == 0).all()
    out = geometry.positions[geometry.mask] - [0, 0, 4]
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(geometry.normals[geometry.mask], axis=1), 1, atol=1e-6)
    # The island's border is the seam at the back and the poles, where half of the faces are missing.
    inner = distance_to(~geometry.mask) > 3
    assert ((geometry.normals * (geometry.positions - [0, 0, 4])).sum(axis=-1)[inner] > 0.998).all()


def test_texels_lie_where_the_uvs_say():
    geometry = texel_geometry(grid_mesh(plane, 4, 5, border=0.0), 10, 16)
    assert geometry.mask.all()
    u, v = np.meshgrid((np.arange(16) + 0.5) / 16, (np.arange(10) + 0.5) / 10)
    np.testing.assert_allclose(geometry.positions, np.stack([2 * u - 1, 2 * v - 1, 0 * u + 4], axis=-1), atol=1e-6)


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (1600, 1200)])
def test_sphere_without_acne(size):
    mesh, camera = grid_mesh(sphere, 31, 61), CAMERA.resized(*size)
    geometry = texel_geometry(mesh, 90, 110)
    facing = cosines(geometry) > 0.1
    assert facing.sum() > 1500
    assert unoccluded(geometry, mesh, camera)[facing].all()
    confidence = visibility(geometry, mesh, camera)
    assert (confidence[cosines(geometry) > 0.4] == 1).all()
    assert (confidence[cosines(geometry) < 0.15] == 0).all()
    middle = (cosines(geometry) > 0.2) & (cosines(geometry) < 0.3)
    assert ((confidence[middle] > 0) & (confidence[middle] < 1)).all()


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (1600, 1200)])
def test_nose_hides_the_cheek(size):
    mesh, camera = grid_mesh(bump, 33, 41), CAMERA.resized(*size)
    geometry = texel_geometry(mesh, 72, 90)
    truth = true_visibility(geometry, mesh, camera)
    hidden = geometry.mask & ~truth
    facing = cosines(geometry) > 0.15
    assert (hidden & facing).sum() > 300
    found = unoccluded(geometry, mesh, camera)
    # Wrong by at most two texels beside the true border, and there in few places.
    assert not (found & (distance_to(truth) > 1.5)).any()
    assert not (facing & ~found & (distance_to(hidden) > 2.5)).any()
    assert ((found != truth) & facing).sum() < 0.005 * facing.sum()


def test_confidence_ends_before_the_hidden_area():
    mesh = grid_mesh(bump, 41, 51)
    geometry = texel_geometry(mesh, 256, 200)
    hidden = geometry.mask & ~unoccluded(geometry, mesh, CAMERA)
    erosion = 12.0
    confidence = visibility(geometry, mesh, CAMERA, erosion=erosion)
    distance = distance_to(hidden)
    assert (confidence[hidden] == 0).all()
    assert (confidence[distance < erosion / 4] == 0).all()
    clear = geometry.mask & (distance > erosion / 4 + 1.5) & (cosines(geometry) > 0.4)
    assert (confidence[clear] == 1).all() and clear.sum() > 10000
    assert confidence.dtype == np.float32 and confidence.min() >= 0 and confidence.max() == 1


def test_confidence_rises_over_the_ramp():
    mesh = grid_mesh(bump, 41, 51)
    geometry = texel_geometry(mesh, 256, 200)
    distance = distance_to(geometry.mask & ~unoccluded(geometry, mesh, CAMERA)) - 0.5
    frontal = geometry.mask & (cosines(geometry) > 0.4)
    for ramp in (16.0, 40.0):  # texels of a 1024 texture, 4 and 10 of this one
        confidence = visibility(geometry, mesh, CAMERA, erosion=0.0, ramp=ramp)
        expected = np.clip(distance / (ramp / 4), 0, 1)
        assert ((expected > 0.1) & (expected < 0.9) & frontal).sum() > 100
        np.testing.assert_allclose(confidence[frontal], expected[frontal], atol=1e-4)


def test_small_gap_between_two_sheets_is_seen():
    """A sheet one hundredth of the distance behind another is hidden exactly where the first one covers it."""
    back = grid_mesh(plane, 5, 6)
    front = np.array([[-0.5, -0.45, 3.96], [0.3, -0.45, 3.96], [0.3, 0.55, 3.96], [-0.5, 0.55, 3.96]])
    mesh = two_sheets(front, np.array([[0, 2, 1], [0, 3, 2]]), back)
    geometry = texel_geometry(mesh, 90, 130)
    truth = true_visibility(geometry, mesh, CAMERA)
    found = unoccluded(geometry, mesh, CAMERA)
    assert (geometry.mask & ~truth).sum() > 300
    assert not (found & (distance_to(truth) > 1.5)).any()
    assert not (truth & (distance_to(geometry.mask & ~truth) > 1.5) & ~found).any()


def test_outside_the_photo_is_not_seen():
    mesh = grid_mesh(plane, 4, 5)
    geometry = texel_geometry(mesh, 60, 80)
    camera = CAMERA.cropped(150, 0, 170, 240)
    image = camera.project(geometry.positions.reshape(-1, 3))
    outside = (image[:, 0] < 0).reshape(60, 80) & geometry.mask
    assert outside.sum() > 500
    confidence = visibility(geometry, mesh, camera)
    assert (confidence[outside] == 0).all() and (confidence[:, 60:][geometry.mask[:, 60:]] == 1).all()


def test_winding_does_not_matter():
    mesh = grid_mesh(dome, 12, 14)
    turned = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.uvs, mesh.uv_faces[:, ::-1])
    geometry, turned_geometry = texel_geometry(mesh, 40, 50), texel_geometry(turned, 40, 50)
    assert outward_sign(geometry, unoccluded(geometry, mesh, CAMERA)) == 1
    assert outward_sign(turned_geometry, unoccluded(turned_geometry, turned, CAMERA)) == -1
    np.testing.assert_allclose(
        visibility(geometry, mesh, CAMERA), visibility(turned_geometry, turned, CAMERA), atol=1e-4
    )


def test_closed_surface_turns_its_outside_to_the_camera():
    mesh = grid_mesh(sphere, 21, 41)
    inside_out = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.uvs, mesh.uv_faces[:, ::-1])
    geometry, turned_geometry = texel_geometry(mesh, 50, 60), texel_geometry(inside_out, 50, 60)
    assert outward_sign(geometry, unoccluded(geometry, mesh, CAMERA)) == 1
    assert outward_sign(turned_geometry, unoccluded(turned_geometry, inside_out, CAMERA)) == -1


def test_nothing_to_see():
    mesh = grid_mesh(plane, 4, 5)
    behind = dataclasses.replace(mesh, vertices=mesh.vertices * [1, 1, -1])
    geometry = texel_geometry(behind, 30, 20)
    assert (visibility(geometry, behind, CAMERA) == 0).all()
    tiny = dataclasses.replace(mesh, uvs=mesh.uvs * 1e-4)
    assert (visibility(texel_geometry(tiny, 30, 20), tiny, CAMERA) == 0).all()


def test_bad_settings_are_refused():
    mesh = grid_mesh(plane, 4, 5)
    geometry = texel_geometry(mesh, 10, 12)
    for settings in ({"full_cosine": 0.1}, {"zero_cosine": 0.5}, {"erosion": -1.0}, {"ramp": 0.0}):
        with pytest.raises(ValueError, match="needed"):
            visibility(geometry, mesh, CAMERA, **settings)
