"""The command line. Heavy imports happen inside the commands, so that `zsbench list` answers at once."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from zsbench import registry
from zsbench.cli import data, runs  # noqa: F401  # the commands that measure come first
from zsbench.cli.app import app
from zsbench.cli.errors import console, terminate
from zsbench.cli.options import Plugins
from zsbench.errors import UserError


@app.command()
def leaderboard(
    folder: Annotated[
        Path, typer.Option(help="folder with results/*.json, efficiency/*.json and published.csv")
    ] = Path("leaderboards"),
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="print the page of costs; --add takes profiles")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="change nothing; fail if a committed table is stale")] = False,
    add: Annotated[list[Path] | None, typer.Option(help="a result.json to take in; may be repeated")] = None,
) -> None:
    """Write the Markdown tables from the committed results, or check that they are up to date."""
    from zsbench.reports.costs import add_profile, efficiency_pages
    from zsbench.reports.leaderboard import add_result, check_tables, write_tables

    for path in add or []:
        console.print(f"took in {(add_profile if efficiency else add_result)(path, folder)}")
    if check:
        check_tables(folder)
        console.print("leaderboard tables are up to date")
        return
    for path in write_tables(folder):
        console.print(f"wrote {path}")
    for text in efficiency_pages(folder).values() if efficiency else ():
        print(text)


@app.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="methods or datasets; default: both")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
    plugin: Plugins = None,
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
