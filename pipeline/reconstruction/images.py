"""Photos and images: their pixels, as they are meant to be seen. The one place that converts between 8-bit images and floats."""

import io
import math
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from external.errors import UserError
from external.quiet import quiet_native_output
from pipeline.settings.schema import LimitSettings

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

LIMITS = LimitSettings()

# What Pillow's decoders raise for damaged files.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError, ArithmeticError, MemoryError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip

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
        megabytes = path.stat().st_size / 1e6
        if megabytes > limits.photo_megabytes:
            raise PhotoError(
                f"{path} has {megabytes:.0f} MB, allowed are {limits.photo_megabytes:g}: make it smaller, or give "
                f"limits.photo_megabytes={math.ceil(megabytes)}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise PhotoError(f"{path} is empty (0 bytes)")
    with warnings.catch_warnings():
        # Pillow warns of odd metadata; what makes a photo unusable is raised.
        warnings.simplefilter("ignore")
        image = _upright(_decoded(path, data, limits.photo_megapixels))
    try:
        return np.array(_to_srgb(_eight_bit(image, path)))
    except (ValueError, OSError, MemoryError) as error:
        if isinstance(error, PhotoError):
            raise
        raise PhotoError(f"{path} has colours that cannot be converted to RGB ({image.mode}): {error}") from error


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
    pillow_limit = Image.MAX_IMAGE_PIXELS
    try:
        # Our own limit takes the place of Pillow's, which is lower and warns on the terminal. Pillow refuses by itself
        # what is more than twice as large, when it opens the file.
        Image.MAX_IMAGE_PIXELS = math.ceil(maximum_megapixels * 1e6)
        with quiet_native_output():
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        megapixels = image.width * image.height / 1e6
        if megapixels > maximum_megapixels:
            raise PhotoError(
                f"{path} has {image.width} x {image.height} pixels, allowed are {maximum_megapixels:g} megapixels: "
                f"make it smaller, or give limits.photo_megapixels={math.ceil(megapixels)}"
            )
        with quiet_native_output():  # libtiff writes its own lines to the terminal
            image.load()
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{path} has more than twice the {maximum_megapixels:g} megapixels that are allowed: make it smaller, or give "
            "limits.photo_megapixels=N"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{path} is not an image of a kind that is read ({', '.join(_FORMATS)})") from error
    except _DECODER_ERRORS as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise PhotoError(f"{path} is damaged or incomplete: {reason}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        # Damaged EXIF says nothing about the orientation; the pixels are good.
        return image


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


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB; transparent parts over mid-grey."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    profile = image.info.get("icc_profile")
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    colours = _from_profile(image, profile) if profile or image.mode == "LAB" else image.convert("RGB")
    if alpha is None:
        return colours
    return Image.composite(colours, Image.new("RGB", colours.size, (_MID_GREY,) * 3), alpha)


def _from_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Through the colour profile to sRGB; a profile that is damaged or of another kind of colour is passed over."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        if image.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError):
        return image.convert("RGB")
