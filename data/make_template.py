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
import scipy.sparse.linalg as sparse_linalg
import trimesh
from mediapipe.python.solutions import face_mesh_connections
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from external.face_mesh.landmarks import POINTS, find_landmarks
from external.face_mesh.subdivision import subdivision
from external.mtcnn import detect_faces
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos
from renderer.mesh import Mesh, save_mesh
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
REWEIGHTINGS = 4
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


def boundary_loops(faces: np.ndarray) -> list[list[int]]:
    """The closed boundaries of faces [F, 3], shortest first: vertices in order, opposite to the adjacent faces."""
    directed = {(face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3)}
    following = {b: a for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        start, loop = next(iter(following)), []
        vertex = start
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return sorted(loops, key=len)


def fill_hole(loop: list[int], corners: tuple[int, int]) -> list[list[int]]:
    """Triangles over a hole whose two corners split it into upper and lower halves of equal length."""
    start, end = sorted(loop.index(corner) for corner in corners)
    one, other = loop[start : end + 1], (loop[end:] + loop[: start + 1])[::-1]
    if len(one) != len(other):
        raise SystemExit(f"hole of {len(loop)} edges: corners {corners} split it into {len(one)} and {len(other)}")
    triangles = []
    for k in range(len(one) - 1):
        quad = (one[k], one[k + 1], other[k + 1], other[k])
        # Each half uses the other diagonal, so the triangles are symmetric about the middle.
        first, second = ((0, 1, 2), (0, 2, 3)) if 2 * k < len(one) - 1 else ((0, 1, 3), (1, 2, 3))
        for corner in (first, second):
            triangle = [quad[c] for c in corner]
            if len(set(triangle)) == 3:
                triangles.append(triangle)
    return triangles


def mean_shape() -> np.ndarray:
    """Mean [468, 3] of the predictions on the sample photos, aligned by similarities; x right, y up, z to viewer."""
    shapes = []
    for photo in sample_photos():
        pixels = read_photo(photo.path)
        face = detect_faces(pixels)[0]
        points = find_landmarks(pixels, face.box, face.points) * (1, -1, -1)
        points -= points.mean(0)
        points /= np.linalg.norm(points[33] - points[263])
        if shapes:
            u, _, vt = np.linalg.svd(points.T @ shapes[0])
            points = points @ u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        shapes.append(points)
    return np.mean(shapes, axis=0)


def mirror_pairs(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shape [V, 3] aligned to the mirror plane x = 0, and the mirror vertex [V] of each vertex.

    Pairs come from the best matching of the shape with its reflection.
    """
    points = shape.copy()
    for _ in range(10):  # estimates mirror plane and pairs in turn
        reflected = points * (-1, 1, 1)
        cost = np.linalg.norm(points[:, None] - reflected[None], axis=-1)
        _, pairs = linear_sum_assignment(cost)
        target = reflected[pairs]
        middle = (points + target) / 2
        centred, goal = points - points.mean(0), middle - middle.mean(0)
        u, _, vt = np.linalg.svd(centred.T @ goal)
        points = centred @ u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        points -= (points.mean(0) + (points * (-1, 1, 1))[pairs].mean(0)) / 2 * (1, 0, 0)
    if not (pairs[pairs] == np.arange(len(pairs))).all():
        raise SystemExit("the mirror pairs are not mutual: the shape is too asymmetric")
    return points, pairs


def faces_without_mirror(faces: np.ndarray, pairs: np.ndarray) -> int:
    """Number of faces [F, 3] without a mirror face, because a diagonal differs. pairs: [V]."""
    known = {frozenset(face) for face in faces.tolist()}
    return sum(frozenset(pairs[face].tolist()) not in known for face in faces.tolist())


def arap_layout(
    corners: np.ndarray,  # [F, 3, 3]
    faces: np.ndarray,  # [F, 3]
    gain: np.ndarray,  # [F]
    uvs: np.ndarray,  # [V, 2]
    iterations: int = 400,
) -> np.ndarray:  # [V, 2]
    """As-rigid-as-possible parametrisation: alternates local rotations and a global sparse solve.

    corners: reference triangles. gain: enlargement of each. uvs: initial layout without flipped faces.
    """
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    axis1 = edge1 / np.linalg.norm(edge1, axis=1, keepdims=True)
    normal = np.cross(edge1, edge2)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    axis2 = np.cross(normal, axis1)
    flat = np.zeros((len(faces), 3, 2))
    flat[:, 1, 0] = np.linalg.norm(edge1, axis=1)
    flat[:, 2] = np.stack([(edge2 * axis1).sum(1), (edge2 * axis2).sum(1)], axis=1)
    flat *= gain[:, None, None]
    start, end = np.array([0, 1, 2]), np.array([1, 2, 0])
    side_vectors = flat[:, end] - flat[:, start]  # [F, 3, 2]
    third = flat[:, [2, 0, 1]]
    to_a, to_b = flat[:, start] - third, flat[:, end] - third
    cross = np.abs(to_a[..., 0] * to_b[..., 1] - to_a[..., 1] * to_b[..., 0])
    # Bounded cotangent weights, so that very obtuse faces do not flip their neighbours.
    weights = np.clip((to_a * to_b).sum(-1) / np.maximum(cross, 1e-12), 0.05, 20.0)
    i, j, w = faces[:, start].ravel(), faces[:, end].ravel(), weights.ravel()
    count = len(uvs)
    laplacian = sparse.coo_matrix(
        (np.concatenate([w, w, -w, -w]), (np.concatenate([i, j, i, j]), np.concatenate([i, j, j, i]))),
        shape=(count,) * 2,
    ).tocsc()
    solve = sparse_linalg.factorized(laplacian + 1e-9 * sparse.identity(count, format="csc"))
    for _ in range(iterations):
        current = uvs[faces[:, end]] - uvs[faces[:, start]]
        covariance = np.einsum("fk,fki,fkj->fij", weights, current, side_vectors)
        u, _, vt = np.linalg.svd(covariance)
        sign = np.sign(np.linalg.det(u @ vt))
        u[:, :, 1] *= sign[:, None]
        rotated = np.einsum("fij,fkj->fki", u @ vt, side_vectors) * weights[..., None]
        right = np.zeros((count, 2))
        np.add.at(right, faces[:, end].ravel(), rotated.reshape(-1, 2))
        np.subtract.at(right, faces[:, start].ravel(), rotated.reshape(-1, 2))
        uvs = np.stack([solve(right[:, 0]), solve(right[:, 1])], axis=1)
    return uvs


def signed_areas(uvs: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Areas [F] of faces [F, 3] in the layout [V, 2], positive if counter-clockwise."""
    a, b = uvs[faces[:, 1]] - uvs[faces[:, 0]], uvs[faces[:, 2]] - uvs[faces[:, 0]]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def triangle_areas(corners: np.ndarray) -> np.ndarray:
    """Areas [F] of triangles [F, 3, 3]."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def smoothed(values: np.ndarray, weights: np.ndarray, centres: np.ndarray, radius: float = 0.2) -> np.ndarray:
    """Weighted Gaussian mean [F] of face values [F]. weights [F], centres [F, 3]; radius: in eye distances."""
    kernel = np.exp(-0.5 * (np.linalg.norm(centres[:, None] - centres[None], axis=-1) / radius) ** 2) * weights
    return kernel @ values / kernel.sum(1)


def tutte_layout(faces: np.ndarray, loop: list[int], shape: np.ndarray) -> np.ndarray:
    """Initial layout [V, 2] without flipped faces: boundary on a circle by arc length, inner vertices at their
    neighbours' mean. faces [F, 3], shape [V, 3], loop: the boundary."""
    count = len(shape)
    lengths = np.linalg.norm(shape[loop] - shape[np.roll(loop, -1)], axis=1)
    angle = 2 * np.pi * np.concatenate([[0], np.cumsum(lengths)[:-1]]) / lengths.sum()
    i, j = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    adjacency = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    adjacency.data[:] = 1
    matrix = (sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tolil()
    right = np.zeros((count, 2))
    matrix[loop] = 0
    matrix[loop, loop] = 1
    right[loop] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    solve = sparse_linalg.factorized(matrix.tocsc())
    return np.stack([solve(right[:, 0]), solve(right[:, 1])], axis=1)


def main() -> None:
    faces = consistent(tessellation())
    loops = boundary_loops(faces)
    *holes, outline = loops
    corners = {16: ((33, 133), (263, 362)), 20: ((78, 308),)}
    filled = [faces]
    for hole in holes:
        pair = next(pair for pair in corners[len(hole)] if pair[0] in hole)
        filled.append(np.array(fill_hole(hole, pair)))
    faces = consistent(np.concatenate(filled))
    shape, pairs = mirror_pairs(mean_shape())
    shape = (shape + (shape * (-1, 1, 1))[pairs]) / 2
    if signed_areas(shape[:, :2], faces).sum() < 0:
        faces = faces[:, ::-1]
    print(
        f"{len(faces)} faces, {faces_without_mirror(faces, pairs)} without a mirror face, "
        f"outline of {len(outline)} edges"
    )

    corners = shape[faces]
    mouth = next(hole for hole in holes if len(hole) == 20)
    open_mouth(corners, shape, faces, mouth)
    centres = shape[faces].mean(1)
    gain = np.ones(len(faces))
    for points, extra, radius in DETAIL:
        distance = np.linalg.norm(centres - shape[list(points)].mean(0), axis=1)
        gain += extra * np.exp(-0.5 * (distance / radius) ** 2)
    uvs = tutte_layout(faces, outline, shape)
    if signed_areas(uvs, faces).sum() < 0:
        uvs = uvs * (-1, 1)
    wanted = gain.copy()
    for _ in range(REWEIGHTINGS):
        uvs = arap_layout(corners, faces, gain, uvs)
        # Strongly curved regions (the nose) come out too small: increase their gain.
        got = np.sqrt(np.abs(signed_areas(uvs, faces)) / np.maximum(triangle_areas(corners), 1e-12))
        got = smoothed(got, triangle_areas(corners), centres)
        gain = gain * np.clip(wanted / wanted.mean() / (got / got.mean()), 0.8, 1.25)
    uvs = arap_layout(corners, faces, gain, uvs)
    down = uvs[10] - uvs[152]
    angle = np.arctan2(down[0], down[1])
    uvs = uvs @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T
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


def open_mouth(corners: np.ndarray, shape: np.ndarray, faces: np.ndarray, mouth: list[int]) -> None:
    """Replaces the reference triangles in the mouth by those of an open mouth, in place.

    A closed mouth has no area in the layout, but open mouths in photos need texels for the teeth. Lips and chin keep
    their shape and move apart. corners [F, 3, 3], shape [V, 3], faces [F, 3], mouth: its boundary.
    """
    upper = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
    lower = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
    if set(upper) | set(lower) != set(mouth):
        raise SystemExit("the inner lips do not border the mouth's hole; use mediapipe 0.10.21")
    width = np.linalg.norm(shape[78] - shape[308])
    polygon = {}
    for ring, side in ((upper, 0.5), (lower, -0.5)):
        for angle, vertex in zip(np.linspace(0, np.pi, len(ring)), ring, strict=True):
            polygon[vertex] = (-np.cos(angle) * width / 2, side * MOUTH_OPENING * np.sin(angle), 0.0)
    inside = np.isin(faces, mouth).all(1)
    corners[inside] = [[polygon[vertex] for vertex in face] for face in faces[inside].tolist()]


def report(shape: np.ndarray, uvs: np.ndarray, faces: np.ndarray) -> None:
    """Prints quality figures of the layout after each level of subdivision; flipped faces would share texels.

    shape [V, 3], uvs [V, 2], faces [F, 3].
    """
    for levels in (0, 1, 2, 3):
        smooth, fine = subdivision(faces, POINTS, levels, interpolating=False)
        matrix, _ = subdivision(faces, POINTS, levels, interpolating=True)
        areas = signed_areas(smooth @ uvs, fine)
        points = matrix @ shape
        a, b, c = points[fine].transpose(1, 0, 2)
        true = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        ratio = np.percentile(areas / true * true.sum() / areas.sum(), (5, 50, 95)).round(2)
        print(
            f"level {levels}: {len(fine)} faces, {(areas <= 0).sum()} flipped, UV area over area p5/p50/p95 {ratio}, "
            f"{areas.sum():.0%} of the texture"
        )


def picture(mesh: Mesh, size: int = 1024) -> None:
    """Writes data/face_template.png: the layout with the shading of the mean shape and the control triangles."""
    smooth, fine = subdivision(mesh.faces, POINTS, 2, interpolating=False)
    uvs = smooth @ mesh.uvs
    shape = subdivision(mesh.faces, POINTS, 2, interpolating=True)[0] @ mesh.vertices
    fragments = rasterize_uv(uvs, fine, size, size)
    inside = fragments.face_ids >= 0
    corner = shape[fine]
    normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shade = np.clip(normals @ np.array([0.3, 0.4, 0.87]), 0.1, 1)
    image = np.full((size, size, 3), 255, np.uint8)
    image[inside] = (shade[fragments.face_ids[inside]] * 255)[:, None].astype(np.uint8)
    pixels = np.stack([mesh.uvs[:, 0] * size, (1 - mesh.uvs[:, 1]) * size], axis=1)
    for a, b, c in mesh.faces:
        cv2.polylines(
            image, [np.round(pixels[[a, b, c]] * 16).astype(np.int32)], True, (200, 90, 20), 1, cv2.LINE_AA, 4
        )
    cv2.imwrite(str(DATA / "face_template.png"), image)


if __name__ == "__main__":
    main()
