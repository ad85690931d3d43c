"""Subdivision, template, mesh and camera from landmarks, and the face mask."""

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
from synthetic_faces import SKIN, head, head_normals, landmarks, lit, photograph, texel_grid, turn

from external.face_mesh.face_mask import face_mask
from external.face_mesh.reconstruction import reconstruct, rigid_pose
from external.face_mesh.subdivision import loop_step, subdivision
from external.face_mesh.template import load_template
from external.geometry import PUPIL_DISTANCE
from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.mesh import Mesh
from renderer.rasterize import rasterize, rasterize_uv

TETRAHEDRON = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
OCTAHEDRON = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
HEXAGON = np.array([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])  # a fan about vertex 0: open
EYE_RIGHT, EYE_LEFT = [33, 133, 159, 145], [263, 362, 386, 374]
MOUTH, CHEEK_RIGHT, CHEEK_LEFT = [13, 14, 61, 291], [50, 205], [280, 425]
FOREHEAD, CHIN, NOSE = 10, 152, 1


def edges_of(faces):
    """Faces beside each undirected edge, and how often each directed one occurs."""
    directed = Counter((face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3))
    return Counter(tuple(sorted(edge)) for edge in directed.elements()), directed


def areas_of(points, faces):
    """Signed areas in the plane, unsigned ones in space."""
    first, second = points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    if points.shape[1] == 2:
        return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    return np.linalg.norm(np.cross(first, second), axis=1) / 2


def triangular_grid(rows, columns):
    """A regular sheet in the plane, all inner vertices of valence 6: points [N, 2], faces."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    points = np.stack([column + 0.5 * row, row * np.sqrt(3) / 2], axis=1)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    return points, np.concatenate([np.stack([a, b, d], 1), np.stack([b, c, d], 1)])


# ---- subdivision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("faces", "count", "vertex", "own"), [(HEXAGON, 7, 0, 5 / 8), (TETRAHEDRON, 4, 1, 7 / 16), (OCTAHEDRON, 6, 4, 5 / 8)])
def test_weights_of_inner_vertices(faces, count, vertex, own):
    """Warren's: 3/16 each at valence 3, 3/(8n) above: five eighths of its own stay with every vertex of valence > 3."""
    matrix, _ = loop_step(faces, count)
    row = matrix.toarray()[vertex]
    neighbours = np.setdiff1d(np.unique(faces[(faces == vertex).any(1)]), [vertex])
    assert row[vertex] == pytest.approx(own)
    np.testing.assert_allclose(row[neighbours], (1 - own) / len(neighbours))
    assert np.count_nonzero(row) == 1 + len(neighbours)


def test_weights_of_edges_and_of_the_boundary():
    matrix, _ = loop_step(HEXAGON, 7)
    rows = sorted(tuple(sorted(np.round(row[row > 0], 12))) for row in matrix.toarray()[7:])
    assert rows == [(1 / 8, 1 / 8, 3 / 8, 3 / 8)] * 6 + [(1 / 2, 1 / 2)] * 6
    spoke = matrix.toarray()[7:][matrix.toarray()[7:, 0] == 3 / 8]
    assert len(spoke) == 6
    for row in spoke:
        (end,) = np.flatnonzero(row[1:] == 3 / 8)
        np.testing.assert_allclose(row[1 + np.array([end - 1, end + 1]) % 6], 1 / 8)
    boundary = matrix.toarray()[3]
    assert boundary[3] == 3 / 4 and boundary[2] == boundary[4] == 1 / 8 and boundary[0] == 0


@pytest.mark.parametrize("interpolating", [False, True])
@pytest.mark.parametrize(("faces", "count", "closed"), [(TETRAHEDRON, 4, True), (OCTAHEDRON, 6, True), (HEXAGON, 7, False)])
def test_constants_and_affine_maps_pass_through(faces, count, closed, interpolating):
    points = np.random.default_rng(0).normal(size=(count, 3))
    for levels in range(4):
        matrix, fine = subdivision(faces, count, levels, interpolating)
        assert len(fine) == 4**levels * len(faces) and fine.max() == len(matrix) - 1 and fine.min() == 0
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
        change, shift = np.array([[2.0, 0.3, -1], [0, 1, 0.5], [0.7, 0, 1]]), np.array([5.0, -3, 1])
        np.testing.assert_allclose(matrix @ (points @ change + shift), (matrix @ points) @ change + shift, atol=1e-9)
        beside, directed = edges_of(fine)
        assert max(beside.values()) == 2 and max(directed.values()) == 1  # a surface, wound alike
        assert (min(beside.values()) == 2) == closed
        assert len(matrix) - len(beside) + len(fine) == (2 if closed else 1)  # Euler: still a sphere, a disk


