"""Face boxes and five key points by MTCNN (Zhang et al. 2016), the PyPI package `mtcnn` with its own weights.

TensorFlow is imported on first use, without output and on the CPU only: by default it would take all GPU memory.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from external.quiet import quiet_native_output

DETECTION_SIZE = 1600  # px of the longer side; larger photos would take seconds each
MINIMUM_FACE = 20  # px, the side of the network's first window


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the photo it was found in (x right, y down, pixel centres at +0.5)."""

    box: tuple[float, float, float, float]  # left, top, width, height
    points: np.ndarray  # [5, 2]: left eye, right eye, nose, left and right mouth corner as seen in the image
    confidence: float  # 0..1


@cache
def _network() -> Any:
    """The package's MTCNN; loaded on first use."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # same sums in the same order on every start
    with quiet_native_output():
        import tensorflow

        tensorflow.config.set_visible_devices([], "GPU")
        from mtcnn import MTCNN

        return MTCNN()


def detect_faces(photo: np.ndarray, minimum_confidence: float = 0.9, minimum_size: float = 40.0) -> list[Face]:
    """Finds the faces in a photo, largest box first.

    photo: uint8 [H, W, 3], RGB. minimum_confidence: 0..1. minimum_size: px, of the box's shorter side.
    A photo longer than DETECTION_SIZE is reduced for the detection only.
    """
    height, width = photo.shape[:2]
    scale = min(1.0, DETECTION_SIZE / max(height, width))
    searched = photo
    if scale < 1:
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        searched = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    if min(searched.shape[:2]) < MINIMUM_FACE:
        return []
    faces = []
    network = _network()
    with quiet_native_output():
        detections = network.detect_faces(searched) or ()
    for found in detections:
        left, top, box_width, box_height = (value / scale for value in found["box"])
        confidence = float(found["confidence"])
        if confidence < minimum_confidence or min(box_width, box_height) < minimum_size:
            continue
        keys = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        points = (np.array([found["keypoints"][key] for key in keys], dtype=np.float64) + 0.5) / scale
        faces.append(Face((left, top, box_width, box_height), points, confidence))
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])
