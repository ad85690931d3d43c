"""The folder a run writes, OUT: no file or folder in it is ever half written, whatever kills the run.

Files are written beside their place, synced and renamed. A photo's results are made in a hidden folder beside theirs
and renamed over them at the end; what a killed run left behind is cleaned up, or put back, when the folder is opened
next. One run at a time works in a folder.

    OUT/.lock            marks OUT as a folder of runs; names the process that works in it
    OUT/config.yaml      the resolved config of the last run
    OUT/manifest.json    versions, seed, device, assets with licences, what became of every photo
    OUT/summary.csv      one line of metrics per photo
    OUT/report.html      made of the others by the room report
    OUT/<photo>/         results; finished when metrics.json holds the fingerprint of what went in
"""

import fcntl
import hashlib
import os
import re
import shutil
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Self

from pipeline.runs.files import RunFolderError, explained_errors, read_json, replaced_folder

# What OUT itself holds beside the folders of the photos.
OWN_FILES = ("config.yaml", "manifest.json", "summary.csv", "report.html", "comparison.png", "comparison.html")

# What the refinement writes into every photo's folder, beside the files that carry the photo's name.
RESULTS = (
    "texture.png", "preview.png", "sampled.png", "visibility.png", "initial.png", "provenance.png", "rendering.png",
    "metrics.json",
)  # fmt: skip
LOG_FOLDER = "tensorboard"
MAKEHUMAN_TEXTURE = "texture_makehuman.png"  # with output.makehuman

LOCK = ".lock"
_MARK = "folder of FaceRefiner runs, process "  # what .lock says, before the number of the process
_LONGEST_EXPORT_BYTES = 200  # of 255 that a file name may have; endings and the name while it is written need some

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-[0-9]+")


# ---- names -----------------------------------------------------------------------------------------------------------


def export_name(photo_name: str) -> str:
    """What a photo's exports, and the object, mesh, material and image in them, are called.

    Letters, digits, `_`, `.` and `-` stay; every other character becomes ~ and two hexadecimal digits for each byte of its
    UTF-8, because OBJ's parsers stumble over spaces and quotes. So photos of different names have exports of different
    names, which depend on nothing else. A name that becomes too long ends with ~h and a hash instead.
    """
    as_bytes = lambda text: text.encode("utf-8", "surrogatepass")
    escaped = "".join(c if _is_plain(c) else "".join(f"~{byte:02X}" for byte in as_bytes(c)) for c in photo_name)
    if len(escaped.encode()) <= _LONGEST_EXPORT_BYTES:
        return escaped
    beginning = escaped.encode()[: _LONGEST_EXPORT_BYTES - 18].decode(errors="ignore")
    return f"{beginning}~h{hashlib.sha256(as_bytes(photo_name)).hexdigest()[:16]}"


def _is_plain(character: str) -> bool:
    """Whether a character stays in the name of an export: also marks, which letters of many scripts are written with."""
    return character.isalnum() or character in "_.-" or unicodedata.category(character).startswith("M")


def results_of(photo_name: str) -> set[str]:
    """The files that the refinement writes for a photo; whatever else is in its folder is the user's."""
    return {*RESULTS, *_exports(export_name(photo_name))}


def neutral_name(photo_name: str) -> str:
    """The file of the head at rest, which is written besides where the reconstruction has a rig."""
    return f"{export_name(photo_name)}_neutral.obj"


def _exports(name: str) -> list[str]:
    return [f"{name}{ending}" for ending in (".obj", ".mtl", ".glb", "_texture.png")]


# ---- OUT -------------------------------------------------------------------------------------------------------------


class RunFolder:
    """OUT, locked against a second run while open. Use as `with RunFolder(path) as run:`.

    Opening makes the folder and clears or puts back what killed runs left. Raises RunFolderError where it is no folder,
    not writable, in use, or holds files of others under names that a run writes.
    """

    def __init__(self, path: str | Path, own_files: Sequence[str] = OWN_FILES):
        """own_files: names of the files that the run writes into the folder itself."""
        self.path = Path(path)
        self._own_files = own_files
        self._lock: int | None = None  # file descriptor

    def __enter__(self) -> Self:
        with explained_errors(self.path):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # /proc, or a folder that is taken away at this moment
                raise RunFolderError(f"{self.path} cannot be made: choose another folder with -o") from error
            self._refuse_what_is_not_ours()
            self._take_lock()
            _clear_leftovers(self.path)
        return self

    def __exit__(self, *exception) -> None:
        if self._lock is not None:
            with suppress(OSError):  # then the next run does it
                _clear_leftovers(self.path)  # of processes that were ended
            os.close(self._lock)
            self._lock = None

    def results(self, name: str) -> Path:
        """The folder of a photo's results."""
        return self.path / name

    def reconstruction(self, name: str) -> Path:
        """The folder of a photo's reconstruction."""
        return self.path / name / "reconstruction"

    def replaced_results(self, name: str) -> AbstractContextManager[Path]:
        """`replaced_folder` for a photo's results; the reconstruction stays, and what the user put there."""
        folder = self.results(name)
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        # OUTs that were made before `export_name` told "a b" from "a_b" have exports of another name.
        former = _exports(re.sub(r"[^\w.-]+", "_", name))
        ours = {*results_of(name), *former, LOG_FOLDER, MAKEHUMAN_TEXTURE, neutral_name(name)}
        return replaced_folder(folder, keep=[entry for entry in found if entry not in ours])

    def replaced_reconstruction(self, name: str) -> AbstractContextManager[Path]:
        """`replaced_folder` for a photo's reconstruction."""
        return replaced_folder(self.reconstruction(name))

    def _refuse_what_is_not_ours(self) -> None:
        """A folder that no run has been in may hold files of the user's under the names of ours."""
        lock = _read_lock(self.path)
        if lock.startswith(_MARK) or _is_ours(read_json(self.path / "manifest.json")):
            return
        # A lock that holds a number at most may be left by a version that wrote no mark; it is no loss.
        lost = os.path.lexists(self.path / LOCK) and not re.fullmatch(r"[0-9]*\n?", lock)
        names = (*self._own_files, LOCK) if lost else self._own_files
        for name in names:
            if os.path.lexists(self.path / name):
                raise RunFolderError(f"{self.path / name} is not from a run and would be lost: choose another folder with -o")

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # The kernel lets go of it when the process dies, however it dies.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _read_lock(self.path).removeprefix(_MARK).strip()
            os.close(self._lock)
            self._lock = None
            who = f" (process {owner})" if owner else ""
            raise RunFolderError(
                f"another run is working in {self.path}{who}: wait for it, or choose another folder with -o"
            ) from error
        except OSError as error:
            warnings.warn(f"{self.path} cannot be locked ({error.strerror}); do not run twice into it", stacklevel=3)
        # Written in one go before what was there is cut off: a kill leaves the mark.
        content = f"{_MARK}{os.getpid()}\n".encode()
        os.pwrite(self._lock, content, 0)
        os.truncate(self._lock, len(content))


# ---- underneath ------------------------------------------------------------------------------------------------------


def _read_lock(out: Path) -> str:
    """What OUT's lock file holds; "?" where it is no file that can be read."""
    try:
        return (out / LOCK).read_text(encoding="utf-8", errors="replace") if (out / LOCK).is_file() else "?"
    except OSError:
        return "?"


def _is_ours(manifest: dict) -> bool:
    """Whether a manifest.json is one of pipeline.runs.manifest: others have photos, too."""
    return isinstance(manifest.get("photos"), dict) and {"version", "software", "non_commercial_because_of"} <= manifest.keys()


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
