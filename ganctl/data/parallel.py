"""Work on many records in one process per core, ended cleanly by errors, by Ctrl-C and by the death of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ganctl.api import Record
from ganctl.errors import GanctlError

T = TypeVar("T")

_FEW = 200
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_parallel(
    task: Callable[[int, Sequence[Record]], T],
    records: Sequence[Record],
    *,
    chunk: int,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> list[T]:
    """Return ``task(start, records[start : start + n])`` of all records in order, at most *chunk* of them at once.

    It runs in *workers* processes, one per core unless given, or in this one where there are few records. *task* must
    be picklable. *progress* is told how many records are done, of how many. Raise what a task raises, at once, and
    :class:`GanctlError` where a process died.
    """
    total = len(records)
    workers = workers or cores()
    progress(0, total)
    if workers == 1 or total < _FEW:
        # A photograph may take a tenth of a second: progress should show.
        chunk = min(chunk, 8)
        results = []
        for start in range(0, total, chunk):
            results.append(task(start, records[start : start + chunk]))
            progress(min(start + chunk, total), total)
        return results
    chunk = min(chunk, -(-total // (8 * workers)))
    # A forked process starts at once, with all that is imported and listed. Only on Linux is that safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _begin, (task, records)) as pool:
        try:
            with _signals_held():
                # Workers have the records already. Sending these would fill the pipe to them, and whoever writes into a
                # full pipe may wait for ever once the workers are killed.
                futures = [pool.submit(_work, start, start + chunk) for start in range(0, total, chunk)]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(min(done * chunk, total), total)
            return [future.result() for future in futures]
        except BaseException as error:
            # Leaving the pool would wait for all that was submitted.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            if isinstance(error, BrokenProcessPool):
                raise GanctlError(
                    "a process that decodes images died, perhaps for want of memory: close other programs and try again"
                ) from error
            raise


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait, here and in processes that start meanwhile: one amid their start would print a traceback."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_job: tuple[Callable[[int, Sequence[Record]], Any], Sequence[Record]]
"""In a worker: the task, and all records."""


def _work(start: int, stop: int) -> Any:
    task, records = _job
    return task(start, records[start:stop])


def _begin(task: Callable[[int, Sequence[Record]], Any], records: Sequence[Record]) -> None:
    """Prepare a worker: Ctrl-C is its parent's business, and SIGTERM or its parent's end ends it without a word."""
    global _job
    _job = task, records
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
