"""All commands. Heavy imports happen inside them, so that `zsbench list` answers at once."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zsbench import registry
from zsbench.cli.errors import console
from zsbench.cli.options import with_plugins
from zsbench.cli.program import app
from zsbench.errors import UserError

# Commands add themselves, in the order of the help.
# isort: off
from zsbench.cli import runs, calibrate, score, compare, report, export, hub, leaderboard, data  # noqa: F401


@app.command("list")
@with_plugins
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="methods or datasets; default: both")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
) -> None:
    """Show the methods and datasets that are installed, and what each needs."""
    if kind not in (None, "methods", "datasets"):
        raise UserError(f"unknown kind {kind!r}: expected methods or datasets.")
    found = [entry for entry in registry.plugins() if kind in (None, f"{entry.kind}s")]
    if as_json:
        print(json.dumps([describe(entry) for entry in found], indent=1))
        return
    for heading in ("method", "dataset"):
        show_plugins(f"{heading}s", [entry for entry in found if entry.kind == heading])
    for problem in registry.problems():
        console.print(Text.assemble(("problem:", "yellow"), f" {problem}"), soft_wrap=True)


def show_plugins(heading: str, entries: list[registry.Plugin]) -> None:
    """Name, description and, where it says something, source and needs."""
    table = Table(heading, "", box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.columns[0].no_wrap = True
    for entry in entries:
        summary = Text(entry.summary)
        if entry.source != "built-in":
            summary.append(f" (from {entry.source})", "dim")
        for need in entry.needs:
            missing = need in entry.missing
            summary.append(f" (needs {need}{', missing' * missing})", "red" if missing else "dim")
        table.add_row(Text(entry.name, "bold"), summary)
    if entries:
        console.print(table)


def describe(entry: registry.Plugin) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "description": entry.summary,
        "source": entry.source,
        "needs": list(entry.needs),
        "missing": list(entry.missing),
        "installed": not entry.missing,
    }


app.add_typer(data.app, name="data")
