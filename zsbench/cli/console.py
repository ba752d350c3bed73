"""Printing: what the reports lay out, in the terminal's colours; whatever a text holds, it is no markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zsbench.cli.errors import errors
from zsbench.errors import UserError
from zsbench.reports.summary import Line, cost_lines, plan_rows, profiles_lines, result_lines, seeds_lines
from zsbench.result import Efficiency, Profile, Result

if TYPE_CHECKING:  # some commands work without torch
    from zsbench.runs.plan import Plan


def say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is, unbroken."""
    console.print(text, style=style, soft_wrap=True)


def confirm(text: str) -> None:
    """Ask whether what takes very long shall be done; where nobody can answer, it is an error that names `--yes`."""
    if not sys.stdin.isatty() or not errors.is_terminal:
        raise UserError(f"{text} To run it as it is: --yes (in a sweep file: yes = true).")
    say(errors, text, "yellow")
    if not typer.confirm("Run it all the same?", err=True):
        raise UserError("nothing was run. --yes runs it without asking.")


def say_lines(console: Console, lines: Iterable[Line]) -> None:
    for text, style in lines:
        say(console, text, style)


def show_plan(console: Console, plan: Plan) -> None:
    """Say what will be trained and evaluated, on what, before anything long starts."""
    grid = Table.grid(padding=(0, 2))
    for word, text in plan_rows(plan):
        grid.add_row(Text(word, "bold"), Text(text, "yellow" if word == "note" else ""))
    console.print(grid)


def show_result(console: Console, result: Result) -> None:
    say_lines(console, result_lines(result))


def show_seeds(console: Console, results: Sequence[Result]) -> None:
    say_lines(console, seeds_lines(results))


def show_efficiency(console: Console, cost: Efficiency, device: str) -> None:
    say_lines(console, cost_lines(cost, device))


def show_profiles(console: Console, profiles: Sequence[Profile]) -> None:
    say_lines(console, profiles_lines(profiles))
