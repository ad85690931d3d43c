"""Smooth subdivision of a triangle mesh as one fixed sparse matrix.

Loop's scheme (Loop 1987, Warren's vertex weights, cubic B-spline rules on the boundary). A product with the matrix
subdivides every quantity that is linear in the vertices (positions, UVs). Loop's surface does not pass through its
control points. With `interpolating`, `subdivision` first solves for the control points whose subdivided mesh passes
through the given points, so that measured positions are preserved.
"""

import numpy as np
from scipy import sparse


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges of faces [F, 3]. Raises ValueError where an edge has three faces.

    Returns unique edges [E, 2] (sorted), the edge of each face side [F, 3] (side k joins corners k and k+1), and the
    corners opposite each edge [E, 2], with -1 where the edge is on the boundary.
    """
    sides = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1)  # [F, 3, 2]
    edges, inverse, counts = np.unique(
        np.sort(sides.reshape(-1, 2), axis=1), axis=0, return_inverse=True, return_counts=True
    )
    if counts.max() > 2:
        raise ValueError(f"edge {edges[counts.argmax()].tolist()} has {counts.max()} faces; a surface has at most 2")
    inverse = inverse.reshape(-1)
    opposite = np.full((len(edges), 2), -1)
    corners = np.roll(faces, -2, axis=1).reshape(-1)
    order = np.argsort(inverse, kind="stable")
    first = np.searchsorted(inverse[order], np.arange(len(edges)))
    opposite[:, 0] = corners[order[first]]
    inner = counts == 2
    opposite[inner, 1] = corners[order[first[inner] + 1]]
    return edges, inverse.reshape(-1, 3), opposite


def loop_step(faces: np.ndarray, vertex_count: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One step of Loop subdivision.

    faces: int [F, 3]. Returns the matrix [V + E, V] and faces [4F, 3]: the first V rows move the old vertices, row
    V + e makes the vertex on edge e. Face f becomes faces 4f .. 4f+3. Raises ValueError where an edge has three faces.
    """
    edges, side_edges, opposite = _edges(faces)
    inner = opposite[:, 1] >= 0
    rows, columns, weights = [], [], []

    def add(row: np.ndarray, column: np.ndarray, weight: np.ndarray | float) -> None:
        rows.append(row)
        columns.append(column)
        weights.append(np.broadcast_to(weight, np.shape(row)))

    row = vertex_count + np.arange(len(edges))
    for end in (0, 1):
        add(row, edges[:, end], np.where(inner, 3 / 8, 1 / 2))
        add(row[inner], opposite[inner, end], 1 / 8)

    on_boundary = np.zeros(vertex_count, bool)
    on_boundary[edges[~inner]] = True
    valence = np.bincount(edges.reshape(-1), minlength=vertex_count)
    beta = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    vertices = np.arange(vertex_count)
    centre = np.where(on_boundary, 3 / 4, 1 - valence * beta)
    add(vertices, vertices, np.where(valence == 0, 1.0, centre))
    for a, b in ((0, 1), (1, 0)):
        start, end = edges[:, a], edges[:, b]
        free = ~on_boundary[start]
        add(start[free], end[free], beta[start[free]])
        add(start[~inner], end[~inner], 1 / 8)

    matrix = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(vertex_count + len(edges), vertex_count),
    )
    a, b, c = faces.T
    ab, bc, ca = (vertex_count + side_edges).T
    children = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]])  # [4, 3, F]
    return matrix, children.transpose(2, 0, 1).reshape(-1, 3)


def subdivision(
    faces: np.ndarray, vertex_count: int, levels: int, interpolating: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Subdivision over several levels.

    faces: int [F, 3]. interpolating: whether the result passes through the given points or is Loop's smoother surface.
    Returns the matrix [V', V], dense float64, and faces [4^levels F, 3]; with `interpolating`, the first V rows are the
    identity.
    """
    matrix = sparse.identity(vertex_count, format="csr")
    for _ in range(levels):
        step, faces = loop_step(faces, matrix.shape[0])
        matrix = step @ matrix
    matrix = matrix.toarray()
    if interpolating and levels:
        matrix = np.linalg.solve(matrix[:vertex_count].T, matrix.T).T
        matrix[:vertex_count] = np.eye(vertex_count)
    return matrix, faces
