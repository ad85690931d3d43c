"""Planted defects: what the scores have to see. Each spoils a texture on texels that the picture does not show.

A defect takes texture [S, S, 3], 0..1; unseen [S, S], 0..1, how little the picture shows of each texel; and a seed. It
returns the spoilt texture, float32, 0..1.
"""

import cv2
import numpy as np

from evaluation.measures import REFERENCE_TEXTURE

TINT = 4 / 255
GRAIN = 6 / 255
BLUR = 2.0  # texels of a 512 texture
SHIFT = 8.0  # likewise


def tint(texture: np.ndarray, unseen: np.ndarray, seed: int = 0) -> np.ndarray:
    """+4/255 in green."""
    return _where(unseen, texture + np.array([0, TINT, 0], np.float32), texture)


def grain(texture: np.ndarray, unseen: np.ndarray, seed: int = 0) -> np.ndarray:
    """Normal noise of sigma 6/255, the same in the three channels."""
    noise = np.random.default_rng(seed).normal(0, GRAIN, (*texture.shape[:2], 1)).astype(np.float32)
    return _where(unseen, texture + noise, texture)


def blur(texture: np.ndarray, unseen: np.ndarray, seed: int = 0) -> np.ndarray:
    """A Gaussian blur of sigma 2 texels."""
    return _where(unseen, cv2.GaussianBlur(texture, (0, 0), BLUR * texture.shape[0] / REFERENCE_TEXTURE), texture)


def shifted_mirror(texture: np.ndarray, unseen: np.ndarray, seed: int = 0) -> np.ndarray:
    """What was filled is filled 8 texels aside."""
    shift = max(round(SHIFT * texture.shape[1] / REFERENCE_TEXTURE), 1)
    return _where(unseen, np.roll(texture, shift, axis=1), texture)


def swapped_sides(texture: np.ndarray, unseen: np.ndarray, seed: int = 0) -> np.ndarray:
    """The whole texture mirrored: left is right."""
    return np.ascontiguousarray(texture[:, ::-1])


DEFECTS = {"tint": tint, "grain": grain, "blur": blur, "shifted_mirror": shifted_mirror, "swapped_sides": swapped_sides}


def _where(unseen: np.ndarray, spoilt: np.ndarray, texture: np.ndarray) -> np.ndarray:
    return np.clip(texture + unseen[..., None] * (spoilt - texture), 0, 1).astype(np.float32)
