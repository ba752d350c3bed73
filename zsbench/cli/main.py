"""The command line. Heavy imports happen inside the commands, so that `zsbench list` answers at once."""

from __future__ import annotations

import io
import json
import signal
import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from zsbench import registry
from zsbench.cli import calibrate, data, runs, score  # noqa: F401  # the commands that measure come first
from zsbench.cli.app import app
from zsbench.cli.compare import compare
from zsbench.cli.errors import console, terminate
from zsbench.cli.export import export
from zsbench.cli.leaderboard import leaderboard
from zsbench.cli.options import with_plugins
from zsbench.errors import UserError

app.command()(compare)
app.command()(export)
app.command()(leaderboard)


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
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)


def show_plugins(heading: str, entries: list[registry.Plugin]) -> None:
    """Name, description and, where it says something, source and needs."""
    table = Table(heading, "", box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.columns[0].no_wrap = True
    for entry in entries:
        needs = [f"[red]{need} (missing)[/]" if need in entry.missing else need for need in entry.needs]
        remarks = [] if entry.source == "built-in" else [f"from {entry.source}"]
        remarks += [f"needs {', '.join(needs)}"] if needs else []
        table.add_row(
            f"[bold]{entry.name}[/]", " ".join([entry.summary, *[f"[dim]({remark})[/]" for remark in remarks]])
        )
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


def main() -> None:
    """Entry point of the `zsbench` command."""
    signal.signal(signal.SIGTERM, terminate)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what no encoding can say
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
