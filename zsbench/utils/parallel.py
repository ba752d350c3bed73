"""Processes that share work, and end with the one that started them."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import parent_process
from typing import Any, TypeVar

from zsbench.errors import KEPT, killed_reader
from zsbench.utils.interruption import leave_to_parent

Given = TypeVar("Given")
Made = TypeVar("Made")

_work: list[Callable[[Any], Any]] = []
"""In a worker process: what it does with each item."""


def parallel_map(work: Callable[[Given], Made], items: Iterable[Given], workers: int) -> Iterator[Made]:
    """`map` over processes, in order; in this process for 0 workers. Raises `UserError` where one of them is killed."""
    if workers == 0:
        yield from map(work, items)
        return
    try:
        with ProcessPoolExecutor(workers, initializer=begin, initargs=(work,)) as pool:
            yield from pool.map(do, items, chunksize=8)
    except BrokenProcessPool as error:
        raise killed_reader("--workers") from error


def next_read(loader: Iterator[Made]) -> Made:
    """The next item of PyTorch's loader. Raises `UserError` where a process of it was killed.

    PyTorch notices that itself (`zsbench.errors.lost_reader`), but for the moment between the end and the news of it, when
    what the process has read cannot be fetched.
    """
    try:
        return next(loader)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        of_the_reader = "DataLoader worker process" in str(error)  # which met a mistake, and lives
        if of_the_reader or not getattr(loader, "_num_workers", 0):
            raise
        with suppress(RuntimeError):  # the news
            time.sleep(1.0)
        raise killed_reader("--workers in evaluation, -r workers=N in training", KEPT) from error


@atexit.register  # before multiprocessing, which was imported first, asks them to end and waits for them
def end_readers() -> None:
    """End the processes that read ahead: they do not listen to signals, and have nothing to keep."""
    with suppress(ValueError):  # in another thread; PyTorch raises an error where one of its readers is killed
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def begin(work: Callable[[Any], Any]) -> None:
    """A worker begins. It waits for work for ever, so it has to see for itself that its parent was killed."""
    _work[:] = [work]
    leave_to_parent()
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def do(item: Any) -> Any:
    return _work[0](item)
