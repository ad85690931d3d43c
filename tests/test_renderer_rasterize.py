"""The rasteriser against the float64 reference, and the rules that no reference can state: edges, ties, refusals."""

import numpy as np
import pytest
from reference_rasterizer import nearest_faces

from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.rasterize import RasterizeError, rasterize, rasterize_uv

WIDE = Camera(width=43, height=29, fx=40.0, fy=37.0, cx=20.3, cy=15.1)
TALL = Camera(width=19, height=50, fx=45.0, fy=48.0, cx=8.0, cy=26.7)


def assert_agrees(vertices, faces, camera, tolerance=1e-5):
    fragments = rasterize((vertices, faces), camera)
    face_ids, barycentrics, depth, certain = nearest_faces(vertices, faces, camera)
    assert fragments.face_ids.shape == (camera.height, camera.width)
    assert certain.mean() > 0.95
    np.testing.assert_array_equal(fragments.face_ids[certain], face_ids[certain])
    np.testing.assert_allclose(fragments.barycentrics[certain], barycentrics[certain], atol=tolerance)
    np.testing.assert_allclose(fragments.depth[certain], depth[certain], rtol=1e-5)
    return fragments


def soup(rng, count, near, far, size):
    centres = np.stack([rng.uniform(-1.5, 1.5, count), rng.uniform(-1.5, 1.5, count), rng.uniform(near, far, count)], 1)
    vertices = (centres[:, None] + rng.normal(size=(count, 3, 3)) * size).reshape(-1, 3)
    return vertices, np.arange(3 * count).reshape(-1, 3)


def fan_grid(rows, columns, jitter, rng):
    """A closed sheet over 0..1 x 0..1 (vertices [V, 2], faces): every inner point belongs to exactly one face."""
    y, x = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    inner = np.zeros((rows, columns), dtype=bool)
    inner[1:-1, 1:-1] = True
    x = x + inner * rng.uniform(-jitter, jitter, x.shape) / columns
    y = y + inner * rng.uniform(-jitter, jitter, y.shape) / rows
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    # Alternating orientation: coverage must not depend on it.
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([d, c, a], 1)])
    return np.stack([x.ravel(), y.ravel()], axis=1), faces


