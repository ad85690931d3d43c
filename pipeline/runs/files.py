"""Files and folders that are never half written: made beside their place, synced and renamed. And what was made of what."""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from external.errors import RunError, UserError


class RunFolderError(RunError):
    """OUT cannot be used; the message is one line that says why and what to do."""


class InputFileError(UserError):
    """A file that results are to be made of cannot be read; one line."""


def write_bytes(path: str | Path, data: bytes) -> None:
    """The whole file or none: written beside its place, synced, renamed. Raises RunFolderError."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with explained_errors(path):
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
    with explained_errors(target):
        parent_is_new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            for name in keep:
                if os.path.lexists(target / name) and not os.path.lexists(partial / name):
                    link_tree(target / name, partial / name)
            for path in (partial, *partial.rglob("*")):
                if (path.is_file() or path.is_dir()) and not path.is_symlink():
                    _sync(path)
            if target.exists():
                os.rename(target, aside)
            os.rename(partial, target)
            _sync(target.parent)
        except BaseException:
            if aside.exists() and not target.exists():
                os.rename(aside, target)
            shutil.rmtree(partial, ignore_errors=True)
            if parent_is_new and not any(target.parent.iterdir()):
                target.parent.rmdir()
            raise
        shutil.rmtree(aside, ignore_errors=True)


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
    return bool(fingerprint) and read_json(Path(folder) / marker).get("fingerprint") == fingerprint


@contextmanager
def explained_errors(path: Path) -> Iterator[None]:
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


def link_tree(source: Path, target: Path) -> None:
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


def read_json(path: Path) -> dict:
    """The object in a JSON file; empty where there is none that can be read, as after a crash of the disk."""
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _plain(value: object):
    """NumPy scalars and arrays, and paths, as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
