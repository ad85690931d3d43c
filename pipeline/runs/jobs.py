"""Runs tasks in several processes, one task at a time in each. A process that dies costs only its task."""

import ctypes
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any

from external.errors import UserError
from pipeline.runs.machine import available_memory, processors

FEWEST_THREADS = 2
SECONDS_TO_EXIT = 5
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_NO_TASK = object()


class Died(UserError):
    """Stands in for the result of a task whose process died."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the process that worked on it {how}")


def choose_jobs(setting: int, tasks: int, memory_each: float, on_gpu: bool) -> int:
    """Number of processes for `tasks` tasks. setting: `jobs`, 0 = choose. memory_each: bytes for each process."""
    if setting:
        return min(setting, max(tasks, 1))
    if on_gpu:
        return 1  # the networks of several processes may not fit into GPU memory
    fitting = int(available_memory() / memory_each)
    # Starting a process takes as long as one photo, so each process should get at least two.
    return max(min(processors(), tasks // 2, fitting), 1)


def threads_each(jobs: int) -> int:
    """Threads for each of `jobs` processes on this machine's processors, at least 2.

    With a single thread torch uses other kernels, whose results differ in the last bits. From 2 threads on, results do
    not depend on the number.
    """
    return max(processors() // max(jobs, 1), FEWEST_THREADS)


def run_tasks(
    make_work: Callable[[], Callable[..., Any]],
    tasks: Sequence[Any],
    jobs: int,
    progress: Callable[[float, str], None] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Runs all tasks; yields (task, result) as they finish. One job runs in this process, more run by `in_processes`.

    progress(share, text): passed to the work as second argument, in this process only.
    """
    if jobs > 1:
        yield from in_processes(make_work, tasks, jobs)
    elif tasks:
        work = make_work()
        for task in tasks:
            yield task, work(task, progress) if progress else work(task)


def in_processes(
    make_work: Callable[[], Callable[[Any], Any]], tasks: Iterable[Any], jobs: int
) -> Iterator[tuple[Any, Any]]:
    """Runs all tasks in `jobs` processes; yields (task, result) as they finish.

    make_work() is called once in each process and returns the function from task to result. make_work, tasks and
    results are pickled. At most `jobs` tasks are taken from `tasks` at a time, and no results are kept. When a process
    dies, its task yields Died and a new process replaces it. An exception in the work stops all processes and is raised
    here. The processes end when the caller stops or is killed.
    """
    # A forked process would inherit library threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    remaining = iter(tasks)
    try:
        workers.extend(_Worker(context, make_work, task) for task in islice(remaining, jobs))
        while workers:
            for ready in wait([worker.connection for worker in workers]):
                worker = next(worker for worker in workers if worker.connection is ready)
                task, result = worker.task, worker.result()
                if isinstance(result, BaseException) and not isinstance(result, Died):
                    raise result
                yield task, result
                following = next(remaining, _NO_TASK)
                if following is _NO_TASK:
                    workers.remove(worker)
                    worker.finish()
                elif isinstance(result, Died):
                    workers[workers.index(worker)] = _Worker(context, make_work, following)
                else:
                    worker.send(following)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process and the task it works on."""

    def __init__(self, context: SpawnContext, make_work: Callable[[], Callable[[Any], Any]], task: Any) -> None:
        self.connection, child_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(make_work, child_end, os.getpid()), daemon=True)
        self._process.start()
        child_end.close()  # reading then fails with EOFError once the process has ended
        self.send(task)

    def send(self, task: Any) -> None:
        self.task = task
        with suppress(OSError):  # the process has died; result() reports it
            self.connection.send(task)

    def result(self) -> Any:
        """The task's result, an exception of the work, or Died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
            return Died(how + (" (possibly out of memory: use fewer jobs)" if code == -signal.SIGKILL else ""))

    def finish(self) -> None:
        """Lets an idle process end by itself."""
        self.connection.close()
        self._process.join(SECONDS_TO_EXIT)
        self.stop()

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(make_work: Callable[[], Callable[[Any], Any]], connection: Connection, parent: int) -> None:
    """Main function of a worker process: receives tasks and sends results until it is stopped."""
    # The main process handles Ctrl-C. If the main process is killed, this one is killed too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    try:
        work = make_work()
        while True:
            try:
                task = connection.recv()
            except EOFError:
                return
            connection.send(work(task))
    except BaseException as error:  # noqa: BLE001  raised again in the main process
        error.add_note("".join(traceback.format_exception(error)))
        connection.send(error)