def test_linear_functions_are_reproduced_on_a_regular_sheet():
    points, faces = triangular_grid(6, 7)
    matrix, fine = loop_step(faces, len(points))
    result = matrix @ points
    boundary = np.unique([edge for edge, count in edges_of(faces)[0].items() if count == 1])
    inner = np.setdiff1d(np.arange(len(points)), boundary)
    assert len(inner) == 20
    np.testing.assert_allclose(result[inner], points[inner], atol=1e-12)
    # Face f becomes faces 4f .. 4f+3: one at each of its corners and one in its middle, wound alike.
    corners = points[faces]
    middles = (corners + np.roll(corners, -1, axis=1)) / 2
    for child in range(3):
        assert (fine[child::4] == faces[:, [child]]).any(1).all()
    far_inside = np.isin(faces, inner).all(1)
    np.testing.assert_allclose(np.sort(result[fine[3::4]][far_inside], 1), np.sort(middles[far_inside], 1), atol=1e-12)
    np.testing.assert_allclose(areas_of(result, fine)[np.repeat(far_inside, 4)], np.sqrt(3) / 16, atol=1e-12)


def test_interpolating_passes_through_the_points():
    points, faces = triangular_grid(5, 6)
    heights = np.random.default_rng(1).normal(size=(len(points), 1))
    given = np.concatenate([points, heights], axis=1)
    for levels in (1, 2, 3):
        matrix, _ = subdivision(faces, len(points), levels, interpolating=True)
        assert (matrix[: len(points)] == np.eye(len(points))).all()
        beside = subdivision(faces, len(points), levels, interpolating=False)[0] @ given
        assert np.abs(beside[: len(points), 2] - heights[:, 0]).max() > 0.1
        # Both are the same kind of surface: the control points of the one are some points' Loop mesh.
        control = np.linalg.solve(subdivision(faces, len(points), levels, False)[0][: len(points)], given)
        np.testing.assert_allclose(subdivision(faces, len(points), levels, False)[0] @ control, matrix @ given, atol=1e-9)


def test_an_edge_with_three_faces_is_refused():
    with pytest.raises(ValueError, match=r"edge \[0, 1\] has 3 faces; a surface has at most 2"):
        loop_step(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]]), 5)


def test_a_vertex_without_faces_stays():
    matrix, _ = loop_step(np.array([[0, 1, 3]]), 4)
    assert (matrix.toarray()[2] == [0, 0, 1, 0]).all()


# ---- template --------------------------------------------------------------------------------------------------------


def mirror_pairs(uvs):
    """For each point the one at the mirrored place in the layout, and how far from it."""
    distances = np.linalg.norm(uvs[:, None] - (uvs * [-1, 1] + [1, 0])[None], axis=-1)
    return distances.argmin(0), distances.min(0)


def test_template_is_one_surface_with_one_outline():
    template = load_template(0)
    assert template.faces.shape == (898, 3) and template.shape.shape == (468, 3) and template.uvs.shape == (468, 2)
    assert (np.unique(template.faces) == np.arange(468)).all()
    beside, directed = edges_of(template.faces)
    assert max(beside.values()) == 2 and max(directed.values()) == 1
    following = {a: b for a, b in directed if (b, a) not in directed}
    start = vertex = next(iter(following))
    length = 0
    while length == 0 or vertex != start:
        vertex, length = following[vertex], length + 1
    assert length == len(following) == 36  # the face oval: no other boundary, so no hole at eyes or mouth
    assert 468 - len(beside) + 898 == 1  # connected, a disk


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_layout_is_bijective(levels):
    template = load_template(levels)
    assert len(template.faces) == 898 * 4**levels
    assert template.positions.shape == (len(template.uvs), 468)
    assert template.uvs.min() > 0.01 and template.uvs.max() < 0.99  # room for the continued colours
    areas = areas_of(template.uvs, template.faces)
    assert (areas > 0).all()
    covered = (rasterize_uv(template.uvs, template.faces, 700, 900).face_ids >= 0).mean()
    assert covered == pytest.approx(areas.sum(), rel=1e-3)
    assert areas.sum() > 0.6


