"""Makes `data/face_template.obj` and its picture: `python -m data.make_template`.

Our own face template over the 468 Face Mesh points. The only inputs are the sample photos in scikit-image and
matplotlib, the network's predictions on them, and the point connections listed in mediapipe.
1. faces: the 852 triangles of the tessellation, with the holes at the eyes and the mouth filled (898 in all);
2. shape: the mean of the two predictions, made symmetric;
3. UV layout: as rigid as possible (Liu et al. 2008), with eyes, nose and mouth enlarged, symmetric about u = 0.5, the
   face upright; checked to be bijective after subdivision.
"""

import ast
import inspect
from pathlib import Path

import cv2
import numpy as np
import trimesh
from mediapipe.python.solutions import face_mesh_connections
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import factorized
from scipy.spatial.distance import cdist

from data.parametrisation import (
    boundary_loops,
    flattened,
    on_circle,
    signed_areas,
    smoothed,
    triangle_areas,
    tutte_layout,
)
from external.face_mesh.landmarks import POINTS, find_landmarks
from external.face_mesh.subdivision import subdivision
from external.mtcnn import detect_faces
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos
from renderer.mesh import Mesh, face_normals, normalised, save_mesh
from renderer.rasterize import rasterize_uv

DATA = Path(__file__).resolve().parent
MARGIN = 0.015  # of the texture, around the layout: space for the dilated border
# Regions to enlarge: (points whose mean is the centre, gain, radius in units of the eye distance)
DETAIL = (
    ((33, 133, 159, 145), 0.35, 0.30),  # eyes
    ((263, 362, 386, 374), 0.35, 0.30),
    ((13, 14, 61, 291), 0.3, 0.42),  # mouth
    ((1, 4), 0.2, 0.30),  # tip of the nose
    ((1, 6), 0.35, 1.1),  # the front of the face, as its sides are seen obliquely or not at all
)
# Inner borders of the lips, from the mouth's right corner to the left one.
UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
HOLE_CORNERS = ((33, 133), (263, 362), (78, 308))  # eyes, mouth
REWEIGHTINGS = 4
PICTURE = 1024  # px, the side of data/face_template.png
ITERATIONS = 400  # of each layout
SMOOTHING = 0.2  # of the eye distance: radius over which the enlargement is measured
MOUTH_OPENING = 0.22  # of the eye distance: the layout's mouth is open, so that teeth have texels


def tessellation() -> np.ndarray:
    """The triangles [852, 3] of the tessellation.

    The package exports an unordered set of edges, but its source lists them triangle by triangle.
    """
    tree = ast.parse(inspect.getsource(face_mesh_connections))
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "FACEMESH_TESSELATION":
            edges = np.array(ast.literal_eval(node.value.args[0]))
            return edges.reshape(-1, 3, 2)[:, :, 0]
    raise SystemExit("face_mesh_connections of this mediapipe lists no FACEMESH_TESSELATION; use mediapipe 0.10.21")


def consistent(faces: np.ndarray) -> np.ndarray:
    """Faces [F, 3] with consistent winding."""
    mesh = trimesh.Trimesh(np.zeros((POINTS, 3)), faces, process=False)
    if mesh.body_count != 1:
        raise SystemExit("the tessellation is not one connected surface")
    trimesh.repair.fix_winding(mesh)
    return np.array(mesh.faces)


def fill_hole(loop: list[int]) -> list[list[int]]:
    """Triangles over the hole of an eye or the mouth, whose corners split it into halves of equal length."""
    corners = next(pair for pair in HOLE_CORNERS if pair[0] in loop)
    start, end = sorted(loop.index(corner) for corner in corners)
    one, other = loop[start : end + 1], (loop[end:] + loop[: start + 1])[::-1]
    if len(one) != len(other):
        raise SystemExit(f"hole of {len(loop)} edges: corners {corners} split it into {len(one)} and {len(other)}")
    triangles = []
    for k in range(len(one) - 1):
        quad = (one[k], one[k + 1], other[k + 1], other[k])
        # Each half uses the other diagonal, so the triangles are symmetric about the middle.
        first, second = ((0, 1, 2), (0, 2, 3)) if 2 * k < len(one) - 1 else ((0, 1, 3), (1, 2, 3))
        triangles += [[quad[corner] for corner in corners] for corners in (first, second)]
    return [triangle for triangle in triangles if len(set(triangle)) == 3]


