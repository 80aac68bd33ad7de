"""Work on many files, in this process or in several."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

import torch

from ..errors import FileError, SettingError

Job = TypeVar("Job")
Context = TypeVar("Context")
Result = TypeVar("Result")


def require_workers(workers: int) -> None:
    """Raise SettingError for fewer than one worker."""
    if workers < 1:
        raise SettingError(f"--workers {workers}; give 1 or more.")


def run_jobs(
    work: Callable[[Job, Context], Result], jobs: Sequence[Job], load: Callable[[], Context], workers: int
) -> Iterator[Result]:
    """Yield `work(job, context)` of every job, in any order; each process makes its context once, by `load`.

    With several workers all of them are pickled. Raises FileError where a worker dies.
    """
    workers = min(workers, len(jobs))
    if workers < 2:
        context = load()
        yield from (work(job, context) for job in jobs)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (work, load))
    try:
        for done in as_completed([pool.submit(_work, job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool:
        raise FileError(
            "a worker process died, out of memory perhaps; run the same command with fewer --workers to go on."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_in_worker: tuple[Any, Any] = (None, None)  # the work and the context of a worker process


def _start_worker(work: Callable[[Any, Any], Any], load: Callable[[], Any]) -> None:
    global _in_worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and shuts the pool down
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _in_worker = work, load()


def _end_with_parent() -> None:
    """Exit when the parent process is gone: its workers would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(job: Any) -> Any:
    work, context = _in_worker
    return work(job, context)
