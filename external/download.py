"""Downloads and checks published files. A file appears under its name only when it is complete and correct."""

import errno
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from external.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 30  # s without an answer


class FetchError(UserError):
    """An asset could not be obtained; the message is one line that says what to do."""


@dataclass(frozen=True)
class AssetFile:
    path: str  # relative to the assets folder; a file, or a folder (which has no size)
    size: int | None = None  # bytes; None: not published
    sha256: str = ""  # hex; "": not published


def difference(path: Path, file: AssetFile) -> str:
    """How a file differs from the published one, in words; "" where it matches or nothing is known of it."""
    if not path.exists():
        return "missing"
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size} bytes, not {file.size}"
    if file.sha256:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            return f"sha256 {found[:8]}..., not {file.sha256[:8]}..."
    return ""


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for unfinished files inside `folder`, and so on the same disk; removed afterwards.

    Only one process at a time can use it. Files left by a killed process are removed by the next process.
    Raises FetchError where another process uses it, or where a file cannot be written (also inside the `with` block).
    """
    work = folder / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as cleanup:
            lock = os.open(folder, os.O_RDONLY)
            cleanup.callback(os.close, lock)
            _lock(lock, folder)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            cleanup.callback(shutil.rmtree, work, ignore_errors=True)
            yield work
    except OSError as error:
        raise FetchError(f"{folder} cannot be written to: {reason(error)}") from error


def _lock(descriptor: int, folder: Path) -> None:
    """Locks an open folder. Raises FetchError if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FetchError(f"another process is downloading to {folder}: wait until it has finished") from error
    except OSError:
        pass  # the file system does not support locks


def download(url: str, target: Path, file: AssetFile) -> None:
    """Downloads a published file to `target`, which is replaced only by a complete file with the right checksum.

    Shows a progress bar on a terminal.
    Raises FetchError: no network, no answer within TIMEOUT, wrong checksum, or `target` cannot be written.
    """
    by_hand = f"or download it elsewhere and put it at {target}"
    try:
        import pooch
        import requests
    except ImportError as error:
        raise FetchError(f"{error.name} is missing: pip install -r requirements.txt, {by_hand} ({url})") from error
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    with work_folder(target.parent) as work:
        try:
            pooch.retrieve(url, f"sha256:{file.sha256}", fname=target.name, path=work, downloader=downloader)
        except requests.HTTPError as error:
            answer = f"{error.response.status_code} {error.response.reason}"
            raise FetchError(f"{url} answered {answer}: try again later, {by_hand}") from error
        except requests.RequestException as error:
            why = reason(error)
            raise FetchError(f"{url} cannot be downloaded ({why}): check the network, {by_hand}") from error
        except ValueError as error:  # pooch: wrong checksum
            expected = f"the expected sha256 {file.sha256[:8]}..."
            raise FetchError(f"{url} does not have {expected}: try again, {by_hand}") from error
        os.replace(work / target.name, target)


def reason(error: BaseException) -> str:
    """Why a download or a write failed, in one line: the message of the innermost error."""
    inner = error
    while inner is not None:
        error = inner
        parts = (getattr(error, "reason", None), *error.args)
        inner = next((part for part in parts if isinstance(part, BaseException)), None)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return text.rpartition(": ")[2][:120]
