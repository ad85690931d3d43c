"""Which photos a run is about, what their results are called, and their pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.reconstruction.images import PhotoError, as_bytes, as_float, read_photo
from pipeline.reconstruction.photos import find_photos, sample_photos
from pipeline.settings.schema import LimitSettings


@pytest.fixture
def folder(tmp_path):
    """Makes empty files of the given names and returns their folder."""

    def make(*names: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def names(photos) -> list[str]:
    return [photo.name for photo in photos]


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(PhotoError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- finding


def test_folder_without_its_sub_folders_and_other_files(folder):
    place = folder("b.JPG", "a.png", "d.webp", "e.tiff", "f.bmp")
    folder("notes.txt", ".hidden.jpg", "deeper/c.jpg", "noending")
    (place / "folder.png").mkdir()
    assert names(find_photos([place])) == ["a", "b", "d", "e", "f"]


def test_natural_order_whatever_the_order_of_arguments(folder):
    place = folder("photo10.jpg", "photo2.jpg", "Photo1.jpg", "10.jpg", "9.jpg")
    expected = ["9", "10", "Photo1", "photo2", "photo10"]
    assert names(find_photos([place])) == expected
    assert names(find_photos([place / f"{name}.jpg" for name in reversed(expected)])) == expected


def test_photo_named_twice_counts_once(folder, monkeypatch):
    place = folder("a.jpg", "b.jpg")
    monkeypatch.chdir(place)
    assert names(find_photos([place, place / "a.jpg", "b.jpg"])) == ["a", "b"]


def test_equal_stems_take_their_ending_and_then_a_number(folder):
    place = folder("x.jpg", "x.PNG", "y.jpg", "more/x.jpg", "more/z.jpg")
    found = find_photos([place, place / "more"])
    assert {(str(photo.path.relative_to(place)), photo.name) for photo in found} == {
        ("x.jpg", "x_jpg_2"),
        ("more/x.jpg", "x_jpg"),
        ("x.PNG", "x_png"),
        ("y.jpg", "y"),
        ("more/z.jpg", "z"),
    }


def test_names_never_meet(folder):
    place = folder("x.jpg", "x.png", "x_jpg.bmp", "X.webp", "a.jpg", "a-face2.jpg", "e\u0301.jpg", "\u00e9.png")
    found = names(find_photos([place]))
    assert len({name.casefold() for name in found}) == len(found) == 8
    assert "x_jpg" in found and "x_jpg_2" in found and "a-face2" not in found


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("größe und 写真.jpg", "größe und 写真"),
        ("a.b.c.jpg", "a.b.c"),
        ("..jpg", "photo"),
        ("...jpg", "photo"),
        ("tab\there\x7f.jpg", "tab_here_"),
        ('q:*?"<>|\\.jpg', "q________"),
        (" spaces .jpg", "spaces"),
        ("manifest.json.jpg", "manifest.json_jpg"),
        ("Summary.CSV.png", "Summary.CSV_png"),
    ],
)
def test_names_are_safe_as_folders(tmp_path, file_name, expected):
    path = tmp_path / file_name
    path.touch()
    assert names(find_photos([path])) == [expected]


def test_name_that_is_no_text(tmp_path):
    path = tmp_path / b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    path.touch()
    assert names(find_photos([tmp_path])) == ["caf_"]


def test_long_name_leaves_room_for_the_folders_around_it(tmp_path):
    path = tmp_path / ("é" * 120 + ".jpg")
    path.touch()
    (name,) = names(find_photos([path]))
    assert name == "é" * 90


def test_refused_arguments(folder):
    place = folder("notes.txt", "empty/notes.txt")
    message = refusal(find_photos, [place / "notes.txt"])
    assert "notes.txt has no image ending" in message and ".webp" in message
    assert "does not exist" in refusal(find_photos, [place / "gone.jpg"])
    assert "holds no photos" in refusal(find_photos, [place / "empty"])


def test_sample_photos_are_installed():
    found = sample_photos()
    assert names(found) == ["astronaut", "grace_hopper"]
    assert [read_photo(photo.path).shape for photo in found] == [(512, 512, 3), (600, 512, 3)]


# ---- reading


@pytest.fixture
def picture() -> np.ndarray:
    """uint8 [5, 7, 3], every corner different."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_lossless_formats_keep_every_value(tmp_path, picture, ending):
    path = tmp_path / f"x.{ending}"
    Image.fromarray(picture).save(path, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(read_photo(path), picture)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_orientation_is_applied(tmp_path, picture, ending, orientation, upright):
    path = tmp_path / f"x.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(read_photo(path), upright(picture))


def test_damaged_exif_is_passed_over(tmp_path, picture):
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(read_photo(path), picture)


def test_grey_and_black_and_white(tmp_path, picture):
    grey = picture[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read_photo(tmp_path / "grey.png"), np.repeat(grey[:, :, None], 3, axis=2))
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    assert np.array_equal(read_photo(tmp_path / "bits.png")[:, :, 1], np.where(grey > 127, 255, 0))


def test_palette(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "x.png")
    assert np.array_equal(read_photo(tmp_path / "x.png"), np.full((2, 3, 3), (200, 100, 50)))
    image.save(tmp_path / "clear.png", transparency=1)
    assert np.array_equal(read_photo(tmp_path / "clear.png"), np.full((2, 3, 3), 128))


def test_transparency_lies_over_mid_grey(tmp_path, picture):
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[:, :3] = 255
    alpha[:, 3] = 51
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(tmp_path / "x.png")
    found = read_photo(tmp_path / "x.png").astype(float)
    assert np.array_equal(found[:, :3], picture[:, :3])
    assert np.abs(found[:, 3] - (0.2 * picture[:, 3] + 0.8 * 128)).max() <= 1
    assert np.all(found[:, 4:] == 128)


def test_sixteen_bit_grey_is_scaled(tmp_path):
    values = np.array([[0, 257, 32896], [65535, 128, 129]], dtype=np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"x.{ending}")
        assert read_photo(tmp_path / f"x.{ending}")[:, :, 0].tolist() == [[0, 1, 128], [255, 0, 1]]


def test_sixteen_bit_colour_is_scaled(tmp_path):
    values = np.array([[[0, 65535, 32896], [257 * 7, 257 * 100, 257 * 200]]], dtype=">u2")  # [1, 2, 3]
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert read_photo(tmp_path / "x.png").tolist() == [[[0, 255, 128], [7, 100, 200]]]


def test_cmyk(tmp_path):
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    assert np.abs(read_photo(tmp_path / "x.jpg").astype(int) - (255, 0, 0)).max() < 12


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(struct.unpack_from(">I", data, 128)[0]):
        place = 132 + 12 * entry
        tag = bytes(data[place : place + 4])
        if tag in (b"rXYZ", b"bXYZ"):
            data[place : place + 4] = b"bXYZ" if tag == b"rXYZ" else b"rXYZ"
        if tag == b"desc":
            start, size = struct.unpack_from(">II", data, place + 4)
            text = bytes(data[start : start + size])
            data[start : start + size] = text.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return bytes(data)


def test_colour_profile_is_converted_to_srgb(tmp_path, picture):
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path, icc_profile=swapped_profile())
    assert np.abs(read_photo(path).astype(int) - picture[:, :, ::-1]).max() <= 2


