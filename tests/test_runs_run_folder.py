"""The folder of a run: whole files, whole folders, what a kill leaves, and the record of what became of every photo."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.runs.files import (
    InputFileError,
    RunFolderError,
    is_finished,
    replaced_folder,
    results_fingerprint,
    write_bytes,
    write_image,
    write_json,
    write_text,
)
from pipeline.runs.run_folder import RunFolder, export_name, results_of

CHECKOUT = Path(__file__).resolve().parent.parent


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder but the lock, by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def refusal(call, *arguments) -> str:
    with pytest.raises(RunFolderError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- files


def test_files_are_written_whole(tmp_path):
    write_bytes(tmp_path / "b", b"\0\1")
    write_text(tmp_path / "t", "größe \udce9\n")
    write_json(tmp_path / "j", {"é": np.float32(0.5), "a": np.arange(2), "p": Path("x")})
    assert (tmp_path / "b").read_bytes() == b"\0\1"
    assert (tmp_path / "t").read_text(encoding="utf-8") == "größe \\udce9\n"
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == {"é": 0.5, "a": [0, 1], "p": "x"}
    assert sorted(os.listdir(tmp_path)) == ["b", "j", "t"]


def test_images_are_written_whole(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_image(tmp_path / "x.png", image)
    write_image(tmp_path / "g.png", image[:, :, 0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "g.png")), image[:, :, 0])
    with pytest.raises(ValueError, match=r"not float64 \[4, 6, 3\]"):
        write_image(tmp_path / "x.png", image / 255.0)


def test_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    write_text(tmp_path / "x", "former")

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert "no space is left" in refusal(write_text, tmp_path / "x", "new")
    assert content(tmp_path) == {"x": "former"}


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x", {"psnr": float("nan")})
    assert os.listdir(tmp_path) == []


# ---- folders


def test_folder_takes_its_place_at_the_end(tmp_path):
    target = tmp_path / "deep" / "photo"
    with replaced_folder(target) as partial:
        (partial / "a").write_text("1")
        assert not target.exists()
    assert content(tmp_path) == {"deep/photo/a": "1"}


def test_new_folder_takes_the_place_of_the_former_and_keeps_what_is_asked(tmp_path):
    target = tmp_path / "photo"
    (target / "reconstruction" / "sub").mkdir(parents=True)
    (target / "reconstruction" / "sub" / "mesh").write_text("mesh")
    (target / "old").write_text("old")
    with replaced_folder(target, keep=("reconstruction", "absent")) as partial:
        (partial / "new").write_text("new")
    assert content(target) == {"new": "new", "reconstruction/sub/mesh": "mesh"}
    assert os.listdir(tmp_path) == ["photo"]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_failed_block_leaves_the_former_folder_or_none(tmp_path, exception):
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "a").write_text("former")
    for target in (tmp_path / "photo", tmp_path / "fresh" / "reconstruction"):
        with pytest.raises(exception), replaced_folder(target) as partial:
            (partial / "a").write_text("half")
            raise exception
    assert content(tmp_path) == {"photo/a": "former"} and os.listdir(tmp_path) == ["photo"]


def test_failed_rename_puts_the_former_folder_back(tmp_path, monkeypatch):
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "a").write_text("former")
    rename = os.rename

    def rename_once(source, target):
        if ".partial-" in str(source):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_once)
    with pytest.raises(RunFolderError, match="input/output error"), replaced_folder(tmp_path / "photo") as partial:
        (partial / "a").write_text("new")
    assert content(tmp_path) == {"photo/a": "former"} and os.listdir(tmp_path) == ["photo"]


def test_full_disk_in_the_block_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no space is left on its disk"), replaced_folder(tmp_path / "photo"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_of_the_block_pass(tmp_path):
    with pytest.raises(FileNotFoundError), replaced_folder(tmp_path / "photo"):
        Path(tmp_path / "gone").read_text()


# ---- kills

# Replaces OUT/photo (files "a" and "b", both of one age) and kills itself at the step named by the first argument.
KILLED = """
import os, signal, shutil, sys
from pathlib import Path
from pipeline.runs.files import write_text
from pipeline.runs.run_folder import RunFolder, export_name, results_of
step, out = sys.argv[1], sys.argv[2]
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
rename = os.rename
if step == "before the former is moved":
    os.rename = die
