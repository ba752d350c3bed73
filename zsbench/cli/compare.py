"""`zsbench compare`: whether one run is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zsbench.cli.errors import console
from zsbench.cli.program import app
from zsbench.utils.files import make_folder, write_text


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs, or results with records beside them")],
    to: Annotated[
        Literal["markdown", "latex", "csv", "json"], typer.Option(help="how the comparison is written")
    ] = "markdown",
    out: Annotated[Path | None, typer.Option(help="file to write it to; default: print it", metavar="PATH")] = None,
    replicates: Annotated[int, typer.Option(min=2, help="how often images are drawn anew", metavar="N")] = 1000,
) -> None:
    """Compare runs on the same images: every metric with interval and p-value, classes and images won and lost.

    Runs that differ in the seed alone are compared as one method. Where runs are not comparable, it says why.
    """
    from zsbench.reports.comparison import compare as compared
    from zsbench.reports.comparison_text import FORMATS

    text = FORMATS[to](compared(*runs, replicates=replicates))
    if out is None:
        print(text, end="")
        return
    write_text(make_folder(out.parent) / out.name, text)
    console.print(f"wrote {out}", soft_wrap=True)
