"""Whatever people bring: the real programs on bad and odd input. Each: one clear line, the others go on, nothing is lost.

Bad photos and bad reconstructions are given all at once, among good ones; what concerns a whole run is a run each.
"""

import base64
import csv
import io
import json
import os
import re
import resource
import signal
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bench_kills import kills
from fuzz_inputs import fuzz
from PIL import Image, ImageCms
from synthetic_faces import albedo, head, photograph

from pipeline.reconstruction import program as first_stage
from pipeline.reconstruction.folder import save_reconstruction
from pipeline.reconstruction.photos import sample_photos
from pipeline.runs.run_folder import RESULTS, RunFolder, neutral_name, results_of
from pipeline.settings.command_line import run_main
from refine import main as refine_main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
QUICKEST = [
    "texture_size=64", "refine.features=none", "refine.rendering_iterations=2", "output.preview_size=64", "device=cpu",
    "reconstruct.subdivisions=0", "render.maximum_size=128",
]  # fmt: skip


def program(*arguments, cwd, **more):
    """A finished run of `refine.py` or `-m pipeline.reconstruction`."""
    command = [sys.executable, "-P", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), check=False, **more)


def environment():
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **quiet}


def refine(*arguments, cwd, **more):
    return program(ROOT / "refine.py", *arguments, *QUICKEST, cwd=cwd, **more)


def refined(*arguments):
    """Exit code of a run of refine.py in this process."""
    return refine_main([*QUICKEST, *map(str, arguments)])  # of a key given twice the last counts


def manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))["photos"]


def everything_below(folder):
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


# ---- photos ----------------------------------------------------------------------------------------------------------


def portrait(side=320):
    """The astronaut's head, RGB."""
    return Image.open(sample_photos()[0].path).convert("RGB").crop((96, 0, 352, 256)).resize((side, side - 20))