elif step == "before the new is moved":
    os.rename = lambda s, t: die() if ".partial-" in str(s) else rename(s, t)
elif step == "before the former is removed":
    shutil.rmtree = lambda p, **k: die() if ".old-" in str(p) else None
elif step == "while the former is removed":
    shutil.rmtree = lambda p, **k: (os.unlink(Path(p) / "a"), die()) if ".old-" in str(p) else None
elif step == "in a single file":
    os.replace = die
with RunFolder(out) as run:
    with run.replaced_results("photo") as partial:
        (partial / "a").write_text("new")
        if step == "in the block":
            die()
        (partial / "b").write_text("new")
    if step == "in a single file":
        write_text(run.path / "config.yaml", "x: 1")
"""


def killed_at(step: str, out: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, step, out], cwd=CHECKOUT, check=False)
    assert result.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "age"),
    [
        ("in the block", "former"),
        ("before the former is moved", "former"),
        ("before the new is moved", "former"),
        ("before the former is removed", "new"),
        ("while the former is removed", "new"),
        ("in a single file", "new"),
    ],
)
def test_kill_leaves_one_whole_folder(tmp_path, step, age):
    mesh = tmp_path / "photo" / "reconstruction" / "mesh"
    mesh.parent.mkdir(parents=True)
    for path in (tmp_path / "photo" / "a", tmp_path / "photo" / "b", mesh):
        path.write_text("former")
    killed_at(step, tmp_path)
    assert any(path.name.startswith(".") and path.name != ".lock" for path in tmp_path.iterdir())
    with RunFolder(tmp_path):
        assert content(tmp_path / "photo") == {"a": age, "b": age, "reconstruction/mesh": "former"}
        assert sorted(os.listdir(tmp_path)) == [".lock", "photo"]


def test_kill_of_a_first_run_leaves_nothing(tmp_path):
    killed_at("in the block", tmp_path / "out")
    with RunFolder(tmp_path / "out") as run:
        assert os.listdir(run.path) == [".lock"]


def test_leftovers_of_a_reconstruction_are_cleared(tmp_path):
    for name, kind in (("fresh", "partial"), ("done", "old")):
        folder = tmp_path / name / f".reconstruction.{kind}-77"
        folder.mkdir(parents=True)
        (folder / "mesh.obj").write_text("v")
    (tmp_path / "done" / ".reconstruction.partial-77").mkdir()
    with RunFolder(tmp_path):
        assert content(tmp_path) == {"done/reconstruction/mesh.obj": "v"}
        assert not (tmp_path / "fresh").exists()


def test_what_is_not_ours_stays(tmp_path):
    for name in (".hidden", "notes.partial-1", ".x.partial", "photo/.keep"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    before = content(tmp_path)
    with RunFolder(tmp_path):
        assert content(tmp_path) == before


# ---- one run at a time


def test_second_run_is_told(tmp_path):
    with RunFolder(tmp_path):
        message = refusal(RunFolder(tmp_path).__enter__)
        assert f"process {os.getpid()}" in message and "-o" in message
    with RunFolder(tmp_path):
        pass


def test_lock_goes_with_the_process(tmp_path):
    script = """
import sys, time
from pipeline.runs.run_folder import RunFolder, export_name, results_of
with RunFolder(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, cwd=CHECKOUT)
    process.stdout.readline()
    assert f"process {process.pid}" in refusal(RunFolder(tmp_path).__enter__)
    process.kill()
    process.wait()
    process.stdout.close()
    with RunFolder(tmp_path):  # without waiting: the kernel has let go of the lock
        assert "process" in (tmp_path / ".lock").read_text()


