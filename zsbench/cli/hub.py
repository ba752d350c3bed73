"""`zsbench push` and `zsbench pull`: runs on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsbench.cli.errors import console
from zsbench.cli.program import app


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub; made if it is not there")],
    private: Annotated[bool, typer.Option("--private", help="make a repository that only its owner sees")] = False,
    license: Annotated[
        str | None,
        typer.Option(help="licence of the weights, as the Hub names it (mit, cc-by-4.0, ...)", metavar="TEXT"),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="branch of the repository, made if it is not there; default: main", metavar="TEXT"),
    ] = None,
) -> None:
    """Send result, records and checkpoint of a run to the Hugging Face Hub, with a card made from the result."""
    from zsbench.reports import hub

    address = hub.push(run, repo, private=private, license=license, revision=revision)
    console.print(f"pushed to {address}", soft_wrap=True)


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub")],
    out: Annotated[
        Path | None, typer.Option(help="folder to write; default: runs/<name of the repository>", metavar="PATH")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="branch, tag or commit of the repository; default: main", metavar="TEXT")
    ] = None,
) -> None:
    """Fetch what `zsbench push` sent; it is checked as any result and checkpoint is, and nothing else is fetched."""
    from zsbench.reports import hub

    folder = hub.pull(repo, out, revision=revision)
    from zsbench.cli.console import show_result
    from zsbench.result import Result
    from zsbench.runs.folder import RESULT

    show_result(console, Result.load(folder / RESULT))
    console.print(f"written to {folder}", soft_wrap=True)
