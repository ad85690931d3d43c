"""Moves the fitted head by a smooth field, so that it meets the points of the photo.

The field minimises the thin-plate energy over the skin (cotangent Laplacian L, masses M: u L M^-1 L u + u M u /
REACH^4) and meets the points within their uncertainty. In terms of its Green's function, which depends on the model
alone, it costs one dense system of the size of the points. Where it folds the mesh, `unfold` opens the folds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from external.anny.fit import LinearFit, PointModel
from external.anny.points import LIDS, LIPS, POINTS, lid_edges, lip_chains, lip_edge
from external.anny.unfolding import SMALLEST, HeldTriangles, image_of, unfold
from renderer.mesh import face_normals, normalised

REACH = 0.05  # m, over which the field decays away from the points
CERTAIN, UNCERTAIN = 1e-4, 0.3  # variance of a seen and of a hidden point, relative to the field's own
DEPTH_VARIANCE, DEPTH_SHARE = 1.0, 0.5  # of the points' depth: little of it is taken over
LID_VARIANCE = 1e-3
CLEARANCE = 0.0003  # m, between eyeball and lids
SOCKET = 0.85  # largest distance of a socket from its eyeball's centre, in radii
DEEPEST = 0.004  # m, by which a lid's edge is brought onto its eyeball
EDGE_ON = 0.5  # cosine; triangles that are seen more obliquely need not keep their orientation in the image
LOOSER = (1.0, 30.0, 1000.0)  # factors on the variance of the points, tried in order
CLEARINGS = 6  # rounds
SMOOTHINGS = 40  # rounds in which vertices of folds and beside them approach the mean offset of their neighbours


@dataclass(frozen=True)
class Displaced:
    offsets: np.ndarray  # [V, 3] m, camera axes
    residuals: np.ndarray  # [468, 2] px, what is left
    folds: int  # triangles that could not be kept from folding; 0 but for points that are no face's


class Field:
    """The Green's function of the thin plate over the skin. Made once for a model and its points."""

    def __init__(self, prepared: PointModel) -> None:
        from scipy.sparse.linalg import splu

        model, points = prepared.model, prepared.points
        vertices = model.vertices.astype(np.float64)
        self.prepared = prepared
        self.faces = model.triangles[model.part("skin", "eye_socket_left", "eye_socket_right", "mouth")]
        self.skin = model.triangles[model.part("skin")]
        self.used = np.unique(self.faces)
        order = np.full(len(vertices), -1)
        order[self.used] = np.arange(len(self.used))
        laplacian, mass = _laplacian(vertices[self.used], order[self.faces])
        energy = laplacian @ sparse.diags(1 / mass) @ laplacian + sparse.diags(mass) / REACH**4
        # The margins of lids and lips, which closing turns out of sight, may turn.
        border = np.intersect1d(self.skin, model.vertices_of("eye_socket_left", "eye_socket_right", "mouth"))
        self.firm = ~np.isin(self.skin, border).any(axis=1)
        sides = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        sides = np.unique(np.sort(sides, axis=1), axis=0)
        beside = sparse.coo_matrix((np.ones(len(sides)), sides.T), (len(vertices),) * 2)
        beside = (beside + beside.T).tocsr()
        self.sides = (sparse.diags(np.asarray(beside.sum(1)).ravel()) - beside).tocsr()  # Laplacian of the edges
        counts = np.maximum(np.asarray(beside.sum(1)).ravel(), 1)
        self.mean = sparse.diags(1 / counts) @ beside  # over a vertex's neighbours
        self.lids = lid_edges(model)
        lids = np.concatenate(self.lids)
        self.lips = lip_chains(model)
        single = np.concatenate([lids, *self.lips])
        rows = np.concatenate([np.repeat(np.arange(POINTS), 3), POINTS + np.arange(len(single))])
        columns = order[np.concatenate([points.vertices.ravel(), single])]
        shares = np.concatenate([points.barycentrics.ravel(), np.ones(len(single))])
        at = sparse.coo_matrix((shares, (rows, columns)), (POINTS + len(single), len(self.used))).tocsr()
        self.green = splu(energy.tocsc()).solve(np.ascontiguousarray(at.T.toarray()))  # [used, N]
        self.kernel = at @ self.green  # [N, N]
        self.kernel = (self.kernel + self.kernel.T) / 2
        scale = np.median(np.diag(self.kernel)[:POINTS])
        self.green, self.kernel = self.green / scale, self.kernel / scale
        # Constraints: the points, then vertices of the lids' edges and of the lips' border.
        self.with_lids = slice(0, POINTS + len(lids))
        self.of_lips = np.arange(POINTS + len(lids), POINTS + len(single))
        lips = lip_edge(model)
        middle = vertices[lips, 1] > np.median(vertices[lips, 1])
        self.followers = [
            (model.vertices_of("eye_right"), self.lids[0]),
            (model.vertices_of("eye_left"), self.lids[1]),
            (model.vertices_of("upper_teeth"), lips[middle]),
            (model.vertices_of("lower_teeth", "tongue"), lips[~middle]),
        ]

    def through(self, values: np.ndarray, variance: np.ndarray, chosen: slice | np.ndarray) -> np.ndarray:
        """The field [used, C] that meets values [N, C] of the chosen constraints within their variance [N]."""
        from scipy.linalg import cho_factor, cho_solve

        matrix = self.kernel[chosen][:, chosen] + np.diag(variance)
        return self.green[:, chosen] @ cho_solve(cho_factor(matrix), values)