# ---- places that cannot be used


def test_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    assert "is a file, not a folder" in refusal(RunFolder(tmp_path / "out").__enter__)
    assert "is a file, not a folder" in refusal(RunFolder(tmp_path / "out" / "deeper").__enter__)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_folder_that_cannot_be_written(tmp_path, monkeypatch, error):
    def refuse(*arguments, **keywords):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = refusal(RunFolder(tmp_path / "out").__enter__)
    assert str(tmp_path / "out") in message and "choose another folder with -o" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    assert "may not be written to" in refusal(RunFolder(tmp_path / "out").__enter__)
    tmp_path.chmod(0o700)


# ---- finished or not


def test_fingerprint_follows_settings_bytes_and_version(tmp_path):
    photo, other = tmp_path / "a.png", tmp_path / "b.png"
    photo.write_bytes(b"1")
    other.write_bytes(b"2")
    base = results_fingerprint("c", [photo], "1")
    assert base == results_fingerprint("c", [photo], "1")
    others = [("d", [photo], "1"), ("c", [photo], "2"), ("c", [other], "1"), ("c", [photo, other], "1"), ("c", [], "1")]
    assert len({base, *(results_fingerprint(*arguments) for arguments in others)}) == 6
    photo.rename(tmp_path / "renamed.png")
    assert results_fingerprint("c", [tmp_path / "renamed.png"], "1") == base
    with pytest.raises(InputFileError, match=r"gone\.png cannot be read"):
        results_fingerprint("c", [tmp_path / "gone.png"], "1")


def test_finished_means_the_fingerprint_is_there(tmp_path):
    assert not is_finished(tmp_path, "f")
    for text in ("", "[]", "{", '{"fingerprint": "g"}', "{}"):
        (tmp_path / "metrics.json").write_text(text)
        assert not is_finished(tmp_path, "f") and not is_finished(tmp_path, "")
    write_json(tmp_path / "metrics.json", {"fingerprint": "f"})
    assert is_finished(tmp_path, "f")
    write_json(tmp_path / "source.json", {"fingerprint": "r"})
    assert is_finished(tmp_path, "r", marker="source.json")


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "summary.csv"])
def test_a_users_file_is_not_taken_for_ours(tmp_path, name):
    (tmp_path / name).write_text("mine: 1")
    assert f"{name} is not from a run and would be lost" in refusal(RunFolder(tmp_path).__enter__)
    assert content(tmp_path) == {name: "mine: 1"}


FOREIGN_MANIFEST = json.dumps({"version": 3, "photos": ["beach.jpg"]})


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("config.yaml", {".lock": "", "config.yaml": "mine: 1"}),  # many programs leave a .lock
        ("config.yaml", {".lock": "4321\n", "config.yaml": "mine: 1"}),
        ("config.yaml", {".lock": "held by another program", "config.yaml": "mine: 1"}),
        (".lock", {".lock": "held by another program"}),
        ("manifest.json", {"manifest.json": FOREIGN_MANIFEST}),
        ("config.yaml", {"manifest.json": FOREIGN_MANIFEST, "config.yaml": "mine: 1"}),
    ],
)
def test_what_another_program_left_is_not_ours(tmp_path, name, files):
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert f"{name} is not from a run and would be lost" in refusal(RunFolder(tmp_path).__enter__)
    assert {file: (tmp_path / file).read_text() for file in files} == files


