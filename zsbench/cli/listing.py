"""`zsbench runs`: what there is, and what distinguishes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zsbench.cli.errors import console
from zsbench.cli.program import app


@app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="where the runs are")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON, all of it")] = False,
) -> None:
    """Show the runs of a folder as a table: what was changed in them, and what distinguishes them besides."""
    from tabulate import tabulate

    from zsbench.reports import run_list

    found = run_list.list_runs(folder)
    if as_json:
        print(json.dumps([asdict(run) for run in found], indent=1))
        return
    if not found:
        console.print(f"{folder} holds no runs.", soft_wrap=True)
        return
    chosen = run_list.columns(found)
    lines = list(run_list.rows(found, chosen))
    if not console.is_terminal:  # for other programs and files a run is a line, however long
        print(tabulate(lines, chosen, tablefmt="plain", disable_numparse=True))
        return
    if sum(max(map(len, column)) + 2 for column in zip(chosen, *lines, strict=True)) > console.width:
        for name_of_run, *words in lines:  # too wide for a table: what distinguishes a run stands below its name
            console.print(Text(name_of_run, "bold"))
            said = [f"{name} {word}" for name, word in zip(chosen[1:], words, strict=True) if word]
            console.print(Padding(Text("  ".join(said)), (0, 0, 0, 4)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    for name in chosen:
        table.add_column(Text(name))
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)
