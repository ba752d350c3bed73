"""Progress of anything long, where somebody looks."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

BAR_WIDTH = 32
LINE_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""
warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, which others import; bars here are text


class Bar:
    """One progress bar, moved by the number of steps done; a note may stand at its end.

    Where nothing can be drawn over, such as in the file of a batch job, it is a line about every minute.
    """

    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._began = self._said = time.monotonic()
        self._first = int(progress.tasks[0].completed)

    def resume(self, done: int) -> None:
        """Begin with so many done before, which says nothing of the speed."""
        self._progress.reset(self._task, completed=done)
        self._began, self._first = time.monotonic(), done

    def reach(self, done: int, note: str = "") -> None:
        task = self._progress.tasks[0]
        if self._progress.disable:
            self.say(done, int(task.total or 0), f"{task.description} {done}/{task.total:.0f}", note)
        speed = task.speed
        self._progress.update(self._task, completed=done, note=note, rate=f"{speed:.1f}/s" if speed else "")

    def say(self, done: int, total: int, reached: str, note: str) -> None:
        """A line, if one is due."""
        now, fresh = time.monotonic(), done - self._first
        if now - self._said < LINE_EVERY or fresh <= 0:
            return
        self._said, speed = now, fresh / (now - self._began)
        left = f"{format_seconds((total - done) / speed)} left"
        text = ", ".join(filter(None, (reached, f"{speed:.2g}/s", left, note)))
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


class NotebookBar:
    """The same in the output of a notebook's cell, where rich would need widgets."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def resume(self, done: int) -> None:
        self._bar.reset()
        self._bar.update(done)

    def reach(self, done: int, note: str = "") -> None:
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)


def shown_progress(wanted: bool | None) -> Console:
    """The console of a call of the API: seen in a notebook or a terminal, unless it is said otherwise (`progress=`)."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.quiet = not (console.is_terminal or console.is_jupyter) if wanted is None else not wanted
    return console


@contextmanager
def progress_bar(console: Console, title: str, total: int, done: int = 0) -> Iterator[Bar | NotebookBar]:
    """A bar with count, rate and time left, in a terminal or a notebook; elsewhere now and then a line."""
    if console.is_jupyter and not console.quiet:
        from tqdm.std import (
            tqdm,
        )  # comes with huggingface_hub; as text, where tqdm's own choice would need widgets, too

        with tqdm(total=total, initial=done, desc=title) as bar:
            yield NotebookBar(bar)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note="", rate=""))


def format_seconds(seconds: float) -> str:
    """`under a minute`, `about 3 min`, `about 2.5 h`."""
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar: title and total in, a function that is told how much is done out."""


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that shows nothing."""
    yield lambda done: None
