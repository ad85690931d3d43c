"""The pinhole camera and its file, camera.json (axes and pixel centres: see the package docstring)."""

import json
import sys
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path

import numpy as np

FILE_VERSION = 1


class CameraError(ValueError):
    """An invalid camera or camera file."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    width, height: image size in pixels. fx, fy: focal lengths in pixels, > 0. cx, cy: principal point in pixels
    (width / 2, height / 2 is the exact centre of the image). Raises CameraError for other values.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        for key in ("width", "height"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, Integral) or value <= 0:
                raise CameraError(f"camera {key} is {value!r}; a whole number of pixels above 0 is needed")
            object.__setattr__(self, key, int(value))
        for key in ("fx", "fy", "cx", "cy"):
            value = getattr(self, key)
            # This comparison is false for NaN and does not overflow for very large integers.
            if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= sys.float_info.max:
                raise CameraError(f"camera {key} is {value!r}; a finite number of pixels is needed")
            if key in ("fx", "fy") and value <= 0:
                raise CameraError(f"camera {key} is {value!r}; a focal length above 0 is needed")
            object.__setattr__(self, key, float(value))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects points [N, 3] in camera space to pixels [N, 2] (x, y; float64); NaN where z <= 0."""
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise CameraError(f"points have shape {points.shape}; [N, 3] is needed")
        depth = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        return np.stack([self.fx * points[:, 0] / depth + self.cx, self.fy * points[:, 1] / depth + self.cy], axis=1)

    def homogeneous(self, points: np.ndarray) -> np.ndarray:
        """Homogeneous image positions [N, 3] (x z, y z, z; float64) of points [N, 3]; defined for every z."""
        x, y, depth = np.asarray(points, dtype=np.float64).T
        return np.stack([self.fx * x + self.cx * depth, self.fy * y + self.cy * depth, depth], axis=1)

    def resized(self, width: int, height: int) -> "Camera":
        """The same view as an image of width x height pixels."""
        across, down = width / self.width, height / self.height
        return Camera(width, height, self.fx * across, self.fy * down, self.cx * across, self.cy * down)

    def scaled(self, scale: float) -> "Camera":
        """The same view with both sides scaled, rounded to at least one pixel."""
        return self.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    def cropped(self, left: int, top: int, width: int, height: int) -> "Camera":
        """The camera of a crop whose upper left pixel is (left, top); the crop may extend beyond the image."""
        return Camera(width, height, self.fx, self.fy, self.cx - left, self.cy - top)


def load_camera(path: str | Path) -> Camera:
    """Reads camera.json. Raises CameraError, naming the file and the key, when it is missing or malformed."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise CameraError(f"{path}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise CameraError(f"{path}: holds a {type(content).__name__}; an object with version, width, ... is needed")
    keys = ("version", "width", "height", "fx", "fy", "cx", "cy")
    for key in keys:
        if key not in content:
            raise CameraError(f"{path}: the key '{key}' is missing; needed are {', '.join(keys)}")
    version, *values = (content[key] for key in keys)
    if version is True or version != FILE_VERSION:
        raise CameraError(f"{path}: version is {version!r}; this program reads version {FILE_VERSION}")
    try:
        return Camera(*values)
    except CameraError as error:
        raise CameraError(f"{path}: {error}") from None


def save_camera(camera: Camera, path: str | Path) -> None:
    """Writes camera.json; load_camera returns an equal camera."""
    Path(path).write_text(json.dumps({"version": FILE_VERSION, **asdict(camera)}, indent=2) + "\n", encoding="utf-8")
