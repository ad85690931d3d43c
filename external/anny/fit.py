"""Fits the head model to the points of MediaPipe Face Mesh.

A full perspective camera, the head's pose, identity and expression are found by Gauss-Newton steps with bounds on the
image positions and, with little weight, the relative depths of the points (robust weights: Geman and McClure 1987).
Only the pose and the projection are not linear, so the Jacobian is analytic.
"""

from dataclasses import dataclass

import numpy as np

from external.anny.head_layout import ear_area
from external.anny.head_model import HeadModel
from external.anny.points import CHIN, LIDS, LIPS, POINTS, TOP, HeadPoints
from external.geometry import FaceGeometryError
from renderer.mesh import normalised, vertex_normals

# Camera. Without a focal length the distance is found with the prior 1 / distance = .8 +- .4 per metre.
INVERSE_DISTANCE, INVERSE_DISTANCE_SIGMA = 0.8, 0.4  # 1/m
INVERSE_DISTANCE_BOUNDS = (0.12, 3.0)  # 1/m: 33 cm to 8 m

# Standard deviations of the residuals, in shares of the face's height
POINT_SIGMA, DEPTH_SIGMA = 0.02, 0.12
ROBUST = (0.08, 0.05, 0.03, 0.02)  # scale of the robust weights, iteration by iteration, the last one from there on
# Points that are turned away: Face Mesh invents them. Weight by the cosine between normal and view.
HIDDEN_COSINE, SEEN_COSINE, HIDDEN_WEIGHT = 0.0, 0.35, 0.02
AROUND_EDGES = 0.015  # m
# Lids: the height of the gap between them, in shares of its width, from which on they are surely not all open, and at
# which they are closed. Narrow eyes have .18, closed ones .06 to .10 by Face Mesh's points.
OPEN_LIDS, CLOSED_LIDS = 0.18, 0.10

# Priors of the coefficients: standard deviations by group, of the mean of a left-right pair and of half its difference.
IDENTITY_SIGMA = {
    "phenotype": 0.3, "head": 0.25, "forehead": 0.25, "eyebrows": 0.4, "eyes": 0.4, "nose": 0.4, "cheek": 0.4,
    "mouth": 0.4, "chin": 0.4,
}  # fmt: skip
UNSEEN_GROUPS = ("ears", "neck")  # the points say nothing about them: 0
ASYMMETRY = 0.25  # sigma of half a difference, relative to that of the mean
SIDEWAYS_SIGMA = 0.1
# Shapes in depth, which one picture hardly shows, and that of a baby's head are held closer.
DEPTH_WORDS, DEPTH_IDENTITY_SIGMA = ("backward-forward", "depth", "push", "volume", "in-out", "hump", "age-baby"), 0.15
# Sizes of the whole head and places of it on the neck, which a picture does not show, and its back.
UNSEEN_AXES = (
    "height-min-max", "proportions-ideal-uncommon", "head-trans-in-out", "head-trans-backward-forward",
    "head-trans-down-up", "head-back-scale-depth-decr-incr",
)  # fmt: skip
# The points do not show the ears: they reach from the brows to a little below the nose, as
# in the photos that show both.
EAR_AXES = tuple((f"{side}-ear-scale-vert-decr-incr", f"{side}-ear-trans-down-up") for side in "lr")
BROWS, NOSE_BASE = (105, 334), 94  # points
EAR_ENDS = (1.05, -0.03)  # shares of the way from the nose's base to the brows
EXPRESSION_SIGMA, EXPRESSION_ASYMMETRY = 0.5, 0.4
EXPRESSION_COST = 1.0  # of the sum of the weights: keeps those at 0 that explain little
# Expressions that a turned head resembles, or that the points do not show.
UNUSED_EXPRESSIONS = (
    "jawForward", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "tongueOut", "cheekPuff",
    *(f"eyeLook{way}{side}" for way in ("Up", "Down", "In", "Out") for side in ("Left", "Right")),
)  # fmt: skip