def png(width, height, rows, depth=8, kind=2):
    """A PNG of raw filtered rows; the header may say anything."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def cut_short(path, ending, share=0.5):
    portrait().save(path, format=ending)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def panorama(path):
    """8000 px across: reduced for the search only."""
    wide = Image.new("RGB", (8000, 1200), (70, 90, 80))
    wide.paste(portrait(1200), (3000, 0))
    wide.save(path, quality=85)


def two_faces(path):
    both = Image.new("RGB", (620, 320), (70, 90, 80))
    both.paste(portrait(320), (0, 0))
    both.paste(portrait(220), (360, 60))
    both.save(path)


def landscape(path):
    rng = np.random.default_rng(3)
    hills = np.linspace(200, 60, 150)[:, None] + rng.normal(0, 12, (150, 230))
    Image.fromarray(np.stack([hills * 0.6, hills * 0.8, hills], -1).clip(0, 255).astype(np.uint8)).save(path)


def lying_jpeg(path):
    portrait(100).save(path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    path.write_bytes(data)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    portrait().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def marked(path):
    """Metadata that would be a command or markup, were it taken for one."""
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script> $(touch pwned) ../../pwned"
    portrait().save(path, exif=exif)


# file name -> (how it is made, what is said of it; None: it is done, [height, width] of its crop at least)
PHOTOS = {
    "plain.png": (lambda path: portrait().save(path), None),
    "grey.png": (lambda path: portrait().convert("L").save(path), None),
    "rgba.png": (lambda path: portrait().convert("RGBA").save(path), None),
    "sixteen.png": (lambda path: Image.fromarray(np.asarray(portrait().convert("L")).astype(np.uint16) * 257).save(path), None),
    "cmyk.jpg": (lambda path: portrait().convert("CMYK").save(path), None),
    "palette.png": (lambda path: portrait().quantize(128).save(path), None),
    "turned.jpg": (turned, None),
    "marked.jpg": (marked, None),
    "several.png": (two_faces, None),
    "wide8000.jpg": (panorama, None),
    "it's \"quoted\" $(touch pwned) `touch pwned` ; \U0001f600.png": (lambda path: portrait().save(path), None),
    os.fsdecode(b"caf\xe9.png"): (lambda path: portrait().save(path), None),  # Latin-1, no text in UTF-8
    os.fsdecode(b"bad\xe9.png"): (lambda path: path.write_bytes(b"no"), r"bad\\udce9\.png is not an image"),
    "=1+1.png": (lambda path: portrait().save(path), None),
    "red\x1b[31m\nname.png": (lambda path: path.write_bytes(b"no"), r"red\\x1b\[31m\\nname\.png is not an image"),
    "landscape.png": (landscape, "no face was found"),
    "tiny40.png": (lambda path: portrait(40).save(path), "face"),
    "thin.png": (lambda path: Image.new("RGB", (5000, 1)).save(path), "no face was found"),
    "text.jpg": (lambda path: path.write_text("just words\n" * 50), r"text\.jpg is not an image of a kind that is read"),
    "empty.jpg": (lambda path: path.touch(), r"empty\.jpg is empty \(0 bytes\)"),
    "short.jpg": (lambda path: cut_short(path, "JPEG"), r"short\.jpg is damaged or incomplete"),
    "short.png": (lambda path: cut_short(path, "PNG"), r"short\.png is damaged or incomplete"),
    "head_only.webp": (lambda path: cut_short(path, "WEBP", 0.1), r"head_only\.webp is"),
    "bomb.png": (lambda path: path.write_bytes(png(20000, 15000, bytes(2501 * 15000), 1, 0)), "20000 x 15000 pixels, allowed are 200"),
    "lying.jpg": (lying_jpeg, "more than twice the 200 megapixels"),
    "lying.png": (lambda path: path.write_bytes(png(3000, 3000, bytes(301 * 100))), r"lying\.png is damaged or incomplete"),
    "float.tif": (lambda path: Image.fromarray(np.ones((60, 50), np.float32)).save(path), "floating-point values"),
}  # fmt: skip


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory):
    """Folder of all photos, OUT, and both stages' finished processes."""
    place = tmp_path_factory.mktemp("photos and 'quotes' \U0001f600")
    photos, out = place / "in", place / "the out"
    photos.mkdir()
    for name, (make, _) in PHOTOS.items():
        make(photos / name)
    (photos / "notes.md").write_text("no photo")
    before = everything_below(photos)
    stages = [
        program("-m", "pipeline.reconstruction", photos, "-o", out, *QUICKEST, cwd=place),
        refine(photos, "-o", out, "jobs=2", cwd=place),
    ]
    assert everything_below(photos) == before  # what the user had is as it was
    assert {path.name for path in place.iterdir()} == {"in", "the out"}  # and nothing is made elsewhere
    return photos, out, stages


def folder_name(file_name):
    stem = Path(file_name).stem
    if [Path(name).stem for name in PHOTOS].count(stem) > 1:
        stem += "_" + Path(file_name).suffix[1:]
    return "".join("_" if c in '"\x1b\n\udce9' else c for c in stem)


@pytest.mark.parametrize("file_name", PHOTOS, ids=ascii)
def test_each_photo(photo_run, file_name):
    _, out, (reconstruct, _) = photo_run
    name, said = folder_name(file_name), PHOTOS[file_name][1]
    entry = manifest(out)[name]
    if said is None:
        assert entry["status"] == "done" and entry["message"] == ""
        rig = {neutral_name(name)} if (out / name / "reconstruction" / "rig.npz").exists() else set()
        assert {path.name for path in (out / name).iterdir()} == {*results_of(name), "reconstruction"} | rig
        return
    assert entry["status"] == "failed" and not (out / name).exists()
    (line,) = [line for line in reconstruct.stdout.splitlines() if f"] {name}: " in line]
    assert re.search(said, line)