def test_layout_is_symmetric_and_upright():
    template = load_template(0)
    pairs, distances = mirror_pairs(template.uvs)
    assert distances.max() < 1e-9 and (pairs[pairs] == np.arange(468)).all()
    np.testing.assert_allclose(template.shape[pairs] * [-1, 1, 1], template.shape, atol=1e-9)
    for right, left in ((33, 263), (133, 362), (61, 291), (50, 280), (234, 454)):
        assert pairs[right] == left
        assert template.uvs[right, 0] < 0.5 < template.uvs[left, 0]  # the person's left is at larger u
        assert template.shape[right, 0] < 0 < template.shape[left, 0]
    assert template.uvs[FOREHEAD, 1] > template.uvs[EYE_LEFT, 1].mean() > template.uvs[NOSE, 1] > template.uvs[CHIN, 1]
    np.testing.assert_allclose(template.uvs[[FOREHEAD, CHIN, NOSE], 0], 0.5, atol=1e-9)
    assert template.shape[FOREHEAD, 1] > template.shape[NOSE, 1] > template.shape[CHIN, 1]
    assert template.shape[:, 2].argmax() in (1, 4)  # the nose's tip
    assert np.linalg.norm(template.shape[33] - template.shape[263]) == pytest.approx(1, abs=0.01)


def test_faces_look_out_of_the_template():
    template = load_template(1)
    shape = template.positions @ template.shape
    corners = shape[template.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # A disk wound alike; lips and nostrils hold the few faces that look backwards.
    assert normals[:, 2].sum() > 0.9 * np.abs(normals[:, 2]).sum()


def test_the_two_halves_of_the_texture_hold_mirrored_places():
    """Some diagonals of the tessellation differ between the halves; that must not show at the size of a texel."""
    template = load_template(2)
    fragments = rasterize_uv(template.uvs, template.faces, 256, 256)
    inside = fragments.face_ids >= 0
    shape = interpolate(template.positions @ template.shape, template.faces, fragments)
    both = inside & inside[:, ::-1]
    assert both.sum() > 0.995 * inside.sum()
    apart = np.linalg.norm(shape - shape[:, ::-1] * [-1, 1, 1], axis=-1)[both]
    assert np.percentile(apart, 95) < 1 / 256 and np.median(apart) < 1e-3


def test_texels_are_spent_at_eyes_and_mouth():
    template = load_template(2)
    shape = template.positions @ template.shape
    in_texture, in_space = areas_of(template.uvs, template.faces), areas_of(shape, template.faces)
    centres = shape[template.faces].mean(1)

    def density(points, radius):
        near = np.linalg.norm(centres - template.shape[points].mean(0), axis=1) < radius
        assert near.sum() > 50
        return in_texture[near].sum() / in_space[near].sum()

    cheeks = density(CHEEK_RIGHT, 0.25)
    assert density(CHEEK_LEFT, 0.25) == pytest.approx(cheeks, rel=1e-2)
    for points, radius in ((EYE_RIGHT, 0.3), (EYE_LEFT, 0.3), (MOUTH, 0.35), ([1, 4], 0.25)):
        assert density(points, radius) > 1.08 * cheeks


# ---- mesh and camera -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subdivisions", [0, 1, 2])
@pytest.mark.parametrize("yaw", [0, -35, 60])
def test_the_camera_reproduces_the_points(yaw, subdivisions):
    points = landmarks(yaw, pitch=10, roll=8, centre=(170.0, 120.0))
    points[:, :2] += np.random.default_rng(2).normal(scale=0.5, size=(468, 2))
    found = reconstruct(points, 320, 260, subdivisions=subdivisions)
    left, top, width, height = found.crop
    assert (found.camera.width, found.camera.height) == (width, height)
    assert left >= 0 and top >= 0 and left + width <= 320 and top + height <= 260
    image = found.camera.project(found.mesh.vertices[:468]) + [left, top]
    np.testing.assert_allclose(image, points[:, :2], atol=1e-6)
    assert len(found.mesh.faces) == 898 * 4**subdivisions and (found.mesh.faces == found.mesh.uv_faces).all()


def test_the_crop_keeps_its_margin():
    points = landmarks(centre=(500.0, 400.0))
    extent = np.ptp(points[:, :2], axis=0).max()
    for margin in (0.0, 0.6, 1.5):
        left, _, width, height = reconstruct(points, 1000, 900, crop_margin=margin).crop
        assert width == pytest.approx((1 + 2 * margin) * extent, abs=2) and height == pytest.approx(width, abs=2)
        assert left + width / 2 == pytest.approx(500, abs=2)


@pytest.mark.parametrize("centre", [(10.0, 130.0), (300.0, 20.0), (310.0, 250.0), (-30.0, -20.0)])
def test_a_face_partly_outside_the_photo(centre):
    points = landmarks(yaw=15, centre=centre)
    found = reconstruct(points, 320, 260)
    left, top, width, height = found.crop
    assert left >= 0 and top >= 0 and left + width <= 320 and top + height <= 260
    np.testing.assert_allclose(found.camera.project(found.mesh.vertices[:468]) + [left, top], points[:, :2], atol=1e-6)


def test_unusable_points_are_refused():
    for centre in ((-500.0, 100.0), (100.0, 900.0)):
        with pytest.raises(ValueError, match="outside the photo"):
            reconstruct(landmarks(centre=centre), 320, 260)
    stretched = landmarks() * [1, 1, 40]
    with pytest.raises(ValueError, match="behind the camera"):
        reconstruct(stretched, 320, 260)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, 0, -15), (25, -12, 10)])