POSE_ITERATIONS, ITERATIONS = 6, 30
CONVERGED = 2e-3  # largest change of a coefficient


class FitError(FaceGeometryError):
    """The head model does not fit the points of a face."""


@dataclass(frozen=True)
class Pose:
    """Where the head is: x = cx + (scale X + u) / (1 + Z / distance), with (X, Y, Z) the rotated head."""

    rotation: np.ndarray  # [3, 3], head to camera
    u: float  # px from the principal point: the image of the head's origin
    v: float
    scale: float  # px/m at the head's origin
    inverse_distance: float  # 1/m

    @property
    def focal(self) -> float:
        """px."""
        return self.scale / self.inverse_distance

    @property
    def translation(self) -> np.ndarray:  # [3], m
        return np.array([self.u / self.scale, self.v / self.scale, 1 / self.inverse_distance])


@dataclass(frozen=True)
class LinearFit:
    """Pose and coefficients, before the displacement."""

    pose: Pose
    identity: np.ndarray  # [A], within the model's range
    expression: np.ndarray  # [52], 0..1
    residuals: np.ndarray  # [468, 2] px: the photo's points minus the fitted ones
    visibility: np.ndarray  # [468], 0..1, by the angle between normal and view
    weights: np.ndarray  # [468], 0..1, robust weight times visibility
    face_height: float  # px


class PointModel:
    """The head model at the points, and the priors. Made once."""

    def __init__(self, model: HeadModel, points: HeadPoints) -> None:
        self.model, self.points = model, points
        self.neutral = points.at(model.vertices.astype(np.float64))
        self.positive = points.at(model.identity_positive).astype(np.float64)
        self.negative = -points.at(model.identity_negative).astype(np.float64)  # derivative below 0
        self.expressions = points.at(model.expressions).astype(np.float64)
        normals = vertex_normals(model.vertices.astype(np.float64), model.triangles[model.part("skin")])
        self.normals = normalised(points.at(normals))
        # The edges of lids and lips curve inwards: what counts there is how the skin around them faces.
        edges = np.unique([point for halves in (*LIDS, LIPS) for half in halves for point in half])
        around = np.linalg.norm(self.neutral[edges][:, None] - self.neutral, axis=-1) < AROUND_EDGES
        around[:, edges] = False
        self.normals[edges] = normalised(around @ self.normals)
        axes = len(model.identity_names)
        unseen = np.isin(model.identity_groups, UNSEEN_GROUPS) | np.isin(model.identity_names, UNSEEN_AXES)
        unused = np.isin(model.expression_names, UNUSED_EXPRESSIONS)
        self.blinks = np.array([model.expression_names.index(f"eyeBlink{side}") for side in ("Right", "Left")])
        self.low = np.concatenate([np.where(unseen, 0, model.identity_minimum), np.zeros(len(unused))])
        self.high = np.concatenate([np.where(unseen, 0.0, 1.0), np.where(unused, 0.0, 1.0)])
        sigma = np.array([IDENTITY_SIGMA.get(group, 1.0) for group in model.identity_groups])
        deep = np.array([any(word in name for word in DEPTH_WORDS) for name in model.identity_names])
        sigma[deep] = np.minimum(sigma[deep], DEPTH_IDENTITY_SIGMA)
        sigma[model.identity_mirror_sign < 0] = SIDEWAYS_SIGMA
        self.precision = np.zeros((axes + 52, axes + 52))
        self.precision[:axes, :axes] = _precision(sigma, model.identity_mirror, ASYMMETRY)
        acting = np.full(52, EXPRESSION_SIGMA)
        self.precision[axes:, axes:] = _precision(acting, model.expression_mirror, EXPRESSION_ASYMMETRY)
        self.cost = np.concatenate([np.zeros(axes), np.full(52, EXPRESSION_COST)])
        of_ears = np.unique(model.triangles[ear_area(model)])
        self.ears = tuple(of_ears[side * model.vertices[of_ears, 0] > 0] for side in (1, -1))  # left, right

    def with_ears(self, identity: np.ndarray) -> np.ndarray:
        """The coefficients [A] with the ears in their usual place and size, as far as their axes reach."""
        identity, model = identity.copy(), self.model
        for names, ear in zip(EAR_AXES, self.ears, strict=True):
            scale, shift = (model.identity_names.index(name) for name in names)
            for _ in range(3):  # the axes are linear on either side of 0 only, and the ear's ends may change
                head = model.evaluate(identity).astype(np.float64)
                points = self.points.at(head)[:, 1]
                base = points[NOSE_BASE]
                wanted = base + np.array(EAR_ENDS) * (points[list(BROWS)].mean() - base)
                ends = ear[[head[ear, 1].argmax(), head[ear, 1].argmin()]]
                slopes = [
                    np.where(identity[k] < 0, -model.identity_negative[k, ends, 1], model.identity_positive[k, ends, 1])
                    for k in (scale, shift)
                ]
                step = np.linalg.solve(np.stack(slopes, axis=1), wanted - head[ends, 1])
                identity[[scale, shift]] = np.clip(identity[[scale, shift]] + step, -1, 1)
        return identity

    def basis(self, coefficients: np.ndarray) -> np.ndarray:
        """Derivative [A + 52, 468, 3] of the points by the coefficients, on the side where they are."""
        identity = coefficients[: len(self.positive), None, None]
        return np.concatenate([np.where(identity < 0, self.negative, self.positive), self.expressions])