def test_srgb_profile_and_damaged_profile_change_nothing(tmp_path, picture):
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(read_photo(path), picture)
    Image.fromarray(picture).save(path, icc_profile=b"no profile")
    assert np.array_equal(read_photo(path), picture)


def test_first_of_several_frames(tmp_path, picture):
    path = tmp_path / "x.webp"
    Image.fromarray(picture).save(path, save_all=True, append_images=[Image.new("RGB", (7, 5))], lossless=True)
    assert np.array_equal(read_photo(path), picture)


def test_damaged_files_are_named_in_one_line(tmp_path, picture):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(picture, (20, 20, 1))).save(buffer, "PNG")
    whole = buffer.getvalue()
    broken = tmp_path / "broken.png"
    for content, said in [
        (b"", "is empty (0 bytes)"),
        (b"hello", "is not an image"),
        (b"%!PS-Adobe-3.0\n", "is not an image"),
        (whole[: len(whole) // 2], "is damaged or incomplete"),
        (whole[:500] + b"\0" * 200 + whole[700:], "is damaged or incomplete"),
    ]:
        broken.write_bytes(content)
        message = refusal(read_photo, broken)
        assert said in message and str(broken) in message
    assert "cannot be read" in refusal(read_photo, tmp_path / "gone.png")
    assert "cannot be read" in refusal(read_photo, tmp_path)


def test_every_cut_of_a_jpeg_is_refused_or_read(tmp_path, picture):
    path = tmp_path / "x.jpg"
    Image.fromarray(np.tile(picture, (8, 8, 1))).save(path)
    whole = path.read_bytes()
    for end in range(1, len(whole) - 2, 97):
        path.write_bytes(whole[:end])
        assert str(path) in refusal(read_photo, path)


def test_too_many_pixels(tmp_path, picture):
    path = tmp_path / "x.png"
    Image.new("L", (2000, 1001)).save(path)
    limit = Image.MAX_IMAGE_PIXELS
    message = refusal(read_photo, path, LimitSettings(photo_megapixels=2))
    assert "2000 x 1001 pixels, allowed are 2 megapixels" in message and "limits.photo_megapixels=3" in message
    assert "more than twice the 0.9 megapixels" in refusal(read_photo, path, LimitSettings(photo_megapixels=0.9))
    assert "give limits.photo_megabytes=1" in refusal(read_photo, path, LimitSettings(photo_megabytes=1e-5))
    assert read_photo(path).shape == (1001, 2000, 3) and Image.MAX_IMAGE_PIXELS == limit


def test_floating_point_image_is_refused(tmp_path):
    Image.fromarray(np.ones((3, 2), np.float32)).save(tmp_path / "x.tif")
    assert "floating-point" in refusal(read_photo, tmp_path / "x.tif")


# ---- values


def test_bytes_to_floats_and_back():
    every = np.arange(256, dtype=np.uint8)
    assert as_float(every).dtype == np.float32 and as_float(every)[[0, 255]].tolist() == [0.0, 1.0]
    assert np.array_equal(as_bytes(as_float(every)), every)
    assert as_bytes(np.array([-1.0, 2.0, 0.5])).tolist() == [0, 255, 128]


def test_conversions_refuse_other_values():
    with pytest.raises(TypeError, match="uint8 images, not float64"):
        as_float(np.zeros(3))
    with pytest.raises(TypeError, match="float images, not uint8"):
        as_bytes(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="2 values that are not a number"):
        as_bytes(np.array([np.nan, 0.0, np.nan]))