def test_the_pose_is_rigid_and_turns_the_right_way(yaw, pitch, roll):
    found = head(yaw, pitch=pitch, roll=roll)
    pose = found.head_to_camera
    rotation = pose[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1) and (pose[3] == [0, 0, 0, 1]).all()
    assert 0.9 < pose[2, 3] < 1.1  # metres from the camera
    # Perspective bends the shape a little, so the pose is near to the true one.
    error = np.rad2deg(np.arccos(np.clip((np.trace(rotation.T @ turn(yaw, pitch, roll)) - 1) / 2, -1, 1)))
    assert error < 2
    assert np.rad2deg(np.arctan2(rotation[0, 2], -rotation[2, 2])) == pytest.approx(yaw, abs=3)
    if yaw:
        points = landmarks(yaw, pitch, roll)
        assert np.sign(points[NOSE, 0] - points[[33, 263], 0].mean()) == np.sign(yaw)


def test_the_head_has_the_size_of_a_head():
    vertices = head(eye_distance=57.0).mesh.vertices
    eyes = vertices[[33, 133]].mean(0) - vertices[[362, 263]].mean(0)
    assert np.linalg.norm(eyes) == pytest.approx(PUPIL_DISTANCE, rel=0.03)
    assert vertices[:468, 2].argmin() in (1, 4)  # the nose's tip is nearest to the camera


def test_rigid_pose_recovers_a_similarity():
    rng = np.random.default_rng(3)
    shape, rotation = rng.normal(size=(40, 3)), turn(40, -25, 70)
    pose = rigid_pose(shape, 0.7 * shape @ rotation.T + [1, 2, 3])
    np.testing.assert_allclose(pose[:3], np.concatenate([rotation, [[1], [2], [3]]], axis=1), atol=1e-9)
    # No rotation makes the mirror image: the answer must still be one.
    assert np.linalg.det(rigid_pose(shape, shape * [-1, 1, 1])[:3, :3]) == pytest.approx(1)


# ---- face mask -------------------------------------------------------------------------------------------------------


def painted_face(size=256):
    """Lit skin [size, size, 3] with eyes, brows, nostrils and mouth; the head; masks of the texture's parts."""
    found = head(yaw=8, subdivisions=2, eye_distance=120.0, width=420, height=400)
    u, v = texel_grid(size)
    across = np.abs(u - 0.5)
    uvs = load_template(2).uvs - (0.5, 0)
    eye, brow, mouth, forehead = (
        uvs[list(points)].mean(0) for points in ((362, 263), (282, 283, 295, 293, 334, 296), (13, 14), (151, 10))
    )
    parts = {
        "eyes": ((across - eye[0]) / 0.07) ** 2 + ((v - eye[1]) / 0.025) ** 2 < 1,
        "brows": (np.abs(across - brow[0]) < 0.08) & (np.abs(v - brow[1]) < 0.015),
        "mouth": (across / 0.12) ** 2 + ((v - mouth[1]) / 0.04) ** 2 < 1,
        "fringe": v > forehead[1] - 0.02 * np.sin(30 * u),
    }
    normals, _ = head_normals(found, size)
    skin = np.broadcast_to(SKIN.astype(np.float32), (size, size, 3))
    grain = 1 + 0.02 * np.random.default_rng(4).normal(size=(size, size, 1))
    texture = lit(skin * grain, normals)
    for part, colour in (("eyes", (0.9, 0.9, 0.9)), ("brows", (0.15, 0.1, 0.08)), ("mouth", (0.55, 0.12, 0.15))):
        texture[parts[part]] = colour
    return texture, found, parts


