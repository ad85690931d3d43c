"""What a photo is refused for: damage is the file's, lack of memory the machine's, and our own errors stay visible."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipeline.reconstruction import images
from pipeline.reconstruction.images import PhotoError, read_photo
from pipeline.settings.errors import reason

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def photo(tmp_path):
    """A PNG of 7 x 5 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def raising(error):
    def call(*arguments, **keywords):
        raise error

    return call


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ((ImageFile.ImageFile, "load"), MemoryError()),
        ((Image, "open"), MemoryError()),
        ((ImageFile.ImageFile, "load"), OSError("out of memory error when reading image file")),  # a decoder's code -9
        ((Image.Image, "getexif"), MemoryError()),
        ((images, "_to_srgb"), MemoryError()),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_lack_of_memory_is_no_damage(photo, monkeypatch, place, error):
    monkeypatch.setattr(*place, raising(error))
    with pytest.raises(MemoryError) as caught:
        read_photo(photo)
    assert reason(caught.value).startswith("not enough memory")


# Reads a photo with room for a tenth of its pixels.
SHORT_OF_MEMORY = """
import resource, sys
from pipeline.reconstruction.images import read_photo
from pipeline.settings.errors import reason
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000, used + 30_000_000))
try:
    read_photo(sys.argv[1])
except Exception as error:
    print(reason(error))
"""


def test_a_process_that_is_short_of_memory(tmp_path):
    Image.new("RGB", (12_000, 9_000)).save(tmp_path / "large.png", compress_level=1)
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path / "large.png")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert finished.stdout.startswith("not enough memory") and finished.stderr == ""


@pytest.mark.parametrize("error", [AttributeError, TypeError, KeyError, RuntimeError, ZeroDivisionError, ValueError])
@pytest.mark.parametrize("place", ["quiet_native_output", "_upright", "_eight_bit", "_to_srgb"])
def test_our_own_errors_are_not_the_photos(photo, monkeypatch, place, error):
    monkeypatch.setattr(images, place, raising(error("a bug")))
    with pytest.raises(error, match="a bug"):
        read_photo(photo)


@pytest.mark.parametrize("error", [OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, EOFError])
@pytest.mark.parametrize("place", [(Image, "open"), (ImageFile.ImageFile, "load")], ids=["open", "load"])
def test_errors_of_the_decoder_are_the_photos(photo, monkeypatch, place, error):
    monkeypatch.setattr(*place, raising(error("bad chunk")))
    with pytest.raises(PhotoError, match=r"x\.png is damaged or incomplete: bad chunk"):
        read_photo(photo)


def test_exif_that_cannot_be_written_again_still_tells_the_orientation(photo, monkeypatch):
    """Pillow fails to write EXIF with a tag of a wrong type; it need not be written."""
    pixels = read_photo(photo)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(photo, exif=exif)
    monkeypatch.setattr(Image.Exif, "tobytes", raising(TypeError("bad operand type for abs(): 'bytes'")))
    assert np.array_equal(read_photo(photo), np.rot90(pixels, -1))


def test_a_colour_profile_that_is_no_bytes_is_passed_over(photo, monkeypatch):
    plain = read_photo(photo)
    open_ = Image.open

    def with_text(*arguments, **keywords):
        image = open_(*arguments, **keywords)
        image.info["icc_profile"] = "sRGB"  # as a TIFF's tag of a wrong type gives it
        return image

    monkeypatch.setattr(Image, "open", with_text)
    assert np.array_equal(read_photo(photo), plain)


# ---- focal length ----------------------------------------------------------------------------------------------------


def save_with_exif(path, size, focal=None, whole=None, orientation=None):
    """A JPEG of size (width, height) as stored. focal: 35 mm equivalent. whole: EXIF's size."""
    image, exif = Image.new("RGB", size), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    more = exif.get_ifd(0x8769)
    if focal is not None:
        more[0xA405] = focal
    if whole:
        more[0xA002], more[0xA003] = whole
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [None, 6])
def test_focal_length_of_a_whole_photo(tmp_path, orientation):
    """43.27 mm is the diagonal of a frame; so is 500 px of 400 x 300. A later reduction keeps that."""
    path = save_with_exif(tmp_path / "x.jpg", (400, 300), 50, (4000, 3000), orientation)
    height, width = read_photo(path).shape[:2]
    assert images.read_focal_length(path, width, height) == pytest.approx(50 / 43.2666 * 500, rel=1e-4)


@pytest.mark.parametrize(
    "given",
    [{}, {"focal": 50}, {"focal": 50, "whole": (4000, 2000)}, {"focal": 3, "whole": (400, 300)},
     {"focal": 50, "whole": (0, 0)}],
    ids=["no EXIF", "no size", "cut", "no lens", "zero"],
)  # fmt: skip
def test_no_focal_length(tmp_path, given):
    path = save_with_exif(tmp_path / "x.jpg", (400, 300), **given)
    assert images.read_focal_length(path, 400, 300) is None


def test_no_focal_length_without_metadata(photo):
    assert images.read_focal_length(photo, 7, 5) is None
