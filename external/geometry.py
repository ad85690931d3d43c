"""The result of a reconstruction system for one face; the same for all systems."""

import math
from dataclasses import dataclass

import numpy as np

from external.errors import UserError
from renderer.camera import Camera
from renderer.mesh import Mesh

PUPIL_DISTANCE = 0.063  # m, adult mean; gives the reconstruction its scale


class FaceGeometryError(UserError, ValueError):
    """No mesh can be made of a face: it lies outside the photo, or its points are not those of a face."""


@dataclass(frozen=True)
class FaceGeometry:
    mesh: Mesh  # camera space, in the system's unit of length
    camera: Camera  # of the crop
    crop: tuple[int, int, int, int]  # left, top, width, height in the upright photo, px
    head_to_camera: np.ndarray  # [4, 4] rigid; x to the person's left, y up, z out of the face
    mask: np.ndarray | None = None  # uint8 [H, W], of the crop: 255 where it shows the face, 0 where the face is hidden
    colour: np.ndarray | None = None  # [V, 3] float64, about 0..1, the model's vertex colours in the photo's light
    content: np.ndarray | None = None  # [size, size, 3] float32, 0..1, an initial texture


def crop_within(
    left: float, top: float, right: float, bottom: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """The crop (left, top, width, height) of whole pixels around a box, within a photo of width x height pixels.

    Raises FaceGeometryError where less than 2 x 2 pixels are left.
    """
    left, top = max(math.floor(left), 0), max(math.floor(top), 0)
    right, bottom = min(math.ceil(right), width), min(math.ceil(bottom), height)
    if right - left < 2 or bottom - top < 2:
        raise FaceGeometryError("the face lies outside the photo")
    return left, top, right - left, bottom - top
