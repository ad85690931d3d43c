"""What else MediaPipe's wheel knows of a photo: where a person is and not the background, and where hands are."""

from functools import cache
from typing import Any

import cv2
import numpy as np

from external.quiet import quiet_native_output, silence_native_logs

PERSON_SIDE = 256  # px, the longest side of the person's share; the network works with that many
HANDS = 4  # at most
HAND_POINTS = 21
LEAST_CONFIDENCE = 0.3  # of a hand: before a face it is often half seen


@cache
def _segmenter() -> Any:
    """MediaPipe's SelfieSegmentation; loaded on first use."""
    silence_native_logs()
    with quiet_native_output():
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

    return SelfieSegmentation(model_selection=0)


@cache
def _hands() -> Any:
    """MediaPipe's Hands; loaded on first use."""
    silence_native_logs()
    with quiet_native_output():
        from mediapipe.python.solutions.hands import Hands

    return Hands(static_image_mode=True, max_num_hands=HANDS, min_detection_confidence=LEAST_CONFIDENCE)


def person_share(photo: np.ndarray) -> np.ndarray:  # uint8 [H, W, 3], RGB -> uint8 [h, w]
    """255 where a photo shows a person, with hair and clothes, 0 where it shows background; at most PERSON_SIDE px a side."""
    height, width = photo.shape[:2]
    scale = min(PERSON_SIDE / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    with quiet_native_output():
        share = _segmenter().process(small).segmentation_mask
    return np.clip(np.round(255 * share), 0, 255).astype(np.uint8)


def find_hands(photo: np.ndarray) -> np.ndarray:  # uint8 [H, W, 3], RGB -> [N, 21, 2] float32
    """The points of each hand in a photo, as shares of its width and height. The wrist is first, then four points of each
    finger from the thumb on."""
    with quiet_native_output():
        found = _hands().process(np.ascontiguousarray(photo)).multi_hand_landmarks or ()
    points = [[(point.x, point.y) for point in hand.landmark] for hand in found]
    return np.array(points, np.float32).reshape(-1, HAND_POINTS, 2)
