"""Tasks in several processes: a death costs one task, an exception ends the whole, and nothing outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.runs import jobs
from pipeline.runs.jobs import Died, in_processes, threads_each

ROOT = Path(__file__).resolve().parents[1]


def make_work(factor):
    """A function from task to result, as in_processes wants it."""
    return partial(work, factor)


def work(factor, task):
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "gone":
        os._exit(3)
    if task == "wrong":
        raise LookupError("no such thing")
    if isinstance(task, float):
        time.sleep(task)
    return os.getpid() if task == "pid" else task * factor


def test_every_task_has_its_result():
    found = list(in_processes(partial(make_work, 3), range(7), 2))
    assert sorted(found) == [(task, 3 * task) for task in range(7)]
    assert list(in_processes(partial(make_work, 3), [], 2)) == []


def test_a_death_costs_one_task():
    found = dict(in_processes(partial(make_work, 2), [1, "killed", 2, "gone", 3, 4], 2))
    assert {task: result for task, result in found.items() if isinstance(task, int)} == {1: 2, 2: 4, 3: 6, 4: 8}
    assert isinstance(found["killed"], Died)
    assert str(found["killed"]).endswith("was ended by SIGKILL (possibly out of memory: use fewer jobs)")
    assert str(found["gone"]) == "the process that worked on it ended with code 3"


def test_an_exception_ends_the_whole():
    with pytest.raises(LookupError, match="no such thing") as raised:
        list(in_processes(partial(make_work, 2), ["wrong", 60.0], 2))
    assert "in work" in raised.value.__notes__[0]  # where it happened


def test_no_more_tasks_are_taken_than_there_are_processes():
    taken = []
    tasks = (taken.append(number) or number for number in range(100))
    results = in_processes(partial(make_work, 1), tasks, 2)
    next(results)
    assert len(taken) == 2
    next(results)
    assert len(taken) <= 3
    results.close()


def test_processes_end_with_their_caller():
    """However it ends: SIGKILL leaves it no moment to end them itself."""
    script = (
        "import sys; sys.path.insert(0, 'tests'); from functools import partial; import test_runs_jobs as t\n"
        "if __name__ == '__main__':\n"
        "    for task, result in t.in_processes(partial(t.make_work, 1), ['pid', 600.0], 1): print(result, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    worker = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    limit = time.monotonic() + 10
    while Path(f"/proc/{worker}/status").exists() and "(zombie)" not in Path(f"/proc/{worker}/status").read_text():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_threads_are_divided_but_two_remain(monkeypatch):
    monkeypatch.setattr(jobs, "processors", lambda: 16)
    assert [threads_each(number) for number in (1, 3, 8, 16)] == [16, 5, 2, 2]