def displace(field: Field, fit: LinearFit, landmarks: np.ndarray, photo_size: tuple[int, int]) -> Displaced:
    """The displacement of one fitted head. landmarks: [468 or more, 3] px."""
    from scipy.sparse.csgraph import connected_components

    model, points, pose = field.prepared.model, field.prepared.points, fit.pose
    head = model.evaluate(fit.identity, fit.expression).astype(np.float64)
    camera = head @ pose.rotation.T + pose.translation
    centre = np.array(photo_size) / 2
    image = image_of(camera, pose.focal)
    target = ordered(landmarks[:POINTS, :2], landmarks) - centre
    depth = landmarks[:POINTS, 2] / pose.scale - points.depths - points.at(camera)[:, 2]
    depth = DEPTH_SHARE * (depth - np.average(depth, weights=fit.weights))
    normals = normalised(face_normals(camera, field.skin))
    corners = camera[field.skin]
    cosines = -(normals * normalised(corners.mean(1))).sum(1)
    front = cosines > EDGE_ON
    before = _areas(image, field.skin)
    certainty = np.minimum(2 * fit.visibility, 1) ** 3
    variance = CERTAIN / np.maximum(certainty, (CERTAIN / UNCERTAIN) ** 0.5) ** 2

    def folded(moved: np.ndarray) -> np.ndarray:
        ratio = _areas(image_of(moved, pose.focal), field.skin) / np.where(before == 0, 1, before)
        turned = (normalised(face_normals(moved, field.skin)) * normals).sum(1)
        return field.firm & ((front & (ratio < SMALLEST)) | ((cosines > 0) & (turned < 0)))

    # Front triangles keep their orientation in the image; all that are seen turn by less than a right angle in space.
    held = field.firm & (cosines > 0)
    firm = held & front
    reference = normals / np.linalg.norm(face_normals(camera, field.skin), axis=1)[:, None]
    triangles = HeldTriangles(
        faces=np.concatenate([field.skin[firm], field.skin[held]]),
        before=np.concatenate([before[firm], np.zeros(held.sum())]),
        reference=np.concatenate([reference[firm], reference[held]]),
    )
    for looser in LOOSER:  # where folds are left, the start is a smoother field, which misses the points at first
        moved = _moved(field, camera, image, target, depth, variance * looser, fit)
        if not folded(moved).any():
            break
        moved = unfold(
            moved, triangles, field.used, field.sides, points, target, certainty, pose.focal, fit.face_height
        )
        moved = _cleared(field, moved, folded)
        if not folded(moved).any():
            break
    folds = folded(moved)
    offsets = moved - camera
    chosen, stiff = (np.zeros(len(offsets), dtype=bool) for _ in range(2))
    for round_ in range(SMOOTHINGS):
        if not folds.any():
            break
        chosen[field.faces[np.isin(field.faces, field.skin[folds]).any(1)]] = True
        if round_ % 4 == 3:
            chosen[field.faces[chosen[field.faces].any(1)]] = True
        for _ in range(10):
            offsets[chosen] = (offsets[chosen] + (field.mean[chosen] @ offsets)) / 2
        if round_ >= SMOOTHINGS // 3:  # what folds nevertheless moves as one piece
            stiff[field.skin[folds]] = True
            members = np.flatnonzero(stiff)
            pieces = connected_components(field.mean[members][:, members], directed=False)[1]
            sizes = np.bincount(pieces)
            means = [np.bincount(pieces, column) / sizes for column in offsets[members].T]
            offsets[members] = np.stack(means, axis=1)[pieces]
        folds = folded(camera + offsets)
    moved = camera + offsets
    _tuck_sockets(field, moved)
    offsets = moved - camera
    left = target - image_of(points.at(moved), pose.focal)
    return Displaced(offsets, left, int(folds.sum()))