@pytest.mark.parametrize("kind", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_lock_that_is_no_file(tmp_path, kind):
    kind(tmp_path / ".lock")
    assert ".lock is not from a run" in refusal(RunFolder(tmp_path).__enter__)


def test_what_runs_left_is_ours(tmp_path):
    """By the mark in .lock, whatever is lost of the manifest, or by a manifest, as former versions left it."""
    former = {"version": 1, "software": {}, "non_commercial_because_of": [], "photos": {"a": {}}}
    for folder, lock, manifest in (("killed", None, '{"photos": '), ("former", "4321\n", json.dumps(former))):
        out = tmp_path / folder
        if lock is None:
            with RunFolder(out):
                pass
        else:
            out.mkdir()
            (out / ".lock").write_text(lock)
        (out / "config.yaml").write_text("seed: 0")
        (out / "manifest.json").write_text(manifest)
        with RunFolder(out):
            assert (out / ".lock").read_text() == f"folder of FaceRefiner runs, process {os.getpid()}\n"


def test_a_program_names_the_files_it_writes(tmp_path):
    (tmp_path / "results.csv").write_text("mine")
    assert "results.csv is not from a run" in refusal(RunFolder(tmp_path, ("results.csv",)).__enter__)
    (tmp_path / "config.yaml").write_text("mine")
    (tmp_path / "results.csv").unlink()
    with RunFolder(tmp_path, ("results.csv",)):
        pass


# ---- names of exports

NAMES = (
    "a b", "a_b", "a  b", "a~20b", "a~b", "a%20b", "a+b", "a'b", 'a"b', "a=b", "a b~", "a,b", "a\u00a0b", "a\u3000b", "a\u202eb",
    "\U0001f600", "\U0001f601", "\udce9", *("\U0001f600" * count for count in range(2, 46)), "\U0001f600" * 44 + "\U0001f601",
    "x" * 179 + "(", "x" * 178 + "((",
)  # fmt: skip


def test_different_photos_export_to_different_names():
    exports = {name: export_name(name) for name in NAMES}
    assert len(set(exports.values())) == len(NAMES)
    assert len({export.casefold() for export in exports.values()}) == len(NAMES)  # where upper and lower case are one
    for export in exports.values():
        assert not set(export) & set(" \t\"'()%#\\/,;&=+\u00a0\u3000") and export.isprintable()
        assert len(f".{export}_texture.png.partial-1234567".encode()) <= 255
    assert exports["a b"] == "a~20b" and exports["a_b"] == "a_b" and exports["\udce9"] == "~ED~B3~A9"


@pytest.mark.parametrize(
    "name", ["ann", "IMG_0001", "ann-face2", "v1.2_final", "00073", "größe", "naïve".replace("ï", "i\u0308"), "हिन्दी", "李", "é" * 90]
)
def test_plain_names_stay(name):
    assert export_name(name) == name


def test_exports_under_former_names_go_when_results_are_made_anew(tmp_path):
    with RunFolder(tmp_path) as run:
        (tmp_path / "a b").mkdir()
        for name in ("a_b.glb", "a_b.obj", "a_b.mtl", "a_b_texture.png", "a~20b_neutral.obj", "a b.blend"):
            (tmp_path / "a b" / name).write_text("former")
        with run.replaced_results("a b") as partial:
            for name in results_of("a b"):
                (partial / name).write_text("new")
        assert set(content(tmp_path / "a b")) == results_of("a b") | {"a b.blend"} and "a~20b.glb" in results_of("a b")


def test_a_file_in_the_place_of_a_photos_folder(tmp_path):
    with RunFolder(tmp_path / "out") as run:
        (tmp_path / "out" / "a").write_text("mine")
        assert "it is a file, not a folder" in refusal(run.replaced_results("a").__enter__)
    with RunFolder(tmp_path / "out"):
        assert (tmp_path / "out" / "a").read_text() == "mine"


def test_reconstruction_survives_new_results(tmp_path):
    with RunFolder(tmp_path) as run:
        with run.replaced_reconstruction("a") as partial:
            (partial / "mesh.obj").write_text("1")
        with run.replaced_results("a") as partial:
            (partial / "texture").write_text("1")
        with run.replaced_reconstruction("a") as partial:
            (partial / "mesh.obj").write_text("2")
        assert content(run.results("a")) == {"texture": "1", "reconstruction/mesh.obj": "2"}