def mask_in_texture(mask, found, size):
    """The mask as the texels see it [size, size], 0..1, NaN where the mesh is not in the texture."""
    fragments = rasterize_uv(found.mesh.uvs, found.mesh.uv_faces, size, size)
    points = interpolate(found.mesh.vertices, found.mesh.faces, fragments)
    image = found.camera.project(points.reshape(-1, 3)).reshape(size, size, 2)
    inside = fragments.face_ids >= 0
    values = np.full((size, size), np.nan)
    columns = np.clip(image[inside][:, 0].astype(int), 0, mask.shape[1] - 1)
    rows = np.clip(image[inside][:, 1].astype(int), 0, mask.shape[0] - 1)
    values[inside] = mask[rows, columns] / 255
    return values


def kept_share(mask, found):
    """Of the pixels that are not at the face's outline: those hold some background by themselves."""
    silhouette = (rasterize(found.mesh, found.camera).face_ids >= 0).astype(np.uint8)
    inner = cv2.erode(silhouette, np.ones((31, 31)), borderValue=0) > 0
    assert inner.sum() > 0.5 * silhouette.sum()
    return (mask[inner] > 250).mean()


def test_a_fringe_is_left_out_and_the_face_kept():
    texture, found, parts = painted_face()
    texture[parts["fringe"]] = (0.06, 0.04, 0.03)
    mask = face_mask(photograph(texture, found), found, PUPIL_DISTANCE)
    assert mask.shape == (found.camera.height, found.camera.width) and mask.dtype == np.uint8
    seen = mask_in_texture(mask, found, 256)
    u, v = texel_grid(256)
    assert np.nanmax(seen[parts["fringe"]]) < 0.05
    for part in ("eyes", "brows", "mouth"):
        assert np.nanmin(seen[parts[part]]) > 0.95, part
    cheeks = (np.abs(np.abs(u - 0.5) - 0.2) < 0.1) & (np.abs(v - 0.5) < 0.08)
    middle = (np.abs(u - 0.5) < 0.2) & (v > 0.08) & (v < 0.75)
    assert np.nanmin(seen[cheeks]) > 0.95 and np.nanmin(seen[middle]) > 0.95


def test_a_bare_face_is_kept_whole():
    texture, found, _ = painted_face()
    mask = face_mask(photograph(texture, found), found, PUPIL_DISTANCE)
    assert kept_share(mask, found) > 0.99


@pytest.mark.parametrize("skin", [(0.22, 0.14, 0.10), (0.45, 0.30, 0.22), (0.92, 0.80, 0.74)])
def test_every_skin_is_skin(skin):
    found = head(subdivisions=2, eye_distance=120.0, width=420, height=400)
    normals, _ = head_normals(found, 128)
    texture = lit(np.broadcast_to(np.float32(skin), (128, 128, 3)), normals)
    mask = face_mask(photograph(texture, found), found, PUPIL_DISTANCE)
    assert kept_share(mask, found) > 0.99
    _, v = texel_grid(128)
    texture[v > 0.93] = (0.35, 0.75, 0.9)  # a pale blue cap
    seen = mask_in_texture(face_mask(photograph(texture, found), found, PUPIL_DISTANCE), found, 128)
    assert np.nanmax(seen[v > 0.93]) < 0.05


def test_without_enough_skin_everything_is_kept():
    found = head()
    # All of it behind the camera's back: nothing to learn the skin from.
    away = Mesh(found.mesh.vertices + [50.0, 0, 0], found.mesh.faces, found.mesh.uvs, found.mesh.uv_faces)
    hidden = dataclasses.replace(found, mesh=away)
    assert isinstance(hidden.camera, Camera) and (rasterize(away, found.camera).face_ids < 0).all()
    crop = np.zeros((found.camera.height, found.camera.width, 3), np.uint8)
    assert (face_mask(crop, hidden, PUPIL_DISTANCE) == 255).all()