@pytest.mark.parametrize("camera", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("seed", range(3))
def test_random_triangles_in_front(camera, seed):
    fragments = assert_agrees(*soup(np.random.default_rng(seed), 40, near=2, far=6, size=0.5), camera)
    assert (fragments.face_ids >= 0).mean() > 0.2


@pytest.mark.parametrize("camera", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("seed", range(3))
def test_triangles_through_the_camera_plane(camera, seed):
    vertices, faces = soup(np.random.default_rng(seed), 30, near=-1.5, far=2.5, size=1.0)
    crossing = (vertices[faces][:, :, 2] > 0).sum(axis=1)
    assert ((crossing > 0) & (crossing < 3)).sum() > 8
    # A barycentric coordinate of a face that passes close to the camera is a ratio of small differences.
    assert_agrees(vertices, faces, camera, tolerance=2e-5)


def test_ground_plane_to_the_horizon():
    vertices = np.array([[-100.0, 1, -50], [100, 1, -50], [0, 1, 400]])
    fragments = assert_agrees(vertices, np.array([[0, 1, 2]]), WIDE)
    assert (fragments.face_ids[:15] == -1).all() and (fragments.face_ids[-1] == 0).all()


def test_sub_pixel_triangles():
    rng = np.random.default_rng(4)
    vertices, faces = fan_grid(70, 90, 0.3, rng)
    points = np.concatenate([vertices * [2.4, 1.8] - [1.2, 0.9], 3 + 0.3 * np.sin(5 * vertices[:, :1])], axis=1)
    kept = rng.choice(len(faces), 600, replace=False)
    assert_agrees(points, faces[kept], WIDE)


@pytest.mark.parametrize("size", [(24, 33), (50, 20), (64, 128)])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_sheet_covers_each_texel_once(size, jitter):
    uvs, faces = fan_grid(21, 11, jitter, np.random.default_rng(1))
    count = sum((rasterize_uv(uvs, faces[face : face + 1], *size).face_ids == 0).astype(int) for face in range(len(faces)))
    # Vertices and edges of the regular sheet pass exactly through texel centres: the case that rounding spoils.
    assert (count == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_shared_edges_in_perspective_belong_to_one_face(seed):
    """A fan around a vertex that projects (up to rounding) on a pixel centre, some of it behind the camera."""
    rng = np.random.default_rng(seed)
    camera = Camera(15, 11, 10.0, 10.0, 7.5, 5.5)
    column, row = rng.integers(3, 12), rng.integers(2, 9)
    hub = np.array([(column + 0.5 - 7.5) / 10, (row + 0.5 - 5.5) / 10, 1]) * rng.uniform(0.5, 3)
    angles = np.linspace(0, 2 * np.pi, 9)[:-1] + rng.uniform(0, 0.5)
    reach = rng.uniform(3, 9, 8)
    rim = hub + np.stack([reach * np.cos(angles), reach * np.sin(angles), hub[2] * rng.uniform(-2.5, 0.5, 8)], axis=1)
    assert (rim[:, 2] < 0).any() and (rim[:, 2] > 0).any()
    vertices = np.concatenate([hub[None], rim])
    faces = np.stack([np.zeros(8, int), np.arange(8) + 1, (np.arange(8) + 1) % 8 + 1], axis=1)
    count = sum((rasterize((vertices, faces[k : k + 1]), camera).face_ids == 0).astype(int) for k in range(8))
    near = np.s_[row - 1 : row + 2, column - 1 : column + 2]
    assert (count[near] == 1).all()


def test_top_left_rule():
    uvs = np.array([[0.25, 0.75], [0.75, 0.75], [0.75, 0.25], [0.25, 0.25]])
    # A square from centre to centre: its left and upper sides are taken, its right and lower sides are not.
    shifted = uvs + [0.125, -0.125]
    covered = rasterize_uv(shifted, np.array([[0, 1, 2], [0, 2, 3]]), 4, 4).face_ids >= 0
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(covered, expected)


def test_orientation_does_not_matter():
    vertices, faces = soup(np.random.default_rng(7), 25, near=-1, far=4, size=0.8)
    forward, backward = rasterize((vertices, faces), WIDE), rasterize((vertices, faces[:, ::-1]), WIDE)
    np.testing.assert_array_equal(forward.face_ids, backward.face_ids)
    np.testing.assert_allclose(forward.barycentrics, backward.barycentrics[:, :, ::-1], atol=1e-6)


def test_equal_depth_goes_to_the_lowest_id():
    vertices, faces = soup(np.random.default_rng(2), 6, near=2, far=4, size=1.0)
    doubled = rasterize((vertices, np.concatenate([faces, faces])), TALL)
    np.testing.assert_array_equal(doubled.face_ids, rasterize((vertices, faces), TALL).face_ids)
    uvs = np.array([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9], [0.1, 0.9], [0.9, 0.9]])
    overlapping = rasterize_uv(uvs, np.array([[0, 1, 2], [3, 4, 2], [0, 1, 4]]), 20, 30)
    alone = rasterize_uv(uvs, np.array([[0, 1, 2]]), 20, 30).face_ids == 0
    assert (overlapping.face_ids[alone] == 0).all() and (overlapping.face_ids == 2).any()


def test_degenerate_and_behind_draw_nothing():
    vertices = np.array([[0.0, 0, 2], [1, 0, 2], [2, 0, 2], [0, 0, -1], [1, 0, -2], [0, 1, -1], [0, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 2], [3, 4, 5], [3, 6, 7]])
    fragments = rasterize((vertices, faces), WIDE)
    assert (fragments.face_ids == -1).all()
    assert np.isinf(fragments.depth).all() and (fragments.barycentrics == 0).all()
    assert (rasterize((vertices, np.zeros((0, 3), dtype=int)), WIDE).face_ids == -1).all()


def test_edge_on_through_the_eye_draws_nothing():
    """A face whose plane contains the eye has no area in the image, whatever its size."""
    vertices = np.array([[0.3, -5.0, 1], [0.6, 7, 2], [1.2, 1, 4]])
    assert (rasterize((vertices, np.array([[0, 1, 2]])), Camera(40, 30, 20, 20, 14.0, 15)).face_ids == -1).all()


def test_fragments_are_well_formed():
    fragments = rasterize(soup(np.random.default_rng(9), 60, near=-1, far=5, size=1.0), WIDE)
    hit = fragments.face_ids >= 0
    assert fragments.face_ids.dtype == np.int32
    assert fragments.barycentrics.dtype == fragments.depth.dtype == np.float32
    np.testing.assert_array_equal(hit, np.isfinite(fragments.depth))
    assert (fragments.barycentrics >= 0).all()
    np.testing.assert_allclose(fragments.barycentrics.sum(axis=-1)[hit], 1, atol=1e-6)
    assert (fragments.depth[hit] > 0).all()


def test_interpolated_positions_project_to_pixel_centres():
    vertices, faces = soup(np.random.default_rng(5), 40, near=2, far=6, size=0.5)
    fragments = rasterize((vertices, faces), WIDE)
    positions = interpolate(vertices, faces, fragments)
    rows, columns = np.nonzero(fragments.face_ids >= 0)
    seen = WIDE.project(positions[rows, columns])
    np.testing.assert_allclose(seen, np.stack([columns + 0.5, rows + 0.5], axis=1), atol=1e-3)
    np.testing.assert_allclose(positions[rows, columns, 2], fragments.depth[rows, columns], rtol=1e-5)
    assert (positions[fragments.face_ids < 0] == 0).all()


def test_texel_centres_follow_the_convention():
    uvs = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize_uv(uvs, faces, 5, 8)
    found = interpolate(uvs, faces, fragments)
    u, v = np.meshgrid((np.arange(8) + 0.5) / 8, 1 - (np.arange(5) + 0.5) / 5)
    np.testing.assert_allclose(found, np.stack([u, v], axis=-1), atol=1e-6)
    assert (fragments.depth == 0).all()


def test_huge_triangle_and_far_away_vertices():
    vertices = np.array([[-1e9, -1e9, 3], [1e9, -1e9, 3], [0, 1e9, 3.0]])
    fragments = rasterize((vertices, np.array([[0, 1, 2]])), WIDE)
    assert (fragments.face_ids == 0).all()
    np.testing.assert_allclose(fragments.depth, 3, rtol=1e-6)
    assert (rasterize((vertices + [1e10, 0, 0], np.array([[0, 1, 2]])), WIDE).face_ids == -1).all()


GOOD = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]])


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (GOOD * np.nan, [[0, 1, 2]], "vertices[0]"),
        (np.where(GOOD == 1, np.inf, GOOD), [[0, 1, 2]], "vertices[1]"),
        (GOOD, [[0, 1, 3]], "faces[0] is [0, 1, 3]; indices 0..2 into vertices"),
        (GOOD, [[0, -1, 2]], "faces[0] is [0, -1, 2]; indices 0..2 into vertices"),
        (GOOD, [[0.0, 1.0, 2.0]], "float64"),
        (GOOD, [[0, 1]], "(1, 2)"),
        (GOOD[:, :2], [[0, 1, 2]], "(3, 2)"),
        (GOOD * 1e31, [[0, 1, 2]], "1e+30"),
        ("abc", [[0, 1, 2]], "not numbers"),
    ],
)
def test_refuses_what_it_cannot_draw(vertices, faces, words):
    with pytest.raises(RasterizeError) as raised:
        rasterize((vertices, np.array(faces)), WIDE)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5), (20000, 5), (5, 2.5)])
def test_refuses_absurd_sizes(height, width):
    with pytest.raises(RasterizeError, match=r"height|width"):
        rasterize_uv(np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([[0, 1, 2]]), height, width)


def test_interpolate_refuses_other_faces():
    fragments = rasterize((np.concatenate([GOOD - [0.2, 0.2, 0]] * 2), np.array([[3, 3, 3], [0, 1, 2]])), WIDE)
    with pytest.raises(ValueError, match="face 1"):
        interpolate(GOOD, np.array([[0, 1, 2]]), fragments)
    with pytest.raises(ValueError, match="attributes"):
        interpolate(np.zeros((3, 2), dtype=int), np.array([[0, 1, 2]]), fragments)
