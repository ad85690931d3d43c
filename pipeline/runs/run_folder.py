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

import fcntl
import os
import re
import shutil
import warnings
from contextlib import suppress
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

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|old)-[0-9]+")


# ---- names -----------------------------------------------------------------------------------------------------------


def export_name(photo_name: str) -> str:
    """What a photo's exports, and the object, mesh, material and image in them, are called: no two heads in one folder or
    scene are called alike, and no program stumbles over a space."""
    return re.sub(r"[^\w.-]+", "_", photo_name)


def results_of(photo_name: str) -> set[str]:
    """The files that the refinement writes for a photo; whatever else is in its folder is the user's."""
    exports = (f"{export_name(photo_name)}{ending}" for ending in (".obj", ".mtl", ".glb", "_texture.png"))
    return {*RESULTS, *exports}


# ---- OUT -------------------------------------------------------------------------------------------------------------


class RunFolder:
    """OUT, locked against a second run while open. Use as `with RunFolder(path) as run:`.

    Opening makes the folder and clears or puts back what killed runs left. Raises RunFolderError where it is no folder,
    not writable, or in use.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock = None

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

    def _refuse_what_is_not_ours(self) -> None:
        """A folder that no run has been in may hold files of the user's under the names of ours."""
        if (self.path / ".lock").exists() or "photos" in read_json(self.path / "manifest.json"):
            return
        for name in OWN_FILES:
            if os.path.lexists(self.path / name):
                raise RunFolderError(f"{self.path / name} is not from a run and would be lost: choose another folder with -o")

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


# ---- underneath ------------------------------------------------------------------------------------------------------


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
