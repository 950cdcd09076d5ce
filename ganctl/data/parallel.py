"""Work on many records on every core, ended cleanly by errors, by Ctrl-C and by the death of any process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from ganctl.api import Record
from ganctl.errors import GanctlError, plain

T = TypeVar("T")

_FEW = 200
_BLOCK = 16
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_parallel(
    task: Callable[[int, Sequence[Record]], T],
    records: Sequence[Record] | Iterator[Record],
    *,
    chunk: int,
    workers: int | None,
    progress: Callable[[int, int | None], None],
    count: int | None = None,
) -> list[T]:
    """Return ``task(start, records[start : start + n])`` of all records in order, at most *chunk* of them at once.

    It runs in *workers* processes, one per core unless given, or in this one where there are few records; what an
    iterator yields is worked on in as many threads. *task* must be picklable. *progress* is told how many records are
    done, of how many; of an iterator, that is *count*, if known. Raise what a task raises, at once, and
    :class:`GanctlError` where a process died or an iterator cannot go on.
    """
    workers = workers or cores()
    if isinstance(records, Iterator):
        return _in_order(task, records, min(chunk, _BLOCK), workers, lambda done: progress(done, count))
    total = len(records)
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


def _in_order(
    task: Callable[[int, Sequence[Record]], T],
    records: Iterator[Record],
    chunk: int,
    workers: int,
    progress: Callable[[int], None],
) -> list[T]:
    """Return what *task* makes of one block of *records* after another, while the next ones are read.

    Threads need no copies of images that are here already, and Pillow lets them run side by side.
    """
    results: list[T] = []
    waiting: deque[tuple[int, Future[T]]] = deque()
    start = 0
    progress(0)
    # Decoding silences warnings image by image, and threads that do so at once put back each other's filters.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                try:
                    block = list(islice(records, chunk))
                except OSError as error:
                    raise GanctlError(
                        f"cannot read on after {start} images: {plain(error.strerror or error)}"
                    ) from error
                if block:
                    start += len(block)
                    waiting.append((start, pool.submit(task, start - len(block), block)))
                # Memory holds so many blocks, however much faster they are read than decoded.
                while len(waiting) > (2 * workers if block else 0):
                    done, future = waiting.popleft()
                    results.append(future.result())
                    progress(done)
                if not block:
                    return results
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
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