def fit_points(
    landmarks: np.ndarray, photo_size: tuple[int, int], model: PointModel, focal: float | None = None
) -> LinearFit:
    """Pose, identity and expression of one face.

    landmarks: [468 or more, 3] from `find_landmarks`, px. photo_size: width and height, px; the principal point is the
    centre. focal: px, where it is known. Raises FitError.
    """
    centre = np.array(photo_size) / 2
    target, depth = landmarks[:POINTS, :2] - centre, landmarks[:POINTS, 2]
    height = float(np.linalg.norm(landmarks[TOP] - landmarks[CHIN]))
    if not (np.isfinite(landmarks).all() and height > 1):
        raise FitError("the points are not those of a face")
    pose = _initial_pose(model.neutral, landmarks[:POINTS] - (*centre, 0), focal)
    coefficients = np.zeros(len(model.cost))
    count = len(coefficients)
    inside = points_inside(landmarks, photo_size)
    low_bound = model.low.copy()
    low_bound[len(model.positive) + model.blinks] = least_blinks(landmarks)
    prior = np.zeros((7 + count, 7 + count))
    prior[7:, 7:] = model.precision
    shape = model.neutral.copy()
    for iteration in range(POSE_ITERATIONS + ITERATIONS):
        posing = iteration < POSE_ITERATIONS
        robust = ROBUST[min(max(iteration - POSE_ITERATIONS + 1, 0), len(ROBUST) - 1)] * height
        basis = model.basis(coefficients)[: 0 if posing else None]
        residuals, jacobian = _projection(pose, shape, basis, target, depth, model.points.depths, focal)
        seen = _facing(pose, model.normals, shape) * inside
        error = np.linalg.norm(residuals[:, :2], axis=1)
        weights = seen / (1 + (error / robust) ** 2) ** 2
        # The offset of the depths is free: both sides are taken about their means.
        share = weights / weights.sum()
        residuals[:, 2] -= share @ residuals[:, 2]
        jacobian[:, :, 2] -= (jacobian[:, :, 2] @ share)[:, None]
        active = len(jacobian)
        precision = weights[:, None] / (np.array([POINT_SIGMA, POINT_SIGMA, DEPTH_SIGMA]) * height) ** 2
        flat = jacobian.reshape(active, -1)
        weighted = flat * precision.ravel()
        hessian = weighted @ flat.T + prior[:active, :active]
        gradient = -weighted @ residuals.ravel()
        if not posing:
            gradient[7:] += model.precision @ coefficients + model.cost
        if focal is None:
            hessian[6, 6] += INVERSE_DISTANCE_SIGMA**-2
            gradient[6] += (pose.inverse_distance - INVERSE_DISTANCE) * INVERSE_DISTANCE_SIGMA**-2
        hessian[np.arange(7), np.arange(7)] *= 1 + 1e-6
        low = np.concatenate([[-0.5] * 3, [-np.inf] * 2, [-0.5 * pose.scale, -1.0], low_bound - coefficients])
        high = np.concatenate([[0.5] * 3, [np.inf] * 2, [0.5 * pose.scale, 1.0], model.high - coefficients])
        low[6] = INVERSE_DISTANCE_BOUNDS[0] - pose.inverse_distance
        high[6] = INVERSE_DISTANCE_BOUNDS[1] - pose.inverse_distance
        if focal is not None:
            low[6] = high[6] = 0
        step = _bounded_minimum(hessian, gradient, low[:active], high[:active])
        if not np.isfinite(step).all():
            raise FitError("the points are not those of a face")
        pose = _moved(pose, step[:7], focal)
        if posing:
            continue
        coefficients = np.clip(coefficients + step[7:], low_bound, model.high)
        shape = model.neutral + np.tensordot(coefficients, model.basis(coefficients), axes=1)
        if np.abs(step[7:]).max() < CONVERGED:
            break
    residuals, _ = _projection(pose, shape, basis[:0], target, depth, model.points.depths, focal)
    seen = _facing(pose, model.normals, shape) * inside
    weights = seen / (1 + (np.linalg.norm(residuals[:, :2], axis=1) / robust) ** 2) ** 2
    axes = len(model.positive)
    coefficients[:axes] = model.with_ears(coefficients[:axes])
    return LinearFit(pose, coefficients[:axes], coefficients[axes:], residuals[:, :2], seen, weights, height)


