"""Progress of anything long, where somebody looks."""

from __future__ import annotations

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


class Bar:
    """One progress bar, moved by the number of steps done; a note may stand at its end."""

    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def reach(self, done: int, note: str = "") -> None:
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, completed=done, note=note, rate=f"{speed:.1f}/s" if speed else "")


class NotebookBar:
    """The same in the output of a notebook's cell, where rich would need widgets."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def reach(self, done: int, note: str = "") -> None:
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)


def shown_progress(wanted: bool | None) -> Console:
    """The console of a call of the API: seen in a notebook or a terminal, unless it is said otherwise (`progress=`)."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console.quiet = not (console.is_terminal or console.is_jupyter) if wanted is None else not wanted
    return console


BAR_WIDTH = 32


@contextmanager
def progress_bar(console: Console, title: str, total: int, done: int = 0) -> Iterator[Bar | NotebookBar]:
    """A bar with count, rate and time left, in a terminal or a notebook; silent elsewhere."""
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
