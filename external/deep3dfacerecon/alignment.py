"""The 224 x 224 crop that the network needs, and the mapping from the crop back to the photo."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from external.geometry import FaceGeometryError

CROP_SIZE = 224  # px
STANDARD_SIZE = 102.0  # px per unit of the standard points, in the crop
LARGEST_RESIZED = 100_000_000  # px; where the resized photo would be larger, only its crop is computed
BICUBIC_REACH = 2  # px of the coarser image, radius of the filter

# Eyes, nose tip and mouth corners of the 68 standard landmarks (similarity_Lm3D_all.mat): 31; means of 37 and 40, of
# 43 and 46; 49, 55, in single precision as there.
STANDARD_POINTS = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032534988, -0.046179324, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ],
    dtype=np.float32,
)

Alignment = tuple[int, int, float, float, float]  # (w0, h0, s, tx, ty), see `align`
Points = np.ndarray | Sequence[Sequence[float]]  # [5, 2]


def align(photo: Image.Image, points: Points) -> tuple[np.ndarray, Alignment]:
    """Scales and crops a photo around a face; byte for byte as Deep3DFaceRecon does (util/preprocess.py).

    photo: of any size and mode. points: [5, 2], x right and y down, px, with pixel centres at whole numbers, as in
    detection files (`external.mtcnn.Face.points` minus 0.5): left eye, right eye, nose, left and right mouth corner as
    seen in the image.
    Returns the crop, uint8 [224, 224, 3], RGB, black outside the photo, and the alignment (w0, h0, s, tx, ty): the
    photo's width and height in px, the scale, and the image position of the standard points' origin with y upwards.
    Raises FaceGeometryError where the points coincide or span far more than the photo; ValueError for points of another
    shape.
    """
    if photo.mode != "RGB":
        photo = photo.convert("RGB")
    given = np.array(points, dtype=np.float32)
    if given.shape != (5, 2) or not np.isfinite(given).all():
        raise ValueError(f"align: got points of shape {given.shape}, need [5, 2] finite pixel positions")
    given[:, 1] = photo.height - 1 - given[:, 1]
    size, shift = _scaled_orthographic_pose(given.astype(np.float64))
    if not size > 1e-3:
        raise FaceGeometryError("align: the five points coincide; eyes, nose and mouth corners are needed")
    alignment = (photo.width, photo.height, STANDARD_SIZE / size, *shift)
    width, height, left, top = placement(alignment)
    if min(width, height) < 1:
        size = f"{photo.width} x {photo.height} px"
        raise FaceGeometryError(f"align: the five points span far more than the photo ({size})")
    window = (left, top, left + CROP_SIZE, top + CROP_SIZE)
    if width * height > LARGEST_RESIZED:
        return np.array(_resized_window(photo, width, height, window)), alignment
    return np.array(photo.resize((width, height), Image.Resampling.BICUBIC).crop(window)), alignment


def placement(alignment: Alignment) -> tuple[int, int, int, int]:
    """Width and height of the resized photo, left and top of the crop in it; whole pixels, rounded towards zero."""
    full_width, full_height, scale, shift_x, shift_y = alignment
    width, height = int(full_width * scale), int(full_height * scale)
    left = int(width / 2 - CROP_SIZE / 2 + (shift_x - full_width / 2) * scale)
    top = int(height / 2 - CROP_SIZE / 2 + (full_height / 2 - shift_y) * scale)
    return width, height, left, top


def _scaled_orthographic_pose(points: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Scale and shift of the affine projection of the standard points that best fits points [5, 2] (POS).

    The published 10 x 8 system with its 2 x 4 unknowns separates into one 5 x 4 system per coordinate.
    """
    standard = np.concatenate([STANDARD_POINTS, np.ones((5, 1))], axis=1)
    solution = np.linalg.lstsq(standard, points, rcond=None)[0]
    size = np.linalg.norm(solution[:3], axis=0).mean()
    return float(size), (float(solution[3, 0]), float(solution[3, 1]))


def _resized_window(photo: Image.Image, width: int, height: int, window: tuple[int, int, int, int]) -> Image.Image:
    """The crop (left, top, right, bottom) of the photo resized to width x height, up to rounding.

    Does not compute the whole resized photo.
    """
    crop = Image.new("RGB", (CROP_SIZE, CROP_SIZE))
    left, top, right, bottom = max(window[0], 0), max(window[1], 0), min(window[2], width), min(window[3], height)
    if left >= right or top >= bottom:
        return crop
    # Cut out the part of the photo that the window depends on. Positions in it are small numbers, which matters because
    # Pillow stores them in single precision.
    across, down = photo.width / width, photo.height / height
    reach_x, reach_y = math.ceil(BICUBIC_REACH * max(across, 1)) + 1, math.ceil(BICUBIC_REACH * max(down, 1)) + 1
    part_left, part_top = max(math.floor(left * across) - reach_x, 0), max(math.floor(top * down) - reach_y, 0)
    part_right = min(math.ceil(right * across) + reach_x, photo.width)
    part_bottom = min(math.ceil(bottom * down) + reach_y, photo.height)
    part = photo.crop((part_left, part_top, part_right, part_bottom))
    box = (left * across - part_left, top * down - part_top, right * across - part_left, bottom * down - part_top)
    resized = part.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box)
    crop.paste(resized, (left - window[0], top - window[1]))
    return crop
