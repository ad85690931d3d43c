"""Parts of making UV layouts: reference triangles, first layouts without flips, minimal distortion."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import factorized, splu
from scipy.spatial.distance import cdist

from renderer.mesh import normalised

ARMIJO, SHRINK = 1e-5, 0.7  # of the line search


def boundary_loops(faces: np.ndarray) -> list[list[int]]:
    """The closed boundaries of faces [F, 3], shortest first: vertices in order, opposite to the adjacent faces."""
    directed = {(face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3)}
    following = {b: a for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        vertex, loop = next(iter(following)), []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return sorted(loops, key=len)


def flattened(corners: np.ndarray) -> np.ndarray:
    """Triangles [F, 3, 3] turned into the plane: [F, 3, 2], counter-clockwise, the first corner at the origin."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    axis1 = normalised(edge1)
    axis2 = np.cross(normalised(np.cross(edge1, edge2)), axis1)
    flat = np.zeros((len(corners), 3, 2))
    flat[:, 1, 0] = np.linalg.norm(edge1, axis=1)
    flat[:, 2] = np.stack([(edge2 * axis1).sum(1), (edge2 * axis2).sum(1)], axis=1)
    return flat


def signed_areas(uvs: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Areas [F] of faces [F, 3] in the layout [V, 2], positive if counter-clockwise."""
    a, b = uvs[faces[:, 1]] - uvs[faces[:, 0]], uvs[faces[:, 2]] - uvs[faces[:, 0]]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def triangle_areas(corners: np.ndarray) -> np.ndarray:
    """Areas [F] of triangles [F, 3, 3]."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def on_circle(loop: list[int], shape: np.ndarray) -> np.ndarray:
    """Places [L, 2] on the unit circle of a loop of vertices, by arc length. shape [V, 3]."""
    lengths = np.linalg.norm(shape[loop] - shape[np.roll(loop, -1)], axis=1)
    angle = 2 * np.pi * np.concatenate([[0], np.cumsum(lengths)[:-1]]) / lengths.sum()
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def tutte_layout(faces: np.ndarray, loop: list[int], places: np.ndarray, count: int) -> np.ndarray:
    """Layout [count, 2] without flipped faces: the boundary on a convex curve, the others at their neighbours' mean.

    faces [F, 3]; loop: the boundary; places [L, 2]: of its vertices.
    """
    i, j = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    adjacency = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    adjacency.data[:] = 1
    matrix = (sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tolil()
    right = np.zeros((count, 2))
    matrix[loop] = 0
    matrix[loop, loop] = 1
    right[loop] = places
    return factorized(matrix.tocsc())(right)


def gradients(flat: np.ndarray) -> np.ndarray:
    """Gradients [F, 2, 3] of linear functions on triangles [F, 3, 2] of positive area, per value at a corner."""
    edges = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], axis=1)
    inverse = np.linalg.inv(edges)
    return np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)


