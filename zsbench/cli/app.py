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
from zsbench.data.suite import suites
from zsbench.errors import UserError
from zsbench.runs.about import about_method, family, shown

# Commands add themselves, in the order of the help.
# isort: off
from zsbench.cli import runs, calibrate, score, compare, report, export, hub, leaderboard  # noqa: F401
from zsbench.cli import info, listing, rerun, check_plugin, data  # noqa: F401


@app.command("list")
@with_plugins
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="methods, datasets or suites; default: all")] = None,
    options: Annotated[bool, typer.Option("--options", help="with the options of each method")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
) -> None:
    """Show the methods and datasets that are installed, what each needs, and suites of datasets; `zsbench info NAME` says
    more."""
    if kind not in (None, "methods", "datasets", "suites"):
        raise UserError(f"unknown kind {kind!r}: expected methods, datasets or suites.")
    found = [entry for entry in registry.plugins() if kind in (None, f"{entry.kind}s")]
    if as_json:
        described = [describe(entry, options) for entry in found]
        described += [{"kind": "suite", **suite.model_dump()} for suite in suites() if kind == "suites"]
        print(json.dumps(described, indent=1))
        return
    families: dict[str, list[registry.Plugin]] = {}
    for entry in found:
        families.setdefault(family(entry) if entry.kind == "method" else "Datasets", []).append(entry)
    for heading, entries in families.items():
        show_plugins(heading, entries, options and entries[0].kind == "method")
    if kind in (None, "suites"):
        show_suites()
    for problem in registry.problems():
        console.print(Text.assemble(("problem:", "yellow"), f" {problem}"), soft_wrap=True)


def show_plugins(heading: str, entries: list[registry.Plugin], options: bool = False) -> None:
    """Name, description and, where it says something, source and needs; of methods also the options, if asked for."""
    console.print(Text(heading, "bold underline"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in entries:
        summary = Text(entry.summary)
        if entry.source != "built-in":
            summary.append(f" (from {entry.source})", "dim")
        for need in entry.needs:
            missing = need in entry.missing
            summary.append(f" (needs {need}{', missing' * missing})", "red" if missing else "dim")
        if options:
            known = registry.load_options(entry.name).model_fields.items()
            summary.append("".join(f"\n-o {name}={shown(field.default)}" for name, field in known), "cyan")
        table.add_row(Text(entry.name, "bold"), summary)
    console.print(table)
    console.print()


def show_suites() -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for suite in suites():
        table.add_row(Text(suite.name, "bold"), Text(f"{suite.summary} ({', '.join(suite.datasets)})"))
    console.print(Text("Suites", "bold underline"), table)


def describe(entry: registry.Plugin, options: bool = False) -> dict[str, object]:
    """A plugin as JSON has it; with `options` all that `zsbench info` says of a method."""
    more = about_method(entry) if options and entry.kind == "method" else {}
    return {
        **more,
        "kind": entry.kind,
        "name": entry.name,
        "description": entry.summary,
        "source": entry.source,
        "needs": list(entry.needs),
        "missing": list(entry.missing),
        "installed": not entry.missing,
    }


app.add_typer(data.app, name="data")