def points_inside(landmarks: np.ndarray, photo_size: tuple[int, int]) -> np.ndarray:
    """Weights [468] of points: 1, or HIDDEN_WEIGHT where they lie outside the photo and Face Mesh has invented them."""
    places = landmarks[:POINTS, :2]
    return np.where(((places >= 0) & (places <= photo_size)).all(axis=1), 1.0, HIDDEN_WEIGHT)


def least_blinks(landmarks: np.ndarray) -> np.ndarray:
    """Smallest weights [2] of eyeBlinkRight and eyeBlinkLeft, 0..1: how far the points show closed lids.

    Without them the fit takes closed eyes for narrow ones, and the eyes of the head at rest stay half shut.
    """
    gaps = []
    for upper, lower in LIDS:
        across = np.linalg.norm(landmarks[upper[0], :2] - landmarks[upper[-1], :2])
        open_by = np.linalg.norm(landmarks[list(upper[3:6]), :2] - landmarks[list(lower[3:6]), :2], axis=1).mean()
        gaps.append(open_by / max(across, 1e-9))
    return np.clip((OPEN_LIDS - np.array(gaps)) / (OPEN_LIDS - CLOSED_LIDS), 0, 1)


def _precision(sigma: np.ndarray, mirror: np.ndarray, asymmetry: float) -> np.ndarray:
    """Precision [N, N]: the mean of a pair has standard deviation sigma, half its difference asymmetry * sigma."""
    count = len(sigma)
    matrix = np.diag(sigma**-2)
    for one in np.flatnonzero(mirror > np.arange(count)):
        other = mirror[one]
        mean, half = sigma[one] ** -2, (asymmetry * sigma[one]) ** -2
        matrix[[one, other], [one, other]] = (mean + half) / 4
        matrix[[one, other], [other, one]] = (mean - half) / 4
    return matrix


