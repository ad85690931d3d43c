"""Photos and images: their pixels, as they are meant to be seen. 8-bit images and floats are converted here only."""

import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms

from external.errors import UserError
from external.quiet import quiet_native_output
from pipeline.settings.schema import LimitSettings

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

LIMITS = LimitSettings()
T = TypeVar("T")

# What Pillow's decoders raise for damaged files. Only calls of Pillow stand in a `try` with these, so that an error of this
# program is not taken for a damaged photo. Of mutated files, the first four are what was met.
_DECODER_ERRORS = (
    OSError,  # cut short, damaged compressed data, a compression that is not supported
    SyntaxError,  # a damaged chunk of a PNG, a damaged header of EXIF
    ValueError,  # sizes and offsets that cannot be
    TypeError,  # a TIFF tag of another type than its meaning needs
    LookupError,  # a TIFF tag that is missing, or shorter than it should be
    ArithmeticError,  # a TIFF tag that is zero where it divides, or too large for an integer
    EOFError,  # the end of the file within a block
    struct.error,  # the end of the data within a number
    zlib.error,  # damaged compressed text or colour profile in PNG
)
_CODEC_WITHOUT_MEMORY = "out of memory"  # in the OSError that stands for a decoder's MemoryError

# EXIF's Orientation (CIPA DC-008, 4.6.5) -> how the stored picture is turned upright.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_EXIF_IFD, _FOCAL_LENGTH_35MM, _PIXEL_DIMENSIONS = 0x8769, 0xA405, (0xA002, 0xA003)
_FRAME_DIAGONAL = math.hypot(36, 24)  # mm; CIPA DC-008 relates 35 mm equivalents to the diagonal
FOCAL_LENGTHS = (12.0, 400.0)  # mm

_MID_GREY = 128


class PhotoError(UserError):
    """A photo that cannot be used; the message is one line that names it."""


def read_photo(path: str | Path, limits: LimitSettings = LIMITS) -> np.ndarray:
    """The photo as it is meant to be seen: uint8 [H, W, 3], sRGB.

    Turned upright by its EXIF orientation, converted from its colour profile, grey, palette, CMYK and 16 bits; what is
    transparent lies over mid-grey. Of several frames the first. Nothing is decoded beyond the limits. Raises PhotoError
    naming the file.
    """
    path = Path(path)
    try:
        require_size(path, limits.photo_megabytes, "make it smaller, or give limits.photo_megabytes={}")
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise PhotoError(f"{path} is empty (0 bytes)")
    with warnings.catch_warnings():
        # Pillow warns of odd metadata; what makes a photo unusable is raised.
        warnings.simplefilter("ignore")
        image = _upright(_decoded(path, data, limits.photo_megapixels))
        return np.array(_to_srgb(_eight_bit(image, path), path))


