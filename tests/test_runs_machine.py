"""Processors and memory within containers, on trees of files like those of /proc and /sys/fs/cgroup."""

import os
from pathlib import Path

import pytest

from pipeline.runs.machine import available_memory, peak_memory, processors, reset_peak_memory

MB = 2**20
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture(autouse=True)
def sixteen(monkeypatch):
    """A process that may run on 16 of a machine's processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.fixture
def tree(tmp_path):
    """Makes a root folder of these files, {path: text}, with 8000 MB of memory available on the machine."""

    def make(**files: str) -> Path:
        meminfo = f"MemTotal:       16000000 kB\nMemAvailable:   {8000 * 1024} kB\nHugePages_Total:       0\n"
        for name, text in {"proc/meminfo": meminfo, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return lambda files=None: make(**(files or {}))


def of_container(group: str, mounts: str, **files: str) -> dict[str, str]:
    """The files of a process in a control group; further ones are named below /sys/fs/cgroup, with __ for a slash."""
    below = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    return {"proc/self/cgroup": group, "proc/self/mountinfo": mounts, **below}


def test_without_control_groups(tree):
    assert processors(tree()) == 16 and available_memory(tree()) == 8000 * MB


def test_unlimited_groups_change_nothing(tree):
    v2 = {"me/cpu.max": "max 100000\n", "me/memory.max": "max\n", "me/memory.current": f"{MB}\n", "me/memory.stat": ""}
    root = tree(of_container("0::/me\n", V2, **v2))
    assert processors(root) == 16 and available_memory(root) == 8000 * MB


def test_unlimited_groups_of_version_1_change_nothing(tree):
    v1 = {
        "cpu,cpuacct/me/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/me/cpu.cfs_period_us": "100000\n",
        "memory/me/memory.limit_in_bytes": "9223372036854771712\n", "memory/me/memory.usage_in_bytes": f"{MB}\n",
    }  # fmt: skip
    root = tree(of_container("3:memory:/me\n2:cpu,cpuacct:/me\n", V1, **v1))
    assert processors(root) == 16 and available_memory(root) == 8000 * MB


def test_affinity(tree, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7})
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert processors(tree()) == 2
    root = tree(of_container("0::/me\n", V2, **{"me/cpu.max": "800000 100000\n"}))
    assert processors(root) == 2  # the quota allows more than there are


@pytest.mark.parametrize(("quota", "count"), [("400000 100000", 4), ("150000 100000", 2), ("25000 50000", 1), ("0 0", 16)])
def test_quota_of_version_2(tree, quota, count):
    assert processors(tree(of_container("0::/me\n", V2, **{"me/cpu.max": quota + "\n"}))) == count


def test_quota_of_version_1(tree):
    files = {"cpu,cpuacct/me/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/me/cpu.cfs_period_us": "100000\n"}
    assert processors(tree(of_container("4:cpuset:/\n3:memory:/me\n2:cpu,cpuacct:/me\n", V1, **files))) == 3


def test_the_tightest_of_nested_groups_counts(tree):
    files = {
        "cpu.max": "max 100000\n",  # the tree's top
        "pod/cpu.max": "200000 100000\n", "pod/memory.max": f"{3000 * MB}\n", "pod/memory.current": f"{2500 * MB}\n",
        "pod/memory.stat": f"anon 1\nfile 2\ninactive_file {100 * MB}\nactive_file {200 * MB}\n",
        "pod/me/cpu.max": "800000 100000\n", "pod/me/memory.max": f"{2000 * MB}\n", "pod/me/memory.current": f"{500 * MB}\n",
        "pod/me/memory.stat": "inactive_file 0\nactive_file 0\n",
    }  # fmt: skip
    root = tree(of_container("0::/pod/me\n", V2, **files))
    assert processors(root) == 2
    assert available_memory(root) == 800 * MB  # of the pod: 3000 - (2500 - 300); its own group alone would allow 1500


def test_the_page_cache_is_not_used_memory(tree):
    """A process that has read 900 MB of files has nearly all of its memory left."""
    statistics = f"inactive_file {600 * MB}\nactive_file {300 * MB}\nshmem 0\n"
    v2 = {"memory.max": f"{1000 * MB}\n", "memory.current": f"{950 * MB}\n", "memory.stat": statistics}
    assert available_memory(tree(of_container("0::/\n", V2, **v2))) == 950 * MB


def test_the_page_cache_of_version_1(tree):
    statistics = f"inactive_file 1\nactive_file 1\ntotal_inactive_file {600 * MB}\ntotal_active_file {300 * MB}\n"
    v1 = {
        "memory/me/memory.limit_in_bytes": f"{1000 * MB}\n", "memory/me/memory.usage_in_bytes": f"{950 * MB}\n",
        "memory/me/memory.stat": statistics,
    }  # fmt: skip
    assert available_memory(tree(of_container("3:memory:/me\n", V1, **v1))) == 950 * MB


def test_soft_limit_and_overdrawn_groups(tree):
    files = {"memory.max": f"{4000 * MB}\n", "memory.high": f"{1000 * MB}\n", "memory.current": f"{700 * MB}\n"}
    assert available_memory(tree(of_container("0::/\n", V2, **files))) == 300 * MB
    assert available_memory(tree(of_container("0::/\n", V2, **{**files, "memory.current": f"{1500 * MB}\n"}))) == 0


@pytest.mark.parametrize(
    ("group", "mounted"),
    [
        ("/", "/"),  # a container with a view of its own
        ("/docker/1f", "/docker/1f"),  # one that sees its path on the host, and its group alone
        ("/../../elsewhere", "/"),  # a group outside of the container's view
    ],
)
def test_views_of_containers(tree, group, mounted):
    mounts = f"31 23 0:28 {mounted} /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    files = {"cpu.max": "300000 100000\n", "memory.max": f"{500 * MB}\n", "memory.current": f"{200 * MB}\n"}
    root = tree(of_container(f"0::{group}\n", mounts, **files))
    assert processors(root) == 3 and available_memory(root) == 300 * MB


def test_both_versions_at_once(tree):
    """Version 1 governs, version 2 is there for systemd, at a place with a space in its name."""
    mounts = V1 + "34 30 0:31 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n"
    files = {
        "cpu,cpuacct/me/cpu.cfs_quota_us": "500000\n", "cpu,cpuacct/me/cpu.cfs_period_us": "100000\n",
        "uni fied/slice/cpu.max": "600000 100000\n", "uni fied/slice/memory.max": f"{400 * MB}\n",
        "uni fied/slice/memory.current": f"{100 * MB}\n",
    }  # fmt: skip
    root = tree(of_container("2:cpu,cpuacct:/me\n0::/slice\n", mounts, **files))
    assert processors(root) == 5 and available_memory(root) == 300 * MB


def test_this_machine(monkeypatch):
    monkeypatch.undo()
    assert 1 <= processors() <= len(os.sched_getaffinity(0)) and available_memory() > MB


def test_a_large_array_does_not_count_after_the_reset():
    if not reset_peak_memory():
        pytest.skip("needs a system that lets a process write /proc/self/clear_refs")
    before = peak_memory()
    large = bytearray(300 * MB)
    assert peak_memory() - before > 290 * MB
    del large
    assert peak_memory() - before > 290 * MB
    assert reset_peak_memory() and peak_memory() - before < 100 * MB


def test_where_the_peak_cannot_be_reset(tree):
    root = tree({"proc/self/status": "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  750 kB\nVmRSS:\t  500 kB\n"})
    (root / "proc/self/clear_refs").mkdir()
    assert not reset_peak_memory(root) and peak_memory(root) == 750 * 1024
