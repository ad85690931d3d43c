"""A whole head from the points of one face: fit, displacement, gaze, and the parts that an animation needs."""

from dataclasses import dataclass

import numpy as np

from external.anny.displacement import Displaced, Field, displace
from external.anny.fit import FitError, LinearFit, PointModel, fit_points
from external.anny.head_model import HeadModel
from external.anny.points import IRISES, POINTS, HeadPoints, load_head_points
from external.anny.teeth import closed_lips, find_teeth, lip_drop, opened, place_teeth, usual_place
from renderer.camera import Camera
from renderer.mesh import normalised

LARGEST_TURN = np.radians(40)  # of an eye
# Limits, beyond which the head is not this face's
LARGEST_ERROR = 0.018  # mean error of the visible points before the displacement, share of the face's height
LARGEST_MOVE = 0.006  # m, root mean square of the displacement at the visible points
LARGEST_YAW = np.radians(72)


@dataclass(frozen=True)
class HeadFit:
    """A head as it is in the photo and at rest. V vertices of the model, in metres."""

    camera: Camera  # of the whole photo
    vertices: np.ndarray  # [V, 3] float64, camera space: as in the photo, eyes turned
    neutral: np.ndarray  # [V, 3] float64, head frame: at rest, looking along +z, with the displacement, lips closed
    lips: np.ndarray  # [V, 3] float64, head frame: what opens the lips as in the photo, added to neutral and expression
    head_to_camera: np.ndarray  # [4, 4] rigid
    identity: np.ndarray  # [A], the model's coefficients; not to be written to any output
    expression: dict[str, float]  # weights above 0 by ARKit's names. eyeLook... are 0: the eyes turn by eye_directions
    eye_centres: np.ndarray  # [2, 3] left, right; head frame, at rest
    eye_directions: np.ndarray  # [2, 3] left, right; head frame, where the eyes look in the photo, length 1
    visibility: np.ndarray  # [468], 0..1: whether a point's skin faces the camera
    error_before: np.ndarray  # [468] px, before the displacement
    error: np.ndarray  # [468] px, after it
    face_height: float  # px


class HeadFitter:
    """Fits heads; what depends on the model alone is made here, once (.5 s)."""

    def __init__(self, model: HeadModel, points: HeadPoints | None = None) -> None:
        self.model = model
        self.prepared = PointModel(model, points or load_head_points())
        self.field = Field(self.prepared)

    def fit(
        self, landmarks: np.ndarray, photo_size: tuple[int, int], focal: float | None = None, photo: np.ndarray | None = None
    ) -> HeadFit:  # fmt: skip
        """The head of one face.

        landmarks: [478, 3] from `find_landmarks(..., irises=True)`; with [468, 3] the eyes look ahead. photo_size:
        width, height, px. focal: px, where it is known. photo: uint8 [H, W, 3], upright, shows where the teeth are.
        Raises FitError where the head is not that of the points.
        """
        landmarks = np.asarray(landmarks, dtype=np.float64)
        if landmarks.ndim != 2 or landmarks.shape[1] != 3 or len(landmarks) < POINTS:
            raise FitError(f"{landmarks.shape} points were given; 468 or 478 with depth are needed")
        linear = fit_points(landmarks, photo_size, self.prepared, focal)
        check_fit(linear)
        displaced = displace(self.field, linear, landmarks, photo_size)
        check_displacement(linear, displaced, self.prepared)
        return self._result(linear, displaced, landmarks, photo_size, photo)

    def _result(
        self, linear: LinearFit, displaced: Displaced, landmarks: np.ndarray, size: tuple[int, int], photo: np.ndarray | None
    ) -> HeadFit:  # fmt: skip
        model, pose = self.model, linear.pose
        transform = np.eye(4)
        transform[:3, :3], transform[:3, 3] = pose.rotation, pose.translation
        width, height = size
        camera = Camera(width, height, pose.focal, pose.focal, width / 2, height / 2)
        neutral = model.evaluate(linear.identity).astype(np.float64) + displaced.offsets @ pose.rotation
        acting = np.tensordot(linear.expression, model.expressions.astype(np.float64), axes=1)
        teeth = usual_place()
        if photo is not None:
            in_camera = (neutral + acting) @ pose.rotation.T + pose.translation
            teeth = find_teeth(model, in_camera, camera, -pose.rotation[:, 1], photo, landmarks)
        place_teeth(model, neutral, teeth)
        # The displacement holds lips that the expressions do not open as in the photo, which at rest leave a slit.
        shown = neutral + acting
        closing = closed_lips(self.field, neutral, lip_drop(self.field, neutral))
        shown += (1 - opened(landmarks, pose.scale)) * closed_lips(self.field, shown)
        neutral = neutral + closing
        lips = shown - (neutral + acting)
        centres = model.eye_centres(neutral)
        directions = np.tile([0.0, 0.0, 1.0], (2, 1))
        for k, (side, iris) in enumerate(zip(("left", "right"), reversed(IRISES), strict=True)):
            ball = model.vertices_of(f"eye_{side}")
            here = shown[ball].mean(0)
            if len(landmarks) > iris:
                radius = np.linalg.norm(shown[ball] - here, axis=1).mean()
                ray = np.array([*(landmarks[iris, :2] - np.array(size) / 2) / pose.focal, 1.0])
                directions[k] = _direction(ray, pose.rotation @ here + pose.translation, radius) @ pose.rotation
                directions[k] = _limited(directions[k])
            shown[ball] = (shown[ball] - here) @ turn_from_ahead(directions[k]).T + here
        return HeadFit(
            camera=camera,
            vertices=shown @ pose.rotation.T + pose.translation,
            neutral=neutral,
            lips=lips,
            head_to_camera=transform,
            identity=linear.identity,
            expression={n: float(w) for n, w in zip(model.expression_names, linear.expression, strict=True) if w > 0},
            eye_centres=centres,
            eye_directions=directions,
            visibility=linear.visibility,
            error_before=np.linalg.norm(linear.residuals, axis=1),
            error=np.linalg.norm(displaced.residuals, axis=1),
            face_height=linear.face_height,
        )


