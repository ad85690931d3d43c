"""The folder a run writes, OUT: nothing in it is ever half written, whatever kills the run.

Files are written beside their place, synced and renamed. A photo's results are made in a hidden folder beside theirs
and renamed over them at the end; what a killed run left behind is cleaned up, or put back, when the folder is opened
next. One run at a time works in a folder.

    OUT/config.yaml      the resolved config of the last run
    OUT/manifest.json    versions, seed, device, assets with licences, what became of every photo
    OUT/summary.csv      one line of metrics per photo
    OUT/report.html      made of the others by the room report
    OUT/<photo>/         results; finished when metrics.json holds the fingerprint of what went in
"""

import csv
import errno
import fcntl
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

MANIFEST_VERSION = 1
STAGES = ("reconstruction", "refinement")
STATUSES = ("done", "failed", "skipped")

# What OUT itself holds beside the folders of the photos.
OWN_FILES = ("config.yaml", "manifest.json", "summary.csv", "report.html", "comparison.png", "comparison.html")

# What the refinement writes into every photo's folder, beside the files that carry the photo's name.
RESULTS = (
    "texture.png", "preview.png", "sampled.png", "visibility.png", "initial.png", "provenance.png", "rendering.png",
    "metrics.json",
)  # fmt: skip
LOG_FOLDER = "tensorboard"

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-[0-9]+")
_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"


class RunFolderError(Exception):
    """OUT cannot be used; the message is one line that says why and what to do."""


class InputFileError(ValueError):
    """A file that results are to be made of cannot be read; one line."""


# ---- names -----------------------------------------------------------------------------------------------------------


def export_name(photo_name: str) -> str:
    """What a photo's exports, and the object, mesh, material and image in them, are called: no two heads in one folder or
    scene are called alike, and no program stumbles over a space."""
    return re.sub(r"[^\w.-]+", "_", photo_name)


def results_of(photo_name: str) -> set[str]:
    """The files that the refinement writes for a photo; whatever else is in its folder is the user's."""
    exports = (f"{export_name(photo_name)}{ending}" for ending in (".obj", ".mtl", ".glb", "_texture.png"))
    return {*RESULTS, *exports}


# ---- files -----------------------------------------------------------------------------------------------------------


def write_bytes(path: str | Path, data: bytes) -> None:
    """The whole file or none: written beside its place, synced, renamed. Raises RunFolderError."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with _explained(path):
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """UTF-8; what a file name holds that is no text is escaped. Raises RunFolderError."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: object) -> None:
    """Indented JSON. Raises RunFolderError, and ValueError for numbers that JSON has not (NaN, infinity)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """uint8 [H, W] or [H, W, 3 or 4] RGB(A), in the format of the path's ending. Raises RunFolderError."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"an image to write is uint8 [H, W] or [H, W, 3], not {image.dtype} {list(image.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=Image.registered_extensions()[Path(path).suffix.lower()])
    write_bytes(path, buffer.getvalue())