def test_one_line_each_and_some_failed(photo_run):
    _, out, (reconstruct, refined) = photo_run
    failed = sum(said is not None for _, said in PHOTOS.values())
    for stage, lines in ((reconstruct, 1 + len(PHOTOS)), (refined, 1 + len(PHOTOS) + 1)):
        assert stage.returncode == 1 and stage.stderr == "" and "Traceback" not in stage.stdout
        said = [line for line in stage.stdout.splitlines() if not line.startswith("expected time")]  # on a slow machine
        assert len(said) == lines and "\x1b" not in stage.stdout
        assert stage.stdout.count(": failed: " if stage is reconstruct else "its reconstruction failed") == failed
    assert {path.name for path in out.iterdir() if path.is_file()} == {".lock", "config.yaml", "manifest.json", "summary.csv", "report.html"}


def test_the_crop_is_native(photo_run):
    _, out, _ = photo_run
    assert Image.open(out / "wide8000" / "reconstruction" / "photo.png").height > 900
    plain, upright = (Image.open(out / name / "reconstruction" / "photo.png").size for name in ("plain", "turned"))
    assert upright == pytest.approx(plain, abs=16)


def test_no_formula_in_the_table(photo_run):
    _, out, _ = photo_run
    rows = list(csv.reader((out / "summary.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == len(PHOTOS) + 1 and "'=1+1" in {row[0] for row in rows}
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


# What nobody but the photo's owner should learn from results.
SECRETS = {
    "artist": "Erika Mustermann-Artist", "copyright": "(c) Mustermann-Rights", "author": "Mustermann-Author", "comment": "Mustermann-Comment",
    "place": "Heidestrasse-Seventeen", "date": "2019:08:07", "xmp": "Mustermann-XMP", "iptc": "Mustermann-IPTC", "profile": "Qprofile-Qname",
}  # fmt: skip


def telling(path):
    """A photo that says who took it where and when: EXIF with GPS, XMP, IPTC, a comment, a named colour profile."""
    exif = Image.Exif()
    exif[0x013B], exif[0x8298] = SECRETS["artist"], SECRETS["copyright"]
    exif[0x9C9D] = SECRETS["author"].encode("utf-16-le") + b"\0\0"  # XPAuthor
    exif.get_ifd(0x8769)[0x9003] = SECRETS["date"] + " 12:00:00"
    exif.get_ifd(0x8825).update(
        {1: "N", 2: (50.0, 7.0, 11.0), 3: "E", 4: (8.0, 41.0, 2.0), 0x1C: SECRETS["place"].encode(), 0x1D: SECRETS["date"]}
    )
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = profile.replace("sRGB built-in".encode("utf-16-be"), SECRETS["profile"][:13].encode("utf-16-be"))
    assert named != profile
    portrait().save(
        path, quality=95, exif=exif, icc_profile=named, comment=SECRETS["comment"].encode(),
        xmp=f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{SECRETS['xmp']}</x:xmpmeta>".encode(),
    )  # fmt: skip
    by_line = SECRETS["iptc"].encode()
    record = b"\x1c\x02\x50" + struct.pack(">H", len(by_line)) + by_line
    record += b"\0" * (len(record) % 2)
    block = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(record)) + record
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:])


def told(data, words):
    """Which of the words stand in these bytes, as UTF-8 or UTF-16, also within base64."""
    found = [data]
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        found.append(base64.b64decode(text + b"=" * (-len(text) % 4)))
    coded = {word: [word.encode(coding) for coding in ("utf-8", "utf-16-le", "utf-16-be")] for word in words}
    return {word for word, codes in coded.items() if any(code in part for part in found for code in codes)}


