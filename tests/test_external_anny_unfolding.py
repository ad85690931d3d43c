"""Opening of folds: a flat grid seen by a camera, with a point that drags a vertex across its neighbours."""

import numpy as np
from scipy import sparse

from external.anny.points import HeadPoints
from external.anny.unfolding import SMALLEST, HeldTriangles, image_of, unfold
from renderer.mesh import face_normals

SIDE, FOCAL, DISTANCE = 25, 1500.0, 1.0


def grid():
    """Vertices [V, 3], m, 2 mm apart and rippled in depth, and triangles [F, 3], facing the camera."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x, y = (columns.ravel() - SIDE // 2) * 0.002, (rows.ravel() - SIDE // 2) * 0.002
    vertices = np.column_stack([x, y, DISTANCE + 0.0005 * np.sin(1500 * x)])
    first = (rows * SIDE + columns)[:-1, :-1].ravel()
    quads = np.stack([first, first + SIDE, first + SIDE + 1, first + 1], axis=1)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def held(vertices, faces, in_space):
    image = image_of(vertices, FOCAL)
    a, b = image[faces[:, 1]] - image[faces[:, 0]], image[faces[:, 2]] - image[faces[:, 0]]
    before = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    normals = face_normals(vertices, faces)
    reference = normals / (normals**2).sum(1, keepdims=True)
    return HeldTriangles(faces, np.where(in_space, 0, before), reference)


def laplacian(faces, count):
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    sides = np.unique(np.sort(sides, axis=1), axis=0)
    beside = sparse.coo_matrix((np.ones(len(sides)), sides.T), (count, count))
    beside = (beside + beside.T).tocsr()
    return (sparse.diags(np.asarray(beside.sum(1)).ravel()) - beside).tocsr()


def test_areas_are_shares_and_slopes_are_their_derivatives():
    vertices, faces = grid()
    in_space = np.arange(len(faces)) % 2 == 0
    triangles = held(vertices, faces, in_space)
    assert np.allclose(triangles.areas(vertices, FOCAL)[0], 1)
    moved = vertices + np.random.default_rng(0).normal(0, 0.0004, vertices.shape)
    areas, slopes = triangles.areas(moved, FOCAL)
    assert np.ptp(areas) > 0.1
    for vertex, axis in ((30, 0), (30, 1), (284, 0), (284, 1)):
        tried = moved.copy()
        tried[vertex, axis] += 1e-3 * moved[vertex, 2] / FOCAL  # a thousandth of a pixel
        expected = np.where(faces == vertex, slopes[..., axis], 0).sum(axis=1)
        assert np.allclose((triangles.areas(tried, FOCAL)[0] - areas) / 1e-3, expected, rtol=1e-3, atol=1e-6)


def test_folds_open_and_points_stay_met():
    vertices, faces = grid()
    triangles = held(vertices, np.tile(faces, (2, 1)), np.repeat([False, True], len(faces)))
    middle = SIDE * SIDE // 2
    corners = np.array([[middle, middle, middle], [middle + 3, middle + 3, middle + 3]])
    points = HeadPoints(corners, np.tile([1.0, 0, 0], (2, 1)), np.arange(2), np.zeros(2))
    moved = vertices.copy()
    moved[middle, :2] += (0.0045, 0.001)  # across two columns
    target = image_of(moved[corners[:, 0]], FOCAL)
    assert (triangles.areas(moved, FOCAL)[0] < 0).any()
    sides = laplacian(faces, len(vertices))
    result = unfold(moved, triangles, np.arange(len(vertices)), sides, points, target, np.ones(2), FOCAL, 660)
    assert (triangles.areas(result, FOCAL)[0] > SMALLEST).all()
    assert np.abs(image_of(result[corners[:, 0]], FOCAL) - target).max() < 0.5
    assert (result[:, 2] == moved[:, 2]).all()
    far = np.linalg.norm(vertices[:, :2] - moved[middle, :2], axis=1) > 0.024
    assert far.any() and (result[far] == vertices[far]).all()


def test_a_mesh_without_folds_near_is_left_alone():
    vertices, faces = grid()
    points = HeadPoints(np.zeros((1, 3), int), np.array([[1.0, 0, 0]]), np.arange(1), np.zeros(1))
    target = image_of(vertices[[0]], FOCAL)
    triangles = held(vertices, faces, np.zeros(len(faces), bool))
    sides = laplacian(faces, len(vertices))
    result = unfold(vertices, triangles, np.arange(len(vertices)), sides, points, target, np.ones(1), FOCAL, 660)
    assert (result == vertices).all()
