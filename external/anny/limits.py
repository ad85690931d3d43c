"""Limits beyond which a head is not made of a face: its points are uncertain, or the head is none that people have.

The numbers were chosen on pictures of `tests/benchmarks/bad_photos.py` and `bench_poses.py`.
"""

import numpy as np

from external.anny.fit import FitError
from external.anny.head_model import HeadModel
from external.anny.points import CHIN, POINTS, TOP, HeadPoints
from external.anny.reconstruction import HeadFit

# Mean distance of the points from those in the mirrored photo, share of the face's height. Sure points have .4 to 1 %;
# from 2 % on their own error is about as large.
LARGEST_SPREAD = 0.03
NO_FACE_SPREAD = 0.06  # there is no face, or not this way up
LARGEST_OUTSIDE = 0.45  # of the points that lie outside the photo: all of one half
LARGEST_SHAPE = 0.010  # m, root mean square of the face at rest from the model's mean face, without its size
LARGEST_ASYMMETRY = 0.006  # m, root mean square of the face at rest from its mirror image
LARGEST_EXPRESSION = 8.0  # sum of the weights


def spread_of(landmarks: np.ndarray, mirrored: np.ndarray) -> float:
    """Mean distance of points [468 or more, 3], px, from those found in the mirrored photo, share of the face's height."""
    height = max(np.linalg.norm(landmarks[TOP] - landmarks[CHIN]), 1e-9)
    return float(np.linalg.norm(landmarks[:POINTS, :2] - mirrored[:POINTS, :2], axis=1).mean() / height)


def check_points(landmarks: np.ndarray, photo_size: tuple[int, int], spread: float) -> None:
    """Raises FitError for points [468 or more, 3], px, beyond the limits. photo_size: width, height. spread: spread_of."""
    if spread > LARGEST_SPREAD:
        raise FitError(
            f"the points differ by {spread:.1%} of the face's height from those in the mirrored photo; "
            f"{LARGEST_SPREAD:.0%} is allowed"
        )
    places = landmarks[:POINTS, :2]
    outside = ((places < 0) | (places > photo_size)).any(axis=1).mean()
    if outside > LARGEST_OUTSIDE:
        raise FitError(f"{outside:.0%} of the face lies outside the photo; {LARGEST_OUTSIDE:.0%} is allowed")


def check_head(fit: HeadFit, model: HeadModel, points: HeadPoints) -> None:
    """Raises FitError for a head whose face or expression is none that people have."""
    face = _face(model, points)
    size = _distance(model.vertices[face].astype(np.float64), fit.neutral[face])
    mirrored = (fit.neutral[model.mirror] * (-1, 1, 1))[face]
    skew = np.sqrt(((fit.neutral[face] - mirrored) ** 2).sum(axis=1).mean())
    for value, limit, what in (
        (size, LARGEST_SHAPE, "from the mean face"),
        (skew, LARGEST_ASYMMETRY, "from its mirror image"),
    ):
        if value > limit:
            raise FitError(f"the face at rest lies {1000 * value:.0f} mm {what}; {1000 * limit:.0f} mm are allowed")
    acting = sum(fit.expression.values())
    if acting > LARGEST_EXPRESSION:
        raise FitError(f"the weights of the expressions sum up to {acting:.1f}; {LARGEST_EXPRESSION:.0f} is allowed")


def _face(model: HeadModel, points: HeadPoints) -> np.ndarray:
    """Ids of the skin's vertices within the box of the points: brow to chin."""
    at, skin = points.at(model.vertices.astype(np.float64)), model.vertices_of("skin")
    inside = (model.vertices[skin] >= at.min(axis=0)) & (model.vertices[skin] <= at.max(axis=0))
    return skin[inside.all(axis=1)]


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square distance of points [N, 3] after the best similarity (Umeyama 1991), in the first ones' size."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    u, singular, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.linalg.det(u @ vt)])
    turned = b @ (u * sign @ vt).T * ((singular * sign).sum() / (b**2).sum())
    return float(np.sqrt(((a - turned) ** 2).sum(axis=1).mean()))