def mean_shape() -> np.ndarray:
    """Mean [468, 3] of the predictions on the sample photos, aligned by similarities; x right, y up, z to viewer."""
    shapes = []
    for photo in sample_photos():
        pixels = read_photo(photo.path)
        face = detect_faces(pixels)[0]
        points = find_landmarks(pixels, face.box, face.points) * (1, -1, -1)
        points -= points.mean(0)
        points /= np.linalg.norm(points[33] - points[263])
        shapes.append(turned_onto(points, shapes[0]) if shapes else points)
    return np.mean(shapes, axis=0)


def turned_onto(points: np.ndarray, target: np.ndarray) -> np.ndarray:  # [N, 3], [N, 3] -> [N, 3]
    """The points, turned by the rotation that best maps them to the target (both centred)."""
    u, _, vt = np.linalg.svd(points.T @ target)
    return points @ u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def mirror_pairs(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shape [V, 3] aligned to the mirror plane x = 0, and the mirror vertex [V] of each vertex.

    Pairs come from the best matching of the shape with its reflection.
    """
    points = shape.copy()
    for _ in range(10):  # estimates mirror plane and pairs in turn
        reflected = points * (-1, 1, 1)
        _, pairs = linear_sum_assignment(cdist(points, reflected))
        middle = (points + reflected[pairs]) / 2
        points = turned_onto(points - points.mean(0), middle - middle.mean(0))
        points -= (points.mean(0) + (points * (-1, 1, 1))[pairs].mean(0)) / 2 * (1, 0, 0)
    if not (pairs[pairs] == np.arange(len(pairs))).all():
        raise SystemExit("the mirror pairs are not mutual: the shape is too asymmetric")
    return points, pairs


def faces_without_mirror(faces: np.ndarray, pairs: np.ndarray) -> int:
    """Number of faces [F, 3] without a mirror face, because a diagonal differs. pairs: [V]."""
    known = {frozenset(face) for face in faces.tolist()}
    return sum(frozenset(pairs[face].tolist()) not in known for face in faces.tolist())


def arap_layout(corners: np.ndarray, faces: np.ndarray, gain: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """As-rigid-as-possible parametrisation [V, 2]: alternates local rotations and a global sparse solve.

    corners [F, 3, 3]: reference triangles of faces [F, 3]. gain [F]: enlargement of each. uvs [V, 2]: initial layout
    without flipped faces.
    """
    flat = flattened(corners) * gain[:, None, None]
    following = np.roll(faces, -1, axis=1)  # side k joins corners k and k + 1
    side_vectors = np.roll(flat, -1, axis=1) - flat  # [F, 3, 2]
    third = np.roll(flat, 1, axis=1)
    to_a, to_b = flat - third, np.roll(flat, -1, axis=1) - third
    cross = np.abs(to_a[..., 0] * to_b[..., 1] - to_a[..., 1] * to_b[..., 0])
    # Bounded cotangent weights, so that very obtuse faces do not flip their neighbours.
    weights = np.clip((to_a * to_b).sum(-1) / np.maximum(cross, 1e-12), 0.05, 20.0)
    i, j, w, count = faces.ravel(), following.ravel(), weights.ravel(), len(uvs)
    entries = np.r_[w, w, -w, -w], (np.r_[i, j, i, j], np.r_[i, j, j, i])
    laplacian = sparse.coo_matrix(entries, shape=(count, count)).tocsc()
    solve = factorized(laplacian + 1e-9 * sparse.identity(count, format="csc"))
    for _ in range(ITERATIONS):
        current = uvs[following] - uvs[faces]
        covariance = np.einsum("fk,fki,fkj->fij", weights, current, side_vectors)
        u, _, vt = np.linalg.svd(covariance)
        u[:, :, 1] *= np.sign(np.linalg.det(u @ vt))[:, None]
        rotated = np.einsum("fij,fkj->fki", u @ vt, side_vectors) * weights[..., None]
        right = np.zeros((count, 2))
        np.add.at(right, following, rotated)
        np.subtract.at(right, faces, rotated)
        uvs = solve(right)
    return uvs


def main() -> None:
    faces = consistent(tessellation())
    *holes, outline = boundary_loops(faces)
    faces = consistent(np.concatenate([faces, *map(fill_hole, holes)]))
    shape, pairs = mirror_pairs(mean_shape())
    shape = (shape + (shape * (-1, 1, 1))[pairs]) / 2
    if signed_areas(shape[:, :2], faces).sum() < 0:
        faces = faces[:, ::-1]
    unpaired = faces_without_mirror(faces, pairs)
    print(f"{len(faces)} faces, {unpaired} without a mirror face, outline of {len(outline)} edges")

    corners = shape[faces]
    open_mouth(corners, shape, faces)
    centres = shape[faces].mean(1)
    gain = np.ones(len(faces))
    for points, extra, radius in DETAIL:
        distance = np.linalg.norm(centres - shape[list(points)].mean(0), axis=1)
        gain += extra * np.exp(-0.5 * (distance / radius) ** 2)
    uvs = tutte_layout(faces, outline, on_circle(outline, shape), len(shape))
    if signed_areas(uvs, faces).sum() < 0:
        uvs = uvs * (-1, 1)
    wanted = gain
    for _ in range(REWEIGHTINGS):
        uvs = arap_layout(corners, faces, gain, uvs)
        # Strongly curved regions (the nose) come out too small: increase their gain.
        areas = triangle_areas(corners)
        got = smoothed(np.sqrt(np.abs(signed_areas(uvs, faces)) / np.maximum(areas, 1e-12)), areas, centres, SMOOTHING)
        gain = gain * np.clip(wanted / wanted.mean() / (got / got.mean()), 0.8, 1.25)
    uvs = arap_layout(corners, faces, gain, uvs)
    down = uvs[10] - uvs[152]
    angle = np.arctan2(down[0], down[1])
    uvs = uvs @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    uvs -= (uvs[10] + uvs[152]) / 2
    uvs = (uvs + (uvs * (-1, 1))[pairs]) / 2
    uvs -= [0, (uvs[:, 1].max() + uvs[:, 1].min()) / 2]
    extent = np.ptp(uvs, axis=0)
    print("layout extent", extent)
    # Fill the square: a stretch by a fifth does not harm the texture, but empty texels are wasted.
    uvs = 0.5 + uvs / extent * (1 - 2 * MARGIN)
    report(shape, uvs, faces)
    mesh = Mesh(shape, faces, uvs, faces)
    save_mesh(mesh, DATA / "face_template.obj")
    picture(mesh)


def open_mouth(corners: np.ndarray, shape: np.ndarray, faces: np.ndarray) -> None:
    """Replaces the reference triangles in the mouth by those of an open mouth, in place.

    A closed mouth has no area in the layout, but open mouths in photos need texels for the teeth. Lips and chin keep
    their shape and move apart. corners [F, 3, 3], shape [V, 3], faces [F, 3].
    """
    polygon = np.zeros_like(shape)
    angles = np.linspace(0, np.pi, len(UPPER_LIP))
    across = -np.cos(angles) * np.linalg.norm(shape[UPPER_LIP[0]] - shape[UPPER_LIP[-1]]) / 2
    for lip, side in ((UPPER_LIP, 0.5), (LOWER_LIP, -0.5)):
        polygon[list(lip), :2] = np.stack([across, side * MOUTH_OPENING * np.sin(angles)], axis=1)
    inside = np.isin(faces, UPPER_LIP + LOWER_LIP).all(1)
    corners[inside] = polygon[faces[inside]]


def report(shape: np.ndarray, uvs: np.ndarray, faces: np.ndarray) -> None:
    """Prints quality figures of the layout after each level of subdivision; flipped faces would share texels.

    shape [V, 3], uvs [V, 2], faces [F, 3].
    """
    for levels in (0, 1, 2, 3):
        smooth, fine = subdivision(faces, POINTS, levels, interpolating=False)
        matrix, _ = subdivision(faces, POINTS, levels, interpolating=True)
        areas = signed_areas(smooth @ uvs, fine)
        true = triangle_areas((matrix @ shape)[fine])
        ratio = np.percentile(areas / true * true.sum() / areas.sum(), (5, 50, 95)).round(2)
        print(f"level {levels}: {len(fine)} faces, {(areas <= 0).sum()} flipped, UV area over area p5/p50/p95 {ratio}, "
              f"{areas.sum():.0%} of the texture")  # fmt: skip


def picture(mesh: Mesh) -> None:
    """Writes data/face_template.png: the layout with the shading of the mean shape and the control triangles."""
    smooth, fine = subdivision(mesh.faces, POINTS, 2, interpolating=False)
    matrix, _ = subdivision(mesh.faces, POINTS, 2, interpolating=True)
    face_ids = rasterize_uv(smooth @ mesh.uvs, fine, PICTURE, PICTURE).face_ids
    shade = np.clip(normalised(face_normals(matrix @ mesh.vertices, fine)) @ [0.3, 0.4, 0.87], 0.1, 1)
    image = np.where(face_ids >= 0, shade[face_ids] * 255, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    pixels = np.round((mesh.uvs * (1, -1) + (0, 1)) * PICTURE * 16).astype(np.int32)  # in sixteenths, four bits
    cv2.polylines(image, list(pixels[mesh.faces]), True, (200, 90, 20), 1, cv2.LINE_AA, shift=4)
    cv2.imwrite(str(DATA / "face_template.png"), image)


if __name__ == "__main__":
    main()
