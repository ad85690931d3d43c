"""Finds the 468 points of MediaPipe Face Mesh for a face whose approximate position in the photo is known."""

from functools import cache
from typing import Any

import cv2
import numpy as np

from external.quiet import quiet_native_output, silence_native_logs

POINTS = 468
IRIS_POINTS = 10  # follow the others: centre, right, top, left, bottom as seen in the image; the person's right eye first
CROP_SIZES = (640, 384, 1024)  # px; sides of the square crop, tried in order until the network finds the face
CROP_MARGINS = (0.5, 1.0, 0.25)  # of the box's longer side, on each side


@cache
def _network() -> Any:
    """MediaPipe's FaceMesh; loaded on first use."""
    silence_native_logs()
    with quiet_native_output():
        from mediapipe.python.solutions.face_mesh import FaceMesh

    # Several faces: the crop may also show a neighbour; the wanted face is chosen by its key points.
    # The confidence is low because another detector has already found a face here.
    return FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=4, min_detection_confidence=0.2)


def find_landmarks(
    photo: np.ndarray,  # uint8 [H, W, 3], RGB
    box: tuple[float, float, float, float],  # left, top, width, height, px
    points: np.ndarray,  # [5, 2], px
    irises: bool = False,
    mirror: np.ndarray | None = None,  # [468]
) -> np.ndarray | None:  # [468, 3] float64; with irises [478, 3]
    """Face Mesh points of one face; None where the network finds no face that matches.

    points: the two eyes, nose and mouth corners as seen in the image. The result must agree with them to within half of
    the distance between the eyes, or between eyes and mouth if that is larger.
    mirror: the number of the point on the other side of the face, for each point: the network then sees the mirrored
    photo. What it finds there is the same face as long as it is sure of it. Without irises only.
    Returns x, y in px of the photo (pixel centres at +0.5) and relative depth in the same unit: smaller is nearer, 0 is
    near the head's centre.
    """
    count = POINTS + IRIS_POINTS * irises
    left, top, width, height = box
    centre = np.array([left + width / 2, top + height / 2])
    spacing = np.linalg.norm(points[0] - points[1])
    mouth = (points[3] + points[4]) / 2
    reach = max(spacing, np.linalg.norm(mouth - (points[0] + points[1]) / 2))
    for margin in CROP_MARGINS:
        side = max(width, height) * (1 + 2 * margin)
        for size in CROP_SIZES:
            scale = size / side
            to_crop = np.array([[scale, 0, size / 2 - 0.5 - scale * (centre[0] - 0.5)],
                                [0, scale, size / 2 - 0.5 - scale * (centre[1] - 0.5)]])  # fmt: skip
            crop = _reduced_crop(photo, to_crop, size, scale)
            if mirror is not None:
                crop = np.ascontiguousarray(crop[:, ::-1])
            with quiet_native_output():
                found = _network().process(crop).multi_face_landmarks or ()
            candidates = []
            for face in found:
                normalised = np.array([(p.x, p.y, p.z) for p in face.landmark[:count]])
                if mirror is not None:
                    normalised = normalised[mirror] * (-1, 1, 1) + (1, 0, 0)
                result = normalised * side
                result[:, :2] += centre - side / 2
                error = np.linalg.norm(_key_points(result)[:, :2] - points, axis=1).max() / reach
                if np.isfinite(result).all() and error < 0.5:
                    candidates.append((error, result))
            if candidates:
                return min(candidates, key=lambda candidate: candidate[0])[1]
    return None


def _reduced_crop(photo: np.ndarray, to_crop: np.ndarray, size: int, scale: float) -> np.ndarray:
    """The square crop, uint8 [size, size, 3], low-pass filtered where it shrinks the photo (warpAffine would alias).

    to_crop: [2, 3], affine map from photo to crop. scale: its scale.
    """
    if scale < 0.7:
        factor = 2 ** int(np.ceil(np.log2(0.7 / scale)))
        height, width = photo.shape[:2]
        reduced = (max(width // factor, 1), max(height // factor, 1))
        photo = cv2.resize(photo, reduced, interpolation=cv2.INTER_AREA)
        ratio = np.array([width / reduced[0], height / reduced[1]])
        to_crop = to_crop.copy()
        to_crop[:, 2] += to_crop[:, :2] @ (0.5 * ratio - 0.5)
        to_crop[:, :2] = to_crop[:, :2] * ratio
    return cv2.warpAffine(photo, to_crop, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _key_points(landmarks: np.ndarray) -> np.ndarray:  # [468, 3] -> [5, 3]
    """Points in MTCNN's order: eye centres, nose tip, mouth corners; left and right as seen in the image."""
    return np.stack([
        landmarks[[33, 133]].mean(0), landmarks[[362, 263]].mean(0), landmarks[1], landmarks[61], landmarks[291],
    ])  # fmt: skip