def jacobians(uvs: np.ndarray, faces: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Jacobians [F, 2, 2] (row: u, v) of the map from reference triangles to a layout [V, 2]."""
    return np.einsum("fck,fdc->fkd", uvs[faces], gradient)


def dirichlet_layout(
    uvs: np.ndarray, faces: np.ndarray, flat: np.ndarray, weights: np.ndarray, on_axis: np.ndarray, iterations: int
) -> np.ndarray:
    """Layout [V, 2] of least symmetric Dirichlet energy, without flipped faces (Rabinovich et al. 2017, SLIM).

    The energy is the sum over faces of weight (s1^2 + s2^2 + 1 / s1^2 + 1 / s2^2), s1 and s2 the singular values of the
    Jacobian. Each iteration solves a reweighted least-squares problem and searches along the line to its solution,
    short of the first flip.

    uvs: where to begin, without flipped faces. faces [F, 3], flat [F, 3, 2]: reference triangles. weights [F]. on_axis:
    ids of vertices that stay at u = 0.
    """
    count, gradient = len(uvs), gradients(flat)
    rows = np.repeat(np.arange(len(faces)), 3)
    along = [
        sparse.coo_matrix((gradient[:, d].ravel(), (rows, faces.ravel())), shape=(len(faces), count)).tocsr()
        for d in (0, 1)
    ]
    free = np.setdiff1d(np.arange(2 * count), on_axis)  # u of all vertices, then v
    area_weights = np.tile(weights, 4)
    steady = 1e-8 * weights.sum() * np.mean(gradient**2) / count * sparse.identity(len(free), format="csc")
    energy = _dirichlet_energy(jacobians(uvs, faces, gradient), weights)
    for _ in range(iterations):
        jacobian = jacobians(uvs, faces, gradient)
        u, s, vt = np.linalg.svd(jacobian)
        # The proxy's weights: the energy's gradient over the distance to 1, with its limit there.
        away = np.where(np.abs(s - 1) < 1e-6, 1.0, s - 1)
        pull = np.sqrt(np.where(np.abs(s - 1) < 1e-6, 4.0, (s - s**-3) / away))
        factor = np.einsum("fij,fj,fkj->fik", u, pull, u)
        target = factor @ (u @ vt)
        matrix = sparse.vstack([
            sparse.hstack([sparse.diags(factor[:, k, 0]) @ along[d], sparse.diags(factor[:, k, 1]) @ along[d]])
            for k in (0, 1) for d in (0, 1)
        ]).tocsc()[:, free]  # fmt: skip
        wanted = np.concatenate([target[:, k, d] for k in (0, 1) for d in (0, 1)])
        current = uvs.T.ravel()
        normal = matrix.T @ sparse.diags(area_weights) @ matrix + steady
        right = matrix.T @ (area_weights * wanted) + steady @ current[free]
        solution = current.copy()
        solution[free] = splu(normal.tocsc(), permc_spec="MMD_AT_PLUS_A").solve(right)
        step = solution.reshape(2, count).T - uvs
        # The directional derivative of the energy.
        slope_of = u @ ((2 * (s - s**-3))[:, :, None] * vt)
        slope = (weights[:, None, None] * slope_of * jacobians(step, faces, gradient)).sum()
        length = min(1.0, 0.9 * _first_flip(uvs, step, faces))
        while True:
            candidate = uvs + length * step
            found = _dirichlet_energy(jacobians(candidate, faces, gradient), weights)
            if found <= energy + ARMIJO * length * slope or length < 1e-9:
                break
            length *= SHRINK
        if not found < energy:
            return uvs
        uvs, energy = candidate, found
    return uvs


def _dirichlet_energy(jacobian: np.ndarray, weights: np.ndarray) -> float:
    """Symmetric Dirichlet energy; infinite where a triangle is flipped."""
    determinant = np.linalg.det(jacobian)
    if (determinant <= 0).any():
        return np.inf
    return float((weights * (jacobian**2).sum((1, 2)) * (1 + determinant**-2.0)).sum())


def _first_flip(uvs: np.ndarray, step: np.ndarray, faces: np.ndarray) -> float:
    """The smallest positive t at which uvs + t step has a triangle without area; infinite if there is none."""
    p, q = uvs[faces[:, 1:]] - uvs[faces[:, :1]], step[faces[:, 1:]] - step[faces[:, :1]]  # [F, 2, 2]

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    a, b, c = cross(q[:, 0], q[:, 1]), cross(p[:, 0], q[:, 1]) + cross(q[:, 0], p[:, 1]), cross(p[:, 0], p[:, 1])
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = -(b + np.where(b < 0, -root, root)) / 2
        times = np.stack([middle / a, c / middle])
    times[:, b * b < 4 * a * c] = np.inf
    times[~(times > 0)] = np.inf
    return float(times.min())


def smoothed(values: np.ndarray, weights: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """Weighted Gaussian mean [F] of face values [F]. weights [F], centres [F, 3]."""
    kernel = np.exp(-0.5 * (cdist(centres, centres) / radius) ** 2) * weights
    return kernel @ values / kernel.sum(1)
