"""Where nothing can be drawn over, a line about every minute says how far it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from zsbench.utils import progress
from zsbench.utils.progress import progress_bar


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute_without_a_terminal(clock):
    text = io.StringIO()
    with progress_bar(Console(file=text, width=40), "train", 900) as bar:
        bar.resume(400)
        for done in range(401, 650):
            clock[0] += 1.0
            bar.reach(done, f"loss {done}")
    lines = text.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"train {done}/900" for done in (460, 520, 580, 640)]
    assert lines[0] == "train 460/900, 1/s, about 7 min left, loss 460"  # those before it was resumed were no work


def test_nothing_where_all_is_quick_or_quiet(clock):
    text = io.StringIO()
    for quiet in (False, True):
        with progress_bar(Console(file=text, quiet=quiet), "train", 9) as bar:
            clock[0] += 100.0 * quiet
            bar.reach(9)
    assert text.getvalue() == ""