def image_parts(data):
    """Names of the parts of all PNG and WebP images in these bytes, also within base64: metadata may be compressed."""
    found = [data]
    for text in re.findall(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", data):
        found.append(base64.b64decode(text))
    names = set()
    for part in found:
        for start in (match.end() for match in re.finditer(rb"\x89PNG\r\n\x1a\n", part)):
            name = b""
            while name != b"IEND":
                length, name = struct.unpack(">I4s", part[start : start + 8])
                names.add(name.decode())
                start += 12 + length
        for match in re.finditer(rb"RIFF(....)WEBP", part, re.DOTALL):
            start, end = match.end(), match.start() + 8 + struct.unpack("<I", match[1])[0]
            while start < end:
                name, length = struct.unpack("<4sI", part[start : start + 8])
                names.add(name.decode())
                start += 8 + length + length % 2
        names |= {"JPEG"} if part.startswith(b"\xff\xd8\xff") else set()
    return names


def test_nothing_of_the_photos_metadata_is_in_any_output(tmp_path, monkeypatch):
    """Who took the photo, where and when stays in the photo; its path is only in what the user typed."""
    photos = tmp_path / "a private place"
    (photos / "detections").mkdir(parents=True)
    telling(photos / "me.jpg")
    points = ((135, 118), (187, 120), (160, 150), (132, 162), (186, 165))
    (photos / "detections" / "me.txt").write_text("\n".join(f"{x} {y}" for x, y in points))
    words = [word[:13] if key == "profile" else word for key, word in SECRETS.items()]
    assert told((photos / "me.jpg").read_bytes(), words) == set(words)  # the search would find them
    monkeypatch.chdir(photos)
    finished = program("-m", "pipeline.reconstruction", "me.jpg", "-o", "../out", *QUICKEST, cwd=photos)
    assert finished.returncode == 0, finished.stderr
    assert refined("me.jpg", "-o", "../out", "log.tensorboard=true") == 0
    out = tmp_path / "out"
    written = sorted(path for path in out.rglob("*") if path.is_file())
    assert {path.name for path in written} >= {*results_of("me"), "report.html", "photo.png", "source.json", "summary.csv"}
    assert any(path.parent.name == "tensorboard" for path in written)
    for path in written:
        data = path.read_bytes()
        assert told(data, [*words, str(tmp_path), "a private place"]) == set(), path
        assert image_parts(data) <= {"IHDR", "IDAT", "IEND", "VP8 ", "VP8L"}, path
    assert "VP8 " in image_parts((out / "report.html").read_bytes()) and "IDAT" in image_parts((out / "me" / "me.glb").read_bytes())
    assert json.loads((out / "me" / "reconstruction" / "source.json").read_text())["photo"]["name"] == "me.jpg"


def test_the_search_for_metadata_can_fail():
    exif = Image.Exif()
    exif[0x013B] = SECRETS["artist"]
    for kind, part in (("PNG", "eXIf"), ("WEBP", "EXIF"), ("JPEG", "JPEG")):
        file = io.BytesIO()
        portrait(40).save(file, kind, exif=exif)
        page = b"<img src='data:image/x;base64," + base64.b64encode(file.getvalue()) + b"'>"
        assert part in image_parts(page) and told(page, SECRETS.values()) == {SECRETS["artist"]}


# ---- reconstructions -------------------------------------------------------------------------------------------------


def change_mesh(old, new):
    return lambda folder: (folder / "mesh.obj").write_text((folder / "mesh.obj").read_text().replace(old, new, 1))


def without_uvs(folder):
    lines = (folder / "mesh.obj").read_text().splitlines()
    kept = [line if line[0] != "f" else " ".join(word.split("/")[0] for word in line.split()) for line in lines if line[:2] != "vt"]
    (folder / "mesh.obj").write_text("\n".join(kept))


def set_camera(**values):
    def change(folder):
        content = json.loads((folder / "camera.json").read_text())
        (folder / "camera.json").write_text(json.dumps({**content, **values}))

    return change


def set_source(**values):
    return lambda folder: (folder / "source.json").write_text(json.dumps({"version": 1, **values}))


RECONSTRUCTIONS = {
    "fine": (lambda folder: None, None),
    "nan": (change_mesh("v ", "v nan "), r"mesh\.obj: vertices\[0\] is \[nan"),
    "no uvs": (without_uvs, r"mesh\.obj: line \d+: .* has no texture coordinates"),
    "out of range": (lambda folder: (folder / "mesh.obj").open("a").write("f 1/1 2/2 999999/3\n"), r"mesh\.obj: faces\[\d+\]"),
    "huge index": (lambda folder: (folder / "mesh.obj").open("a").write(f"f 1/1 2/2 {10**30}/3\n"), r"mesh\.obj: "),
    "zero focal length": (set_camera(fx=0), r"camera\.json: camera fx is 0; a focal length above 0 is needed"),
    "giant camera": (set_camera(width=10**9), r"photo\.png is 300 x 280 px, camera\.json says 1000000000 x 280"),
    "infinite focal length": (set_camera(fx=float("inf")), r"camera\.json: camera fx is inf"),
    "deep JSON": (lambda folder: (folder / "camera.json").write_text("[" * 10**5), r"camera\.json: is not JSON"),
    "deep source": (lambda folder: (folder / "source.json").write_text("[" * 10**5), r"source\.json is not readable JSON"),
    "large source": (lambda folder: (folder / "source.json").write_bytes(b" " * 5_000_000), r"source\.json has 5 MB, allowed are 4"),
    "large mesh": (lambda folder: (folder / "mesh.obj").open("a").write("# \n" * 700_000), r"give limits\.mesh_megabytes=3"),
    "pickled": (lambda folder: (folder / "photo.png").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR."), "is not an image"),
    "faces elsewhere": (set_source(faces=["../../elsewhere", "/elsewhere"]), None),
    "behind the camera": (lambda folder: far(folder, -3.0), "the photo shows no texel of the mesh|behind"),
    "..hidden": (lambda folder: None, None),
    "manifest.json": (lambda folder: None, None),
}  # fmt: skip


def far(folder, by):
    lines = (folder / "mesh.obj").read_text().splitlines()
    moved = [
        " ".join([*line.split()[:3], repr(float(line.split()[3]) + by)]) if line.startswith("v ") else line for line in lines
    ]
    (folder / "mesh.obj").write_text("\n".join(moved))


@pytest.fixture(scope="module")
def reconstruction_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("reconstructions")
    found = head(0, subdivisions=0)
    photo = photograph(albedo(64), found)
    for name, (change, _) in RECONSTRUCTIONS.items():
        folder = place / "in" / name
        folder.mkdir(parents=True)
        save_reconstruction(folder, found.mesh, found.camera, photo)
        change(folder)
    before = everything_below(place)
    finished = refine(*[place / "in" / name for name in RECONSTRUCTIONS], "-o", place / "out", "limits.mesh_megabytes=2", cwd=place)
    after = everything_below(place)
    assert {name for name in after if not name.startswith("out/")} == set(before)
    return place / "out", finished


@pytest.mark.parametrize("given", RECONSTRUCTIONS)
def test_each_reconstruction(reconstruction_run, given):
    out, finished = reconstruction_run
    said, name = RECONSTRUCTIONS[given][1], {"..hidden": "_.hidden", "manifest.json": "manifest.json_"}.get(given, given)
    entry = manifest(out)[name]
    if said is None:
        assert entry["status"] == "done" and {path.name for path in (out / name).iterdir()} == results_of(name)
        return
    assert entry["status"] == "failed" and not (out / name).exists()
    (line,) = [line for line in finished.stdout.splitlines() if f"] {name}: failed: " in line]
    assert re.search(said, line)


def test_bad_reconstructions_are_one_line_each(reconstruction_run):
    _, finished = reconstruction_run
    assert finished.returncode == 1 and finished.stderr == "" and len(finished.stdout.splitlines()) == 1 + len(RECONSTRUCTIONS) + 1
    assert "unexpected" not in finished.stdout and "Traceback" not in finished.stdout


@pytest.fixture
def reconstruction(tmp_path):
    """A reconstruction folder named ann."""
    found = head(0, subdivisions=0)
    (tmp_path / "ann").mkdir()
    save_reconstruction(tmp_path / "ann", found.mesh, found.camera, photograph(albedo(64), found))
    return tmp_path / "ann"


def test_the_example_of_the_contract(tmp_path, monkeypatch):
    """A mesh that is no face, with a seam, written by hand in ten lines: the card's halves show the photo's."""
    lines = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("    from pathlib import Path")
    code = [line[4:] for line in lines[first : lines.index("", first)]]
    assert len(code) == 10
    photo = np.zeros((300, 320, 3), np.uint8)
    photo[:, :160], photo[:, 160:] = left, right = (210, 135, 110), (165, 165, 150)  # both within reach of the content's colour
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(code), {})  # noqa: S102  that is what a reader would do
    assert refined("card", "-o", "out", "refine.rendering_iterations=60") == 0
    texture = np.asarray(Image.open(tmp_path / "out" / "card" / "texture.png")).astype(int)
    assert np.abs(texture[20:44, 10:22] - left).mean() < 3 and np.abs(texture[20:44, 42:54] - right).mean() < 3


# ---- whole runs ------------------------------------------------------------------------------------------------------


def is_one_line(text, words):
    return len(text.splitlines()) == 1 and words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["refine.iteratons=3"], "did you mean refine.iterations?"),
        (["texture_size=big"], "texture_size: got 'big', allowed is a whole number from 64 to 8192"),
        (["texture_size=10000"], "the nearest is 8192"),
        (["texture_size=!!timestamp 2024-99-99"], "texture_size: got"),
        (["jobs=-1"], "jobs: got -1, allowed is a whole number from 0 to 1024; the nearest is 0"),
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["a_pipe.jpg"], "a_pipe.jpg is neither a file nor a folder"),
        (["empty_folder"], "holds no photos"),
        (["-c", "deep.yaml"], "deep.yaml is not valid YAML"),
        (["-c", "date.yaml"], "date.yaml is not valid YAML"),
        (["-c", "object.yaml"], "object.yaml, line 1 is not valid YAML"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_use(tmp_path, monkeypatch, capsys, arguments, words):
    os.mkfifo(tmp_path / "a_pipe.jpg")
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "deep.yaml").write_text("seed: " + "[" * 5000)
    (tmp_path / "date.yaml").write_text("seed: 2024-99-99")
    (tmp_path / "object.yaml").write_text("seed: !!python/object/apply:os.system ['touch pwned']")
    before = set(everything_below(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: first_stage.main([*arguments, "-o", "out"]))
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.out == "" and is_one_line(printed.err, words)
    assert set(everything_below(tmp_path)) == before and not (tmp_path / "out").exists()


def test_out_that_is_a_file(reconstruction):
    (reconstruction.parent / "out").write_text("mine")
    finished = refine("ann", "-o", "out", cwd=reconstruction.parent)
    assert finished.returncode == 2 and is_one_line(finished.stderr, "cannot write out: it is a file, not a folder")
    assert (reconstruction.parent / "out").read_text() == "mine"


def test_out_that_may_not_be_written(reconstruction):
    place = reconstruction.parent
    if os.geteuid() == 0:  # root may write everywhere, but not here
        out = Path("/sys/facerefiner")
    else:
        (place / "closed").mkdir()
        (place / "closed").chmod(stat.S_IRUSR | stat.S_IXUSR)
        out = place / "closed" / "out"
    finished = refine("ann", "-o", out, cwd=place)
    assert finished.returncode == 2 and is_one_line(finished.stderr, "choose another folder with -o")
    assert not out.exists()


def test_out_that_is_full(reconstruction):
    """The system itself refuses larger files, in the middle of the second photo; the first one's former results stay."""
    place = reconstruction.parent
    assert refined(reconstruction, "-o", place / "out") == 0
    before = {name: (place / "out" / "ann" / name).read_bytes() for name in RESULTS}
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
    finished = program(ROOT / "refine.py", "ann", "-o", "out", *QUICKEST, "seed=1", cwd=place, preexec_fn=full)
    assert finished.returncode == 2 and is_one_line(finished.stderr, "files may not grow to that size")
    assert {name: (place / "out" / "ann" / name).read_bytes() for name in RESULTS} == before
    assert not [path for path in (place / "out").iterdir() if ".partial-" in path.name]


def test_out_that_holds_what_is_given(reconstruction, capsys):
    """Results would take the place of the reconstruction that they are to be made of."""
    before = everything_below(reconstruction)
    assert refined(reconstruction, "-o", reconstruction.parent) == 1
    assert "choose another folder with -o" in capsys.readouterr().out
    assert everything_below(reconstruction) == before


def test_what_the_user_put_beside_the_results_stays(reconstruction):
    out = reconstruction.parent / "out"
    assert refined(reconstruction, "-o", out) == 0
    mine = out / "ann" / "in blender"
    mine.mkdir()
    (mine / "head.blend").write_text("mine")
    (mine.parent / "link").symlink_to("nowhere")
    (mine.parent / "texture.png").write_text("spoilt")
    assert refined(reconstruction, "-o", out, "seed=1") == 0
    assert (mine / "head.blend").read_text() == "mine" and os.readlink(mine.parent / "link") == "nowhere"
    assert Image.open(mine.parent / "texture.png").size == (64, 64)


def test_limits_can_be_raised(reconstruction, capsys):
    out = reconstruction.parent / "out"
    assert refined(reconstruction, "-o", out, "limits.photo_megapixels=0.08") == 1
    assert "300 x 280 pixels, allowed are 0.08 megapixels" in capsys.readouterr().out
    assert refined(reconstruction, "-o", out, "limits.photo_megapixels=0.1") == 0


def long_run(reconstruction, jobs, steps):
    """A run of ann, bob and cyd that is at work on ann; its OUT, and the process that works on it."""
    place = reconstruction.parent
    for name in ("bob", "cyd"):
        (place / name).mkdir()
        for path in reconstruction.iterdir():
            (place / name / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-P", str(ROOT / "refine.py"), "ann", "bob", "cyd", "-o", "out", *QUICKEST]
    run = subprocess.Popen(
        [*command, f"jobs={jobs}", f"refine.rendering_iterations={steps}"],
        cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert run.stdout.readline().startswith("refine: 3 faces")
    while not (found := list((place / "out").glob(".ann.partial-*"))):
        assert run.poll() is None
    return run, place / "out", int(found[0].name.rpartition("-")[2])


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c(reconstruction, jobs):
    run, out, _ = long_run(reconstruction, jobs, 10**6)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal sends it
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and is_one_line(said, "finished photos are kept; the same command resumes")
    assert {path.name for path in out.iterdir()} == {".lock", "config.yaml", "manifest.json"}


def test_a_process_that_is_killed_costs_its_photo_alone(reconstruction):
    run, out, worker = long_run(reconstruction, 2, 100)
    assert worker != run.pid
    os.kill(worker, signal.SIGKILL)  # as a system does that runs out of memory
    said, errors = run.communicate(timeout=120)
    assert run.returncode == 1 and errors == "" and said.count(": failed: ") == 1
    assert "ann: failed: the process that worked on it was ended by SIGKILL (possibly out of memory" in said
    assert {name: entry["status"] for name, entry in manifest(out).items()} == {"ann": "failed", "bob": "done", "cyd": "done"}
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"bob", "cyd"}


def test_a_second_run_into_the_same_folder_is_told(reconstruction):
    with RunFolder(reconstruction.parent / "out"):
        second = refine("ann", "-o", "out", cwd=reconstruction.parent)
    assert second.returncode == 2 and is_one_line(second.stderr, f"another run is working in out (process {os.getpid()})")


# ---- chance ----------------------------------------------------------------------------------------------------------


def test_killed_at_random_moments(tmp_path):
    """The short form of tests/benchmarks/bench_kills.py."""
    assert sum(kills(tmp_path, 3, seed=1, detections=True).values()) == 3


def test_mutated_inputs():
    """The short form of tests/fuzz_inputs.py."""
    finds, seen = fuzz(200, seed=7)
    assert finds == [] and seen == {"photo": 50, "mesh": 50, "camera": 50, "config": 50}
