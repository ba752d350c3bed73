"""`zsbench check-plugin`: whether a file of one's own keeps to the contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from zsbench.cli.errors import console
from zsbench.cli.program import app
from zsbench.runs.request import DEFAULT_DATASET, Request, pairs


@app.command("check-plugin")
def check_plugin(
    file: Annotated[Path, typer.Argument(help="a Python file that registers methods or datasets")],
    dataset: Annotated[
        str, typer.Option(help="on which methods are tried: its CLIP, two images", metavar="TEXT")
    ] = DEFAULT_DATASET,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="an option of the method", metavar="KEY=VALUE")
    ] = None,
    words: Annotated[Path | None, typer.Option(help=Request.model_fields["words"].description, metavar="PATH")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help=Request.model_fields["data_root"].description, metavar="PATH")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N", metavar="TEXT")] = None,
) -> None:
    """Try the plugins of a file before anything long: options, every setting and phase of training, evaluation.

    With every kind of label, on two images; says what is wrong and where, and exits with 1 where something is.
    """
    from zsbench.runs.check_plugin import check_plugin as tried

    given = {"options": pairs(option or []), "words": words, "data_root": data_root, "device": device}
    failed = False
    for found in tried(file, dataset, given, data_root):
        failed = failed or bool(found.wrong)
        mark = ("wrong ", "bold red") if found.wrong else ("right ", "green")
        console.print(Text.assemble(mark, f" {found.plugin}: {found.tried}"), soft_wrap=True)
        if found.wrong:
            console.print(Text(f"       {found.wrong}"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)
