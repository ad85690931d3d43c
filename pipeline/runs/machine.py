"""Processors and memory available to this process on this machine or in its container, and the peak memory in use.

A container's limits are those of its control group (cgroup, version 1 or 2) and of all enclosing groups. `root` is the
folder that contains proc and sys.
"""

import math
import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")


def processors(root: Path = ROOT) -> int:
    """Number of processors for this process, at least 1: limited by its affinity and its CPU quota, rounded up."""
    quotas = [math.ceil(quota) for folder in _groups("cpu", root) for quota in [_quota(folder)] if quota]
    return max(min([len(os.sched_getaffinity(0)), *quotas]), 1)


def available_memory(root: Path = ROOT) -> int:
    """Bytes of free memory, 0 or more: the system's or the container's, whichever is less.

    The page cache does not count as used, because the kernel frees it when memory is needed.
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
    """Restarts the measurement of `peak_memory`; False where the system does not allow it."""
    try:
        (root / "proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory(root: Path = ROOT) -> int:
    """Peak resident memory in bytes of this process since its start or since `reset_peak_memory`."""
    status = (root / "proc/self/status").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^VmHWM:\s*([0-9]+) kB", status, re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's control groups for `controller` (cpu, memory), from the innermost outwards.

    Version 2 has one tree for all controllers, version 1 one tree for each; a system can have both.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # a system without control groups
        return
    entries = (line.split(":", 2) for line in memberships)
    member_of = {name: path for _, names, path in entries for name in names.split(",")}
    for line in mounts:
        before, _, after = (part.split() for part in line.partition(" - "))
        (_, _, _, mounted, place, *_), (kind, _, options) = before, after[:3]
        name = {"cgroup2": "", "cgroup": controller}.get(kind)
        if name is None or name not in member_of or name not in ("", *options.split(",")):
            continue
        # A container sees a part of the tree; its own path is relative to that part or to the host's root.
        path, mounted, top = member_of[name], _unescaped(mounted), root / _unescaped(place).lstrip("/")
        inner = path.removeprefix(mounted.rstrip("/")) if path.startswith(mounted.rstrip("/") + "/") else path
        folder = top / inner.strip("/")
        if ".." in folder.parts or not folder.is_dir():
            folder = top
        yield folder
        yield from (outer for outer in folder.parents if outer.is_relative_to(top))


def _quota(folder: Path) -> float | None:
    """CPU quota of a group in processors; None without a limit."""
    try:
        names = ["cpu.max"] if (folder / "cpu.max").is_file() else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        quota, period = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # the root group has no limits
        return None


def _cached(folder: Path) -> int:
    """Bytes of the page cache of a group and its subgroups."""
    try:
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        prefix = "total_" if "total_inactive_file" in statistics else ""  # version 1; in version 2 all values are sums
        return sum(int(statistics[f"{prefix}{kind}_file"]) for kind in ("inactive", "active"))
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file; None without one (no file, or the word `max`)."""
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None


def _unescaped(path: str) -> str:
    """A path from mountinfo with its escapes decoded (a space is written as \\040)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