def check_fit(fit: LinearFit) -> None:
    """Raises FitError for a fit beyond the limits."""
    share = np.average(np.linalg.norm(fit.residuals, axis=1), weights=fit.visibility) / fit.face_height
    if share > LARGEST_ERROR:
        miss = f"the head misses the points by {share:.1%} of the face's height"
        raise FitError(f"{miss}; {LARGEST_ERROR:.1%} is allowed")
    yaw = np.arccos(np.clip(-fit.pose.rotation[2, 2], -1, 1))
    if yaw > LARGEST_YAW:
        turned, allowed = np.degrees(yaw), np.degrees(LARGEST_YAW)
        raise FitError(f"the face is turned away by {turned:.0f} degrees; at most {allowed:.0f} can be fitted")


def check_displacement(fit: LinearFit, displaced: Displaced, prepared: PointModel) -> None:
    """Raises FitError for a displacement beyond the limits."""
    if displaced.folds:
        raise FitError(f"{displaced.folds} triangles of the head fold over at these points")
    moves = ((prepared.points.at(displaced.offsets)) ** 2).sum(1)
    size = np.sqrt(np.average(moves, weights=fit.visibility))
    if size > LARGEST_MOVE:
        allowed = LARGEST_MOVE * 1000
        raise FitError(f"the points lie {size * 1000:.0f} mm from the nearest head; {allowed:.0f} mm are allowed")


def turn_from_ahead(direction: np.ndarray) -> np.ndarray:
    """The shortest rotation [3, 3] that takes +z to a direction [3] of length 1 (z > 0)."""
    x, y, z = direction
    share = 1 / (1 + z)
    return np.array([[1 - x * x * share, -x * y * share, x], [-x * y * share, 1 - y * y * share, y], [-x, -y, z]])


def _direction(ray: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Direction [3] from an eyeball's centre to where a ray from the origin meets it, or passes it closest."""
    ray = normalised(ray)
    along = ray @ centre
    inside = radius**2 - ((along * ray - centre) ** 2).sum()
    return normalised((along - np.sqrt(max(inside, 0.0))) * ray - centre)


def _limited(direction: np.ndarray) -> np.ndarray:
    """A direction [3], turned towards +z where it is further from it than LARGEST_TURN."""
    aside = np.linalg.norm(direction[:2])
    if np.arctan2(aside, direction[2]) <= LARGEST_TURN:
        return direction
    return np.array([*(direction[:2] / aside * np.sin(LARGEST_TURN)), np.cos(LARGEST_TURN)])
