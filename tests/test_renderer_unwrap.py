import numpy as np
import pytest
import torch
from synthetic_meshes import dome, grid_mesh, plane

from renderer.camera import Camera
from renderer.lookup import build_lookup
from renderer.mesh import Mesh
from renderer.unwrap import unwrap
from renderer.visibility import texel_geometry

CAMERA = Camera(200, 150, 340.0, 335.0, 98.0, 77.0)
MESH = grid_mesh(dome, 33, 29)


def smooth_texture(height, width):
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, 1 - (np.arange(height) + 0.5) / height)
    waves = [np.sin(11 * u + 3 * v), np.cos(9 * v - 2 * u), np.sin(8 * u) * np.cos(7 * v)]
    return (0.5 + 0.4 * np.stack(waves, axis=-1)).astype(np.float32)


def position_photo(camera):
    """A photo whose colours tell the place in the image: (x / width, y / height, 1/2)."""
    x, y = np.meshgrid((np.arange(camera.width) + 0.5) / camera.width, (np.arange(camera.height) + 0.5) / camera.height)
    return np.stack([x, y, np.full_like(x, 0.5)], axis=-1).astype(np.float32)


@pytest.mark.parametrize("size", [(400, 300), (60, 90), (20, 16), (9, 7)])
def test_photo_positions_are_exact(size):
    """Magnified, one to one, and averaged over footprints of up to some 25 pixels."""
    geometry = texel_geometry(MESH, *size)
    sampled = unwrap(position_photo(CAMERA), geometry, CAMERA)
    image = CAMERA.project(geometry.positions.reshape(-1, 3)) / [CAMERA.width, CAMERA.height]
    # Far enough inside that no footprint or filter reaches the photo's border, where colours are held.
    reach = 1.5 * max(2, 130 / min(size)) / CAMERA.height
    inner = geometry.mask.ravel() & ((image > reach) & (image < 1 - reach)).all(axis=1)
    assert inner.sum() > 15
    found = sampled.reshape(-1, 3)[inner]
    # The mean over a footprint differs from its middle by the projection's curvature, which grows with its square.
    np.testing.assert_allclose(found[:, :2], image[inner], atol=2e-5 + 0.4 / min(size) ** 2)
    np.testing.assert_allclose(found[:, 2], 0.5, atol=1e-6)


def test_outside_the_islands_is_zero():
    geometry = texel_geometry(MESH, 50, 70)
    sampled = unwrap(np.ones((150, 200, 3), dtype=np.float32), geometry, CAMERA)
    assert sampled.shape == (50, 70, 3) and sampled.dtype == np.float32
    np.testing.assert_allclose(sampled, np.repeat(geometry.mask[..., None], 3, axis=2), atol=1e-6)


@pytest.mark.parametrize("size", [(256, 200), (90, 110)])
def test_round_trip_with_rendering(size):
    texture = smooth_texture(*size)
    lookup = build_lookup(MESH, CAMERA, *size)
    colours = lookup(torch.from_numpy(texture).permute(2, 0, 1)[None].contiguous())
    photo = lookup.to_image(colours, 0.5)[0].permute(1, 2, 0).numpy()
    geometry = texel_geometry(MESH, *size)
    sampled = unwrap(photo, geometry, CAMERA)
    # Texels of the silhouette see a blend with the background: leave out what lies within two pixels of it.
    x, y = np.moveaxis(CAMERA.project(geometry.positions[geometry.mask]), 1, 0)
    full = np.zeros((150, 200), dtype=bool)
    full.reshape(-1)[lookup.pixels[lookup.coverage == 1].numpy()] = True
    full = np.lib.stride_tricks.sliding_window_view(np.pad(full, 3), (7, 7)).all(axis=(2, 3))
    inside = (x >= 0) & (x < 200) & (y >= 0) & (y < 150)
    near = np.zeros(len(x), dtype=bool)
    near[inside] = full[y[inside].astype(int), x[inside].astype(int)]
    error = np.abs(sampled - texture)[geometry.mask][near]
    assert near.sum() > 4000 and error.max() < 0.02 and error.mean() < 2e-3


def test_fine_photo_is_averaged_not_picked():
    camera = CAMERA.resized(1200, 900)
    geometry = texel_geometry(grid_mesh(plane, 4, 5), 40, 30)
    board = (np.indices((900, 1200)).sum(axis=0) % 2)[..., None].repeat(3, axis=2).astype(np.float32)
    inner = np.s_[5:-5, 5:-5]
    assert np.abs(unwrap(board, geometry, camera)[inner] - 0.5).max() < 0.02
    noise = np.random.default_rng(0).random((900, 1200, 3)).astype(np.float32)
    # A texel covers some 18 x 25 pixels here, so white noise keeps little of its deviation of 0.29.
    assert unwrap(noise, geometry, camera)[inner].std() < 0.06


def test_magnified_edges_stay_in_range():
    photo = np.zeros((150, 200, 3), dtype=np.float32)
    photo[:, 100:] = 1
    sampled = unwrap(photo, texel_geometry(MESH, 500, 400), CAMERA)
    assert sampled.min() >= 0 and sampled.max() <= 1


def test_islands_side_by_side_do_not_mix():
    """The step to the next texel must not be measured across a cut between two islands."""
    left = np.array([[-1.1, -0.5, 4], [-0.2, -0.5, 4], [-0.2, 0.5, 4], [-1.1, 0.5, 4]])
    uvs = np.array([[0.0, 1], [0.5, 1], [0.5, 0], [0, 0]])
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    faces = np.concatenate([faces, faces + 4])
    mesh = Mesh(np.concatenate([left, left + [1.3, 0, 0]]), faces, np.concatenate([uvs, uvs + [0.5, 0]]), faces)
    photo = np.zeros((150, 200, 3), dtype=np.float32)
    photo[:, 98:] = 1
    geometry = texel_geometry(mesh, 30, 40)
    assert geometry.mask.all()
    sampled = unwrap(photo, geometry, CAMERA)
    assert (sampled[:, :20] == 0).all() and (sampled[:, 20:] == 1).all()


def test_behind_the_camera_and_beyond_the_photo():
    mesh = grid_mesh(lambda s, t: plane(s, t) - np.stack([0 * s, 0 * s, 8 * s], axis=-1), 4, 5)
    geometry = texel_geometry(mesh, 30, 40)
    sampled = unwrap(np.ones((150, 200, 3), dtype=np.float32), geometry, CAMERA)
    behind = geometry.mask & (geometry.positions[..., 2] <= 0)
    assert behind.any() and (sampled[behind] == 0).all()
    np.testing.assert_allclose(sampled[geometry.mask & (geometry.positions[..., 2] > 0)], 1, atol=1e-6)


@pytest.mark.parametrize("photo", [np.zeros((200, 150, 3)), np.zeros((150, 200)), np.zeros((150, 200, 3), dtype=np.uint8)])
def test_other_photos_are_refused(photo):
    with pytest.raises(ValueError, match=r"\(150, 200, 3\)"):
        unwrap(photo, texel_geometry(MESH, 10, 12), CAMERA)
