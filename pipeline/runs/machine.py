"""What this machine, or the container, lets a process use."""

import os
from pathlib import Path


def processors() -> int:
    """Processors this process may use."""
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that processes can still take: the system's, or the container's where that allows less."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or no limit
        return free
