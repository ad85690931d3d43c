"""Tasks done by several processes: handed out one at a time, so that a process that dies costs its task alone."""

import ctypes
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from external.errors import UserError
from pipeline.runs.machine import available_memory, processors

FEWEST_THREADS = 2
SECONDS_TO_LEAVE = 5
_PR_SET_PDEATHSIG = 1  # of prctl(2)


class Died(UserError):
    """What comes in the place of a result where the process that worked on the task has ended."""

    def __init__(self, how: str):
        super().__init__(f"the process that worked on it {how}")


def choose_jobs(setting: int, tasks: int, memory_each: float, on_gpu: bool) -> int:
    """How many tasks are done at once, for `jobs: N`. memory_each: bytes that a process takes."""
    if setting:
        return min(setting, max(tasks, 1))
    if on_gpu:
        return 1  # several networks would crowd each other out of its memory
    fitting = int(available_memory() / memory_each)
    # A process takes as long to start as a photo: each is to have two.
    return max(min(processors(), tasks // 2, fitting), 1)


def threads_each(jobs: int) -> int:
    """Threads for each of `jobs` processes on this machine's processors.

    Never below 2: with a single thread torch takes other kernels, whose last bits differ. From 2 on results do not depend
    on the number.
    """
    return max(processors() // max(jobs, 1), FEWEST_THREADS)


def run_tasks(
    make_work: Callable[[], Callable[..., Any]],
    tasks: Sequence[Any],
    jobs: int,
    progress: Callable[[float, str], None] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Do all tasks; yields (task, result) as they are finished. With one job in this process, else by `in_processes`.

    progress(share, text): given on to the work as a second argument in this process, which then can show its steps.
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
    """Do all tasks in `jobs` processes; yields (task, result) as they are finished.

    make_work() is called once in each process and returns the function from task to result. It, tasks and results are
    pickled between our own processes. No more tasks are taken than there are processes, and no results kept. A process
    that dies gives Died for its task, and a new one takes its place; an exception of the work ends the whole and is
    raised here. When the caller stops or is killed, the processes end too.
    """
    # A forked process would inherit the threads of libraries in an unknown state.
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    remaining = iter(tasks)
    try:
        for task in remaining:
            workers.append(_Worker(context, make_work, task))
            if len(workers) == jobs:
                break
        while workers:
            for ready in wait([worker.connection for worker in workers]):
                worker = next(worker for worker in workers if worker.connection is ready)
                task, result = worker.task, worker.result()
                if isinstance(result, BaseException) and not isinstance(result, Died):
                    raise result
                yield task, result
                try:
                    following = next(remaining)
                except StopIteration:
                    workers.remove(worker)
                    worker.dismiss()
                    continue
                if isinstance(result, Died):
                    workers[workers.index(worker)] = _Worker(context, make_work, following)
                else:
                    worker.give(following)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    def __init__(self, context, make_work, task):
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make_work, theirs, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of what can be read
        self.give(task)

    def give(self, task):
        self.task = task
        try:
            self.connection.send(task)
        except OSError:
            pass  # it has died: result() says so

    def result(self):
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
            killed = code == -signal.SIGKILL
            return Died(how + (" (perhaps there is too little memory: give fewer jobs)" if killed else ""))

    def dismiss(self):
        """Let it end by itself: it waits for a task."""
        self.connection.close()
        self._process.join(SECONDS_TO_LEAVE)
        self.stop()

    def stop(self):
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(make_work, connection: Connection, parent: int):
    """The process: tasks in, results out, until it is stopped."""
    # Ctrl-C is the main process's to answer; when that is killed, nobody is left to work for.
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
    except BaseException as error:  # noqa: BLE001  the caller raises it
        error.add_note("".join(traceback.format_exception(error)))
        connection.send(error)
