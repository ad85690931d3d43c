"""Opens the folds of a displaced head by small moves in the image, with the points of the photo still met.

Gauss-Newton on the distances of the points, on the differences between the moves of neighbours, and on how much the
area of each triangle falls short of a margin. Only vertices near a fold move, along the image plane: their depths stay.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from external.anny.points import HeadPoints

SMALLEST = 0.02  # of a triangle's area, that counts as a fold
ROUNDS, AROUND, MARGIN = 28, 0.012, 0.08  # -; m from a fold; share of the area that is aimed at
POINT_WEIGHT, SMOOTH_WEIGHT = 12.0, 0.5  # 1/px in a face of USUAL_HEIGHT
USUAL_HEIGHT = 660  # px
FOLD_WEIGHT, STRICTER = 100.0, 2.25  # of squared shares of area; factor a round, while there are folds
LONGEST, SHORTEST, STILL = 4.0, 0.05, 0.1  # px in a round; smallest share of it; px in a round that ends it


@dataclass(frozen=True)
class HeldTriangles:
    """Triangles that may not fold, and how their areas are measured. F triangles.

    As a share of the area before: in the image, or in space, where the area counts along the normal before.
    """

    faces: np.ndarray  # [F, 3]
    before: np.ndarray  # [F] twice the signed area in the image, px^2; 0: measured in space
    reference: np.ndarray  # [F, 3] unit normal before over twice the area before, 1/m^2; not used where before is not 0

    def areas(self, moved: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
        """Shares [F] at vertices [V, 3], and their slopes [F, 3, 2] by the image positions of the corners."""
        flat = (self.before != 0)[:, None, None]
        corners = moved[self.faces]
        per_pixel = np.where(flat, 1, corners[..., 2:] / focal)  # 1 or m/px
        space = np.concatenate([image_of(corners, focal) * per_pixel, focal * per_pixel], axis=2)
        up = np.where(flat[:, 0], (0, 0, 1) / np.where(flat, self.before[:, None, None], 1)[:, 0], self.reference)
        slopes = np.empty((*self.faces.shape, 2))
        for k in range(3):
            slopes[:, k] = np.cross(up, space[:, (k + 2) % 3] - space[:, (k + 1) % 3])[:, :2]
        areas = (np.cross(space[:, 1] - space[:, 0], space[:, 2] - space[:, 0]) * up).sum(axis=1)
        return areas, slopes * per_pixel


def image_of(points: np.ndarray, focal: float) -> np.ndarray:
    """Image positions [..., 2], px from the principal point, of points [..., 3] in camera space."""
    return focal * points[..., :2] / points[..., 2:]


def unfold(
    moved: np.ndarray,
    triangles: HeldTriangles,
    movable: np.ndarray,
    sides: sparse.csr_matrix,
    points: HeadPoints,
    target: np.ndarray,
    visibility: np.ndarray,
    focal: float,
    face_height: float,
) -> np.ndarray:
    """The vertices [V, 3] after the moves.

    moved: [V, 3] camera space, m, with folds. movable: ids of the vertices that may move. sides: [V, V] Laplacian of
    the edges. target: [468, 2] px from the principal point. visibility: [468], 0..1. face_height: px.
    """
    from scipy.sparse.linalg import splu
    from scipy.spatial import cKDTree

    unit = face_height / USUAL_HEIGHT
    precision = (POINT_WEIGHT / unit * np.where(visibility > 0.1, visibility, 0)) ** 2
    free = np.zeros(len(moved), dtype=bool)
    areas, slopes = triangles.areas(moved, focal)
    weight = FOLD_WEIGHT
    if (areas > SMALLEST).all():
        return moved
    for round_ in range(ROUNDS):
        folds = areas <= SMALLEST
        if folds.any() and round_ % 4 == 0:
            tree = cKDTree(moved[np.unique(triangles.faces[folds])])
            free[movable] |= tree.query(moved[movable], distance_upper_bound=AROUND)[0] < AROUND
            count = int(free.sum())
            index = np.full(len(moved), -1)
            index[free] = np.arange(count)
            rows, corners = np.nonzero(free[points.vertices])
            entries = points.barycentrics[rows, corners], (rows, index[points.vertices[rows, corners]])
            at = sparse.coo_matrix(entries, (len(points.vertices), count)).tocsr()
            smooth = sides[free][:, free] * (SMOOTH_WEIGHT / unit) ** 2
            fixed = sparse.kron(sparse.identity(2), at.T @ sparse.diags(precision) @ at + smooth)
            move, start = np.zeros((count, 2)), image_of(moved[free], focal)
        short = np.flatnonzero(areas < MARGIN)
        rows, corners = np.nonzero(free[triangles.faces[short]])
        columns = index[triangles.faces[short[rows], corners]]
        entries = slopes[short[rows], corners].T.ravel(), (np.tile(rows, 2), np.append(columns, columns + count))
        jacobian = sparse.coo_matrix(entries, (len(short), 2 * count)).tocsr()
        rest = target - image_of(points.at(moved), focal)
        gradient = (smooth @ move - at.T @ (precision[:, None] * rest)).T.ravel()
        gradient -= weight * (jacobian.T @ (MARGIN - areas[short]))
        step = -splu((fixed + weight * (jacobian.T @ jacobian)).tocsc()).solve(gradient).reshape(2, count).T
        cost, longest = _cost(rest, precision, move, smooth, areas, weight), np.abs(step).max()
        share = first = min(1.0, LONGEST * unit / longest)
        while True:
            tried, tried_move = moved.copy(), move + share * step
            tried[free, :2] = (start + tried_move) * (moved[free, 2:] / focal)
            areas, slopes = triangles.areas(tried, focal)
            rest = target - image_of(points.at(tried), focal)
            if share <= SHORTEST * first or _cost(rest, precision, tried_move, smooth, areas, weight) < cost:
                break
            share /= 2
        moved, move = tried, tried_move
        if (areas <= SMALLEST).any():
            weight *= STRICTER
        elif share <= SHORTEST * first or share * longest < STILL * unit:
            break
    return moved


def _cost(
    rest: np.ndarray, precision: np.ndarray, move: np.ndarray, smooth: sparse.csr_matrix, areas: np.ndarray,
    weight: float,
) -> float:  # fmt: skip
    """What a round reduces. rest: [468, 2], precision: [468], move: [N, 2], smooth: [N, N], areas: [F]."""
    of_points = (precision[:, None] * rest**2).sum()
    return of_points + (move * (smooth @ move)).sum() + weight * (np.maximum(MARGIN - areas, 0) ** 2).sum()