def ordered(target: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The targets [468, 2], with both halves of a contour at their mean where the upper lies below the lower one."""
    target = target.copy()
    down = landmarks[152, :2] - landmarks[10, :2]
    down = down / max(np.linalg.norm(down), 1e-9)
    for upper, lower in (*LIDS, LIPS):
        upper, lower = np.array(upper[1:-1]), np.array(lower[1:-1])
        crossing = np.minimum((target[lower] - target[upper]) @ down, 0)[:, None] * down
        target[upper] += crossing / 2
        target[lower] -= crossing / 2
    return target


def _moved(
    field: Field, camera: np.ndarray, image: np.ndarray, target: np.ndarray, depth: np.ndarray, variance: np.ndarray,
    fit: LinearFit,
) -> np.ndarray:  # fmt: skip
    """The vertices [V, 3] after the displacement, camera space, m."""
    model, points, pose = field.prepared.model, field.prepared.points, fit.pose
    used, moved = field.used, camera.copy()
    first = slice(0, POINTS)
    # A point is the image of a place on a triangle in space: three rounds, as the projection is not linear in it.
    plane = np.zeros((len(used), 2))
    for _ in range(3):
        moved[used, :2] = (image[used] + plane) * camera[used, 2:] / pose.focal
        rest = target - image_of(points.at(moved), pose.focal)
        plane = plane + field.through(rest, variance, first)
    moved[used, :2] = (image[used] + plane) * camera[used, 2:] / pose.focal
    # Eyeballs, teeth and tongue follow; then the lids' edges are brought onto the eyeballs, along their rays.
    for followers, leaders in field.followers:
        moved[followers] += (moved[leaders] - camera[leaders]).mean(0)
    wanted = []
    for side, lids in zip(("right", "left"), field.lids, strict=True):
        ball = model.vertices_of(f"eye_{side}")
        old, new = camera[ball].mean(0), moved[ball].mean(0)
        radius = np.linalg.norm(camera[ball] - old, axis=1).mean()
        at = np.maximum(np.linalg.norm(camera[lids] - old, axis=1), radius + CLEARANCE)
        wanted.append(np.clip(_depth_at(moved[lids], new, at) - moved[lids, 2], -DEEPEST, DEEPEST))
    values = np.concatenate([depth, *wanted])[:, None]
    of_points = DEPTH_VARIANCE / np.maximum(fit.visibility, 0.05) ** 2
    weights = np.concatenate([of_points, np.full(len(values) - POINTS, LID_VARIANCE)])
    deeper = field.through(values, weights, field.with_lids)[:, 0]
    moved[used] *= 1 + (deeper / moved[used, 2])[:, None]
    _clear_eyeballs(field, moved)
    return moved


def _cleared(field: Field, moved: np.ndarray, folded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The vertices [V, 3] after `_clear_eyeballs`, but for lids seen from the side that it folds again."""
    cleared = moved.copy()
    _clear_eyeballs(field, cleared)
    for _ in range(CLEARINGS):
        folds = folded(cleared)
        if not folds.any():
            break
        back = field.skin[folds]
        cleared[back] = moved[back]
    return cleared


def _clear_eyeballs(field: Field, moved: np.ndarray) -> None:
    """Brings skin in front of an eyeball that is too close to it nearer to the camera, in place. moved: [V, 3]."""
    model = field.prepared.model
    skin = np.unique(field.skin)
    for side in ("right", "left"):
        ball = model.vertices_of(f"eye_{side}")
        centre = moved[ball].mean(0)
        least = np.linalg.norm(moved[ball] - centre, axis=1).mean() + CLEARANCE
        border = np.intersect1d(skin, model.vertices_of(f"eye_socket_{side}"))
        close = np.setdiff1d(skin[np.linalg.norm(moved[skin] - centre, axis=1) < least], border)
        if len(close):
            depth = _depth_at(moved[close], centre, np.full(len(close), least))
            moved[close] *= np.minimum(depth / moved[close, 2], 1)[:, None]


def _tuck_sockets(field: Field, moved: np.ndarray) -> None:
    """Keeps the sockets, but for their border with the lids, within the eyeballs, in place. moved: [V, 3].

    They close the gap behind the lids only; a lid that has moved back must not uncover them.
    """
    model = field.prepared.model
    skin = np.unique(field.skin)
    for side in ("right", "left"):
        ball = model.vertices_of(f"eye_{side}")
        inner = np.setdiff1d(model.vertices_of(f"eye_socket_{side}"), skin)
        centre = moved[ball].mean(0)
        largest = SOCKET * np.linalg.norm(moved[ball] - centre, axis=1).mean()
        away = moved[inner] - centre
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        moved[inner] = centre + away * np.minimum(1, largest / np.maximum(distance, 1e-9))


def _depth_at(points: np.ndarray, centre: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Depth [N] where the rays through points [N, 3] reach distance `radius` [N] from a centre, or pass it closest."""
    rays = normalised(points)
    along = rays @ centre
    inside = radius**2 - ((along[:, None] * rays - centre) ** 2).sum(1)
    return (along - np.sqrt(np.maximum(inside, 0))) * rays[:, 2]


def _areas(image: np.ndarray, faces: np.ndarray) -> np.ndarray:  # [V, 2], [F, 3] -> [F], px^2
    a, b = image[faces[:, 1]] - image[faces[:, 0]], image[faces[:, 2]] - image[faces[:, 0]]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _laplacian(vertices: np.ndarray, faces: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Cotangent Laplacian [V, V], positive semidefinite, m^0, and the vertices' areas [V], m^2.

    Cotangents are kept within .05..10, which obtuse and needle-like triangles exceed.
    """
    count = len(vertices)
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, o = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        a, b = vertices[i] - vertices[o], vertices[j] - vertices[o]
        cotangent = (a * b).sum(1) / np.maximum(np.linalg.norm(np.cross(a, b), axis=1), 1e-12)
        rows.append(i)
        columns.append(j)
        values.append(np.clip(cotangent, 0.05, 10.0) / 2)
    half = sparse.coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count))
    weights = (half + half.T).tocsr()
    areas = np.linalg.norm(face_normals(vertices, faces), axis=1) / 6
    mass = np.bincount(faces.ravel(), np.repeat(areas, 3), count)
    return sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights, np.maximum(mass, 1e-9)