@contextmanager
def replaced_folder(target: str | Path, keep: Sequence[str] = ()) -> Iterator[Path]:
    """An empty hidden folder beside `target` that takes its place when the block ends well, and goes when it does not.

    keep: sub-folders and files of the former `target` that go over into the new one unless the block made them anew.
    A kill leaves the former or the new folder, whole; `RunFolder` clears the rest when it opens OUT next.
    Raises RunFolderError where the disk is full or not writable.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    if target.exists() and not target.is_dir():
        raise RunFolderError(f"cannot write {target}: it is a file, not a folder: choose another folder with -o")
    with _explained(target):
        parent_is_new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            for name in keep:
                if os.path.lexists(target / name) and not os.path.lexists(partial / name):
                    _link_tree(target / name, partial / name)
            _sync_tree(partial)
            had_target = target.exists()
            if had_target:
                os.rename(target, aside)
            try:
                os.rename(partial, target)
            except BaseException:
                if had_target and not target.exists():
                    os.rename(aside, target)
                raise
            _sync(target.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if parent_is_new and not any(target.parent.iterdir()):
                target.parent.rmdir()
            raise
        shutil.rmtree(aside, ignore_errors=True)


# ---- finished or not -------------------------------------------------------------------------------------------------


def results_fingerprint(config_fingerprint: str, inputs: Sequence[str | Path], stage_version: str) -> str:
    """sha256 (hex) of all that results follow from: settings, the bytes of the input files, the stage's code version.

    inputs: the photo, and whatever else is read for it (a content image, the files of a reconstruction), in order.
    Raises InputFileError naming a file that cannot be read.
    """
    digest = hashlib.sha256(f"{config_fingerprint}\n{stage_version}\n".encode())
    for path in inputs:
        try:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def is_finished(folder: str | Path, fingerprint: str, marker: str = "metrics.json") -> bool:
    """Whether `folder` holds results of exactly these inputs: its marker file holds their fingerprint."""
    return bool(fingerprint) and _read_json(Path(folder) / marker).get("fingerprint") == fingerprint


# ---- OUT -------------------------------------------------------------------------------------------------------------


class RunFolder:
    """OUT, locked against a second run while open. Use as `with RunFolder(path) as run:`.

    Opening makes the folder and clears or puts back what killed runs left. Raises RunFolderError where it is no folder,
    not writable, or in use.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest: dict = {}
        self._stage = ""
        self._names: list[str] = []
        self._lock = None

    def __enter__(self) -> Self:
        with _explained(self.path):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # /proc, or a folder that is taken away at this moment
                raise RunFolderError(f"{self.path} cannot be made: choose another folder with -o") from error
            self._refuse_what_is_not_ours()
            self._take_lock()
            _clear_leftovers(self.path)
        self.manifest = _sound_manifest(_read_json(self.path / "manifest.json"))
        return self

    def __exit__(self, *exception) -> None:
        if self._lock is not None:
            with suppress(OSError):  # then the next run does it
                _clear_leftovers(self.path)  # of processes that were ended
            self._lock.close()
            self._lock = None

    def results(self, name: str) -> Path:
        """The folder of a photo's results."""
        return self.path / name

    def reconstruction(self, name: str) -> Path:
        """The folder of a photo's reconstruction."""
        return self.path / name / "reconstruction"

    def replaced_results(self, name: str):
        """`replaced_folder` for a photo's results; the reconstruction stays, and what the user put there."""
        folder = self.results(name)
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        ours = {*results_of(name), LOG_FOLDER}
        return replaced_folder(folder, keep=[entry for entry in found if entry not in ours])

    def replaced_reconstruction(self, name: str):
        """`replaced_folder` for a photo's reconstruction."""
        return replaced_folder(self.reconstruction(name))

    def start(
        self,
        stage: str,
        names: Sequence[str],
        *,
        config_name: str,
        config_yaml: str,
        seed: int,
        device: str,
        assets: Sequence[Mapping] = (),
        command: str = "",
    ) -> None:
        """Writes config.yaml and the head of manifest.json, and forgets photos that are neither here nor asked for.

        stage: one of STAGES. assets: what the stage uses, each with `name`, `licence` and what else is to be known,
        added to the other stage's. command: the command line. Raises RunFolderError.
        """
        if stage not in STAGES:
            raise ValueError(f"stage is {stage!r}, allowed are {', '.join(STAGES)}")
        self._stage, self._names = stage, list(dict.fromkeys(names))
        asked_for = set(names)
        former = self.manifest
        assets = {entry["name"]: dict(entry) for entry in [*former.get("assets", []), *assets]}
        photos = {
            name: entry
            for name, entry in former.get("photos", {}).items()
            if name in asked_for or self.results(name).is_dir()
        }
        self.manifest = {
            "version": MANIFEST_VERSION,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": config_name,
            "seed": seed,
            "command": command,
            "device": {**former.get("device", {}), stage: device},
            "software": software_versions(),
            "assets": list(assets.values()),
            "non_commercial_because_of": [name for name, entry in assets.items() if entry.get("non_commercial")],
            "photos": photos,
        }
        write_text(self.path / "config.yaml", config_yaml)
        self._write_manifest()

    def record(self, name: str, status: str, *, message: str = "", seconds: float = 0.0) -> None:
        """What became of a photo in this stage (one of STATUSES); in manifest.json when this returns.

        A photo has failed where a stage has, was skipped where every stage was, and is done otherwise.
        """
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}, allowed are {', '.join(STATUSES)}")
        if not self._stage:
            raise RuntimeError("RunFolder.start comes before RunFolder.record")
        self._note(name, status, message, seconds)
        self._write_manifest()

    def record_skipped(self, names: Sequence[str]) -> None:
        """Photos that were finished before. Written once for all: thousands, one by one, would take minutes."""
        for name in names:
            self._note(name, "skipped", "", 0.0)
        if names:
            self._write_manifest()

    def _note(self, name: str, status: str, message: str, seconds: float) -> None:
        # A new reconstruction makes what was known of the refinement out of date.
        former = {} if self._stage == STAGES[0] else self.manifest["photos"].get(name, {}).get("stages", {})
        stages = {**former, self._stage: {"status": status, "message": message, "seconds": round(seconds, 2)}}
        found = [stage["status"] for stage in stages.values()]
        overall = "failed" if "failed" in found else "skipped" if set(found) == {"skipped"} else "done"
        messages = [stage["message"] for stage in stages.values() if stage["message"]]
        self.manifest["photos"][name] = {
            "status": overall,
            "message": "; ".join(messages),
            "seconds": round(sum(stage["seconds"] for stage in stages.values()), 2),
            "stages": stages,
        }

    def write_summary(self) -> None:
        """summary.csv: a line for each photo of this run, its status and the figures of its metrics.json.

        Nested figures get dotted names (`seconds.refine`); lists and texts are left out. A text that a spreadsheet would
        take for a formula (a photo may be called =1+1) begins with an apostrophe. Raises RunFolderError.
        """
        photos = self.manifest.get("photos", {})
        rows = []
        for name in self._names:
            entry = photos.get(name, {})
            metrics = dict(_figures(_read_json(self.results(name) / "metrics.json")))
            outcome = {key: _as_cell(entry.get(key, "")) for key in ("status", "message")}
            rows.append({"photo": _as_cell(name), **outcome, **metrics})
        columns = list(dict.fromkeys(["photo", "status", "message", *(key for row in rows for key in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "summary.csv", text.getvalue())

    def _refuse_what_is_not_ours(self) -> None:
        """A folder that no run has been in may hold files of the user's under the names of ours."""
        if (self.path / ".lock").exists() or "photos" in _read_json(self.path / "manifest.json"):
            return
        for name in OWN_FILES:
            if os.path.lexists(self.path / name):
                raise RunFolderError(f"{self.path / name} is not from a run and would be lost: choose another folder with -o")

    def _write_manifest(self) -> None:
        write_json(self.path / "manifest.json", self.manifest)

    def _take_lock(self) -> None:
        self._lock = (self.path / ".lock").open("a+", encoding="utf-8")
        try:
            # The kernel lets go of it when the process dies, however it dies.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip()
            self._lock.close()
            who = f" (process {owner})" if owner else ""
            raise RunFolderError(
                f"another run is working in {self.path}{who}: wait for it, or choose another folder with -o"
            ) from error
        except OSError as error:
            warnings.warn(f"{self.path} cannot be locked ({error.strerror}); do not run twice into it", stacklevel=3)
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()


def software_versions() -> dict:
    """Versions of Python, the platform and every package of requirements.txt (None: not installed)."""
    packages = {}
    for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            name = re.split(r"[^A-Za-z0-9._-]", line)[0]
            try:
                packages[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": packages,
    }


# ---- underneath ------------------------------------------------------------------------------------------------------


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what a full or closed disk raises into one line for people; other errors pass."""
    reasons = {
        errno.ENOSPC: "no space is left on its disk: free some, or choose another folder with -o",
        errno.EDQUOT: "the disk quota is used up: free some, or choose another folder with -o",
        errno.EROFS: "its disk is read-only: choose another folder with -o",
        errno.EACCES: "it may not be written to: change its permissions, or choose another folder with -o",
        errno.EPERM: "it may not be written to: change its permissions, or choose another folder with -o",
        errno.ENOTDIR: "it or a part of its path is a file, not a folder: choose another folder with -o",
        errno.EEXIST: "it is a file, not a folder: choose another folder with -o",
        errno.ENAMETOOLONG: "its name is too long: choose a shorter folder with -o",
        errno.EFBIG: "files may not grow to that size (ulimit -f, or the file system): choose another folder with -o",
        errno.ELOOP: "its path is a circle of links: choose another folder with -o",
        errno.EIO: "its disk reports an input/output error",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in reasons:
            raise
        raise RunFolderError(f"cannot write {path}: {reasons[error.errno]}") from error


def _clear_leftovers(out: Path) -> None:
    """Undoes what killed runs left in OUT, then in the folders of its photos."""
    _clear_folder(out)
    for folder in list(out.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and _clear_folder(folder) and not any(folder.iterdir()):
            folder.rmdir()


def _clear_folder(folder: Path) -> bool:
    """Puts back what was moved aside and not replaced, removes the rest; whether there was anything."""
    leftovers = [(path, match) for path in folder.iterdir() if (match := _LEFTOVER.fullmatch(path.name))]
    for path, match in leftovers:
        target = folder / match["name"]
        if match["kind"] == "old" and not target.exists():
            os.rename(path, target)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return bool(leftovers)


def _link_tree(source: Path, target: Path) -> None:
    """`source` at a second place: hard links where the file system has them, copies otherwise."""

    def link(from_path, to_path):
        try:
            os.link(from_path, to_path, follow_symlinks=False)
        except OSError:
            shutil.copy2(from_path, to_path, follow_symlinks=False)

    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=link)
    else:
        link(source, target)


def _sync_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for path in (Path(place) / name for name in files):
            if path.is_file() and not path.is_symlink():
                _sync(path)
        _sync(Path(place))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the rename is all they have.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict:
    """The object in a JSON file; empty where there is none that can be read, as after a crash of the disk."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _sound_manifest(found: dict) -> dict:
    """The manifest as far as it is of the form that is written here: others may have changed the file."""
    photos, assets, device = (found.get(key) for key in ("photos", "assets", "device"))
    return {
        "photos": {name: entry for name, entry in photos.items() if _is_entry(entry)} if isinstance(photos, dict) else {},
        "assets": [
            entry for entry in (assets if isinstance(assets, list) else []) if isinstance(entry, dict) and isinstance(entry.get("name"), str)
        ],
        "device": device if isinstance(device, dict) else {},
    }


def _is_entry(entry: object) -> bool:
    """Whether it is what `record` writes of a photo."""
    types = {"status": str, "message": str, "seconds": int | float}
    return isinstance(entry, dict) and isinstance(entry.get("stages"), dict) and all(
        isinstance(stage, dict) and all(isinstance(stage.get(key), kind) for key, kind in types.items())
        for stage in entry["stages"].values()
    )


def _figures(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def _as_cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _plain(value: object):
    """NumPy scalars and arrays, and paths, as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
