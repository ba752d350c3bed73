"""`zsbench rerun`: what a result was asked for, once more."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from zsbench.cli.errors import console
from zsbench.cli.program import app
from zsbench.runs.request import OUTPUT, RUNS, WHERE, Request
from zsbench.runs.rerun import again, carry_out, outcome
from zsbench.runs.resolve import resolve
from zsbench.utils.distributed import leave

FIELDS = Request.model_fields


@app.command()
def rerun(
    result: Annotated[Path, typer.Argument(help="a result, or the folder of a run")],
    files: Annotated[
        list[Path] | None, typer.Option(help="where files of the run are (plugins, checkpoints)", metavar="PATH")
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(help=FIELDS["data_root"].description, metavar="PATH", rich_help_panel=WHERE.panel),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help=FIELDS["device"].description, metavar="TEXT", rich_help_panel=WHERE.panel)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help=FIELDS["workers"].description, metavar="N", rich_help_panel=WHERE.panel)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="output folder; default: the next free one", metavar="PATH", rich_help_panel=OUTPUT.panel),
    ] = None,
) -> None:
    """Run what a result was asked for once more, and say what differs: versions, commit, files, data, numbers."""
    asked = again(result, files or (), data_root=data_root, device=device, workers=workers, out=out)
    if asked.verb in RUNS:
        resolve(asked.request)
    say("differs", list(asked.differences) or ["nothing in versions, commit and files"])
    console.print(asked.request.command(asked.verb), soft_wrap=True)
    from zsbench.cli.console import show_plan, show_result

    found = carry_out(asked, console, partial(show_plan, console))
    show_result(console, found)
    say("differs", list(outcome(asked.result, found)))
    leave()


def say(word: str, lines: list[str]) -> None:
    for line in lines:
        console.print(f"{word}  {line}", soft_wrap=True)