def _initial_pose(shape: np.ndarray, points: np.ndarray, focal: float | None) -> Pose:
    """Weak perspective from the similarity of the points [468, 3], px, with the shape, m (Umeyama 1991)."""
    source, aim = shape - shape.mean(0), points - points.mean(0)
    u, _, vt = np.linalg.svd(aim.T @ source)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = np.linalg.norm(aim) / np.linalg.norm(source)
    at = points.mean(0) - scale * rotation @ shape.mean(0)
    return Pose(rotation, at[0], at[1], scale, INVERSE_DISTANCE if focal is None else scale / focal)


def _moved(pose: Pose, step: np.ndarray, focal: float | None) -> Pose:
    from scipy.spatial.transform import Rotation

    scale = pose.scale + step[5]
    inverse = pose.inverse_distance + step[6] if focal is None else scale / focal
    rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ pose.rotation
    return Pose(rotation, pose.u + step[3], pose.v + step[4], scale, inverse)


def _projection(
    pose: Pose, shape: np.ndarray, basis: np.ndarray, target: np.ndarray, depth: np.ndarray, behind: np.ndarray,
    focal: float | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Residuals [N, 3] (x, y, depth, px) and the Jacobian [7 + K, N, 3] of the projection.

    shape [N, 3], basis [K, N, 3]: head frame, m. target [N, 2], depth [N]: px; depth is that of places `behind` [N], m,
    the points. The depth's offset is left in.
    """
    turned = shape @ pose.rotation.T
    near = 1 / (1 + pose.inverse_distance * turned[:, 2])
    image = (pose.scale * turned[:, :2] + (pose.u, pose.v)) * near[:, None]
    residuals = np.concatenate([target - image, (depth - pose.scale * (turned[:, 2] + behind))[:, None]], axis=1)

    def moved(by: np.ndarray) -> np.ndarray:  # [K, N, 3], m, camera axes -> [K, N, 3], px
        plane = pose.scale * by[..., :2] - (pose.inverse_distance * by[..., 2])[..., None] * image
        return np.concatenate([plane * near[:, None], pose.scale * by[..., 2:]], axis=-1)

    jacobian = np.zeros((7 + len(basis), len(shape), 3))
    jacobian[:3] = moved(np.cross(np.eye(3)[:, None], turned))
    jacobian[3, :, 0] = jacobian[4, :, 1] = near
    jacobian[5, :, :2], jacobian[5, :, 2] = turned[:, :2] * near[:, None], turned[:, 2] + behind
    distance = -image * (turned[:, 2] * near)[:, None]
    if focal is None:
        jacobian[6, :, :2] = distance
    else:
        jacobian[5, :, :2] += distance / focal
    if len(basis):
        jacobian[7:] = moved(basis @ pose.rotation.T)
    return residuals, jacobian


def _facing(pose: Pose, normals: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Weights [N] of points by the cosine between normal and view."""
    rays = normalised(shape @ pose.rotation.T + pose.translation)
    cosine = -((normals @ pose.rotation.T) * rays).sum(axis=1)
    step = np.clip((cosine - HIDDEN_COSINE) / (SEEN_COSINE - HIDDEN_COSINE), 0, 1)
    return HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * step * step * (3 - 2 * step)


def _bounded_minimum(hessian: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The x in low..high that minimises x H x / 2 + g x, by an active set."""
    from scipy.linalg import cho_factor, cho_solve

    x = np.clip(np.zeros_like(gradient), low, high)
    free = low < high
    for _ in range(40):
        held = ~free
        right = -(gradient[free] + hessian[np.ix_(free, held)] @ x[held])
        x[free] = cho_solve(cho_factor(hessian[np.ix_(free, free)]), right)
        outside = (x < low) | (x > high)
        x = np.clip(x, low, high)
        if outside.any():
            free &= ~outside
            continue
        slope = hessian @ x + gradient
        release = held & (low < high) & (((x <= low) & (slope < -1e-9)) | ((x >= high) & (slope > 1e-9)))
        if not release.any():
            break
        free |= release
    return x