def read_focal_length(path: str | Path, width: int, height: int) -> float | None:
    """Focal length, px, of a photo whose upright pixels are width x height, from the 35 mm equivalent in its EXIF.

    None where there is none, where it is no lens for people (FOCAL_LENGTHS), or where the photo was cut since: the EXIF
    size has other proportions. The file is one that `read_photo` takes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=_FORMATS) as image:
                exif = image.getexif().get_ifd(_EXIF_IFD)
            millimetres, sides = float(exif[_FOCAL_LENGTH_35MM]), sorted(float(exif[tag]) for tag in _PIXEL_DIMENSIONS)
        except (*_DECODER_ERRORS, Image.DecompressionBombError):
            return None
    low, high = FOCAL_LENGTHS
    whole = abs(sides[0] * max(width, height) - sides[1] * min(width, height)) <= sides[1] + max(width, height)
    if not (low <= millimetres <= high and whole and sides[0] > 0):
        return None
    return millimetres / _FRAME_DIAGONAL * math.hypot(width, height)


def require_size(path: Path, megabytes: float, advice: str) -> None:
    """Raises PhotoError for a larger file, before any of it is read. {} in the advice: MB."""
    size = path.stat().st_size / 1e6 if path.is_file() else 0
    if size > megabytes:
        raise PhotoError(f"{path} has {size:.0f} MB, allowed are {megabytes:g}: {advice.format(math.ceil(size))}")


def as_float(image: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1, any shape. Raises TypeError for another dtype."""
    if image.dtype != np.uint8:
        raise TypeError(f"as_float takes uint8 images, not {image.dtype}")
    return image.astype(np.float32) / np.float32(255.0)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """float 0..1 -> uint8 0..255, rounded, values outside clipped, any shape. Raises ValueError for NaN."""
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"as_bytes takes float images, not {image.dtype}")
    if np.isnan(image).any():
        raise ValueError(f"as_bytes got an image with {int(np.isnan(image).sum())} values that are not a number")
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _decoded(path: Path, data: bytes, maximum_megapixels: float) -> Image.Image:
    Image.init()
    with _pixel_limit(maximum_megapixels), quiet_native_output():  # libtiff writes its own lines to the terminal
        image = _from_pillow(path, lambda: Image.open(io.BytesIO(data), formats=_FORMATS))
        megapixels = image.width * image.height / 1e6
        if megapixels > maximum_megapixels:
            raise PhotoError(
                f"{path} has {image.width} x {image.height} pixels, allowed are {maximum_megapixels:g} megapixels: "
                f"make it smaller, or give limits.photo_megapixels={math.ceil(megapixels)}"
            )
        _from_pillow(path, image.load)
    return image


def _from_pillow(path: Path, call: Callable[[], T]) -> T:
    """What a call of Pillow returns. Raises PhotoError for a damaged file, MemoryError where memory is short."""
    try:
        return call()
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{path} has more than twice the {Image.MAX_IMAGE_PIXELS / 1e6:g} megapixels that are allowed: make it smaller, "
            "or give limits.photo_megapixels=N"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{path} is not an image of a kind that is read ({', '.join(_FORMATS)})") from error
    except _DECODER_ERRORS as error:
        if _CODEC_WITHOUT_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise PhotoError(f"{path} is damaged or incomplete: {reason}") from error


@contextmanager
def _pixel_limit(megapixels: float) -> Iterator[None]:
    """Our own limit in the place of Pillow's, which is lower and warns on the terminal.

    Pillow refuses by itself what is more than twice as large, when it opens the file.
    """
    pillows = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = math.ceil(megapixels * 1e6)
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = pillows


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_ERRORS:
        # Damaged EXIF says nothing about the orientation; the pixels are good.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    """16-bit grey (Pillow's modes I and I;16...) scaled to 8 bits; Pillow reads 16-bit colours as 8 by itself."""
    if image.mode == "F":
        raise PhotoError(f"{path} holds floating-point values of unknown range: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise PhotoError(f"{path} holds 32-bit values up to {values.max():g}: save it with 8 or 16 bits")
    scaled = Image.fromarray((values * (255.0 / 65535.0) + 0.5).astype(np.uint8))
    scaled.info.update(image.info)
    return scaled


def _to_srgb(image: Image.Image, path: Path) -> Image.Image:
    """RGB in sRGB; transparent parts over mid-grey. Raises PhotoError for colours that Pillow cannot convert."""
    alpha = _converted(image, "RGBA", path).getchannel("A") if image.has_transparency_data else None
    profile = image.info.get("icc_profile")
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = _converted(image, "L" if image.mode in ("1", "LA", "La") else "RGB", path)
    colours = _by_profile(image, profile) if isinstance(profile, bytes) or image.mode == "LAB" else None
    colours = colours or _converted(image, "RGB", path)
    if alpha is None:
        return colours
    return Image.composite(colours, Image.new("RGB", colours.size, (_MID_GREY,) * 3), alpha)


def _converted(image: Image.Image, mode: str, path: Path) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError as error:  # Pillow has no conversion between these
        raise PhotoError(f"{path} has colours that cannot be converted to RGB ({image.mode}): {error}") from error


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Through the colour profile (None: Lab) to sRGB; None for a profile that is damaged or of another kind of colour."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        if image.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # cannot be opened, or builds no transform
        return None
