"""What this machine, or the container around us, lets a process use; and the most memory that this process has used.

A container's limits are those of its control group (cgroup, version 1 or 2) and of all groups around that. `root` is
where /proc and /sys are looked for.
"""

import math
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def processors(root: Path = ROOT) -> int:
    """Processors this process may use, at least 1: those it may run on (affinity), and no more than its CPU quota buys.

    A quota of one and a half processors counts as 2.
    """
    quotas = [math.ceil(quota) for folder in _groups("cpu", root) for quota in [_quota(folder)] if quota]
    return max(min([len(os.sched_getaffinity(0)), *quotas]), 1)


def available_memory(root: Path = ROOT) -> int:
    """Bytes that processes can still take, 0 or more: the system's, or the container's where that allows less.

    What files are cached in does not count as used: the kernel gives it up when memory is needed.
    """
    lines = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines())
    free = [int(lines["MemAvailable"].split()[0]) * 1024]
    for folder in _groups("memory", root):
        limits = [_number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
        for used in (_number(folder / name) for name in ("memory.current", "memory.usage_in_bytes")):
            if used is not None:
                free += [limit - max(used - _cached(folder), 0) for limit in limits if limit is not None]
    return max(min(free), 0)


def reset_peak_memory(root: Path = ROOT) -> bool:
    """Let `peak_memory` count from now on; False where the system does not allow it."""
    try:
        (root / "proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory(root: Path = ROOT) -> int:
    """The most bytes of memory (resident) that this process has used since it began, or since `reset_peak_memory`."""
    status = (root / "proc/self/status").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^VmHWM:\s*([0-9]+) kB", status, re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's control groups that govern `controller` (cpu, memory): the innermost first, outwards.

    Version 2 has one tree for all controllers, version 1 one for each; both can be there.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # a system without control groups
        return
    member_of = {name: path for line in memberships for _, names, path in [line.split(":", 2)] for name in names.split(",")}
    for line in mounts:
        before, _, after = (part.split() for part in line.partition(" - "))
        (_, _, _, mounted, place, *_), (kind, _, options) = before, after[:3]
        name = {"cgroup2": "", "cgroup": controller}.get(kind)
        if name is None or name not in member_of or name not in ("", *options.split(",")):
            continue
        # A container sees a part of the tree, and its own path either from there on or from the host's root.
        path, mounted, top = member_of[name], _unescaped(mounted), root / _unescaped(place).lstrip("/")
        inner = path.removeprefix(mounted.rstrip("/")) if path.startswith(mounted.rstrip("/") + "/") else path
        folder = top / inner.strip("/")
        if ".." in folder.parts or not folder.is_dir():
            folder = top
        yield folder
        yield from (outer for outer in folder.parents if outer.is_relative_to(top))


def _quota(folder: Path) -> float | None:
    """Processors' worth of time that a group may take; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # the root group has no limits
        return None


def _cached(folder: Path) -> int:
    """Bytes of the page cache in a group and those below it."""
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        prefix = "total_" if "total_inactive_file" in statistics else ""  # version 1 has both, version 2 the sums alone
        return sum(int(statistics[f"{prefix}{kind}_file"]) for kind in ("inactive", "active"))
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, as in `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _unescaped(path: str) -> str:
    """A path of mountinfo, in which spaces are written as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
