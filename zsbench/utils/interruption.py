"""Being told to end: at once where nothing is lost, else when the work of the moment is done and kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""By which people, systems and schedulers (Slurm warns by SIGUSR1, submitit by SIGUSR2) tell a process to end."""
TOGETHER = 1.0
"""Seconds within which several signals say the same: a terminal tells all processes, and launchers tell theirs again."""


Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupted(BaseException):
    """The process was told to end, by another signal than Ctrl-C."""


class Told:
    """Whether this process was told to end, and by what; `postponed`: whether somebody looks at that now and then."""

    def __init__(self) -> None:
        self.number, self.at, self.postponed, self.process = 0, 0.0, False, os.getpid()

    def __bool__(self) -> bool:
        return self.number > 0

    def receive(self, number: int, frame: object) -> None:
        """What a signal does: a later one ends the process at once and quietly."""
        if os.getpid() != self.process:  # a worker before `leave_to_parent`
            return
        if not self.number:
            self.number, self.at = number, time.monotonic()
            if not self.postponed:
                self.give_way()
        elif time.monotonic() - self.at > TOGETHER:
            os._exit(2)

    def give_way(self) -> None:
        """Raise what the first signal means."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Interrupted(signal.Signals(self.number).name if self.number else "another process")


_told = Told()


def listen() -> Sequence[tuple[int, Handler]]:
    """Receive signals from now on, but for those that are ignored (`nohup`); returns which did what before."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    before = [(number, signal.getsignal(number)) for number in SIGNALS]
    heard = [(number, handler) for number, handler in before if handler not in (signal.SIG_IGN, None)]
    for number, _ in heard:
        signal.signal(number, _told.receive)
    return heard


@contextmanager
def postponed() -> Iterator[Told]:
    """Within, signals wait: whoever works looks now and then whether it was told to end, keeps what it has, and gives way.

    What nobody has looked at is raised at the end.
    """
    listening = _told.receive in (signal.getsignal(number) for number in SIGNALS)
    if not listening:
        _told.number = 0  # what an earlier run of this process was told is over
    before = () if listening else listen()
    _told.postponed = True
    try:
        yield _told
        if _told:
            _told.give_way()
    finally:
        _told.postponed = False
        for number, handler in before:
            signal.signal(number, handler)


def leave_to_parent(_: int = 0) -> None:
    """For worker processes: the one that started them is told as well, and ends them when it is ready."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


LEASH = "ZSBENCH_LEASH"
"""The variable that says to a process that stdin ends when the one that started it does, and that it shall end then too."""


def follow() -> None:
    """End, as if told to, when the process that started this one has ended, if it asks for that; even if it was killed."""
    if os.environ.pop(LEASH, "") == "stdin":
        threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
