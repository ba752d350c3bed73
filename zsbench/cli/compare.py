"""`zsbench compare`: whether one run is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zsbench.cli.errors import console, errors
from zsbench.cli.pictures import DataRoot, Files, Predictions, Recompute
from zsbench.cli.program import app
from zsbench.errors import UserError
from zsbench.utils.files import make_folder, write_text


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs, or results with records beside them")],
    to: Annotated[
        Literal["markdown", "latex", "csv", "json"], typer.Option(help="how the comparison is written")
    ] = "markdown",
    out: Annotated[Path | None, typer.Option(help="file to write it to; default: print it", metavar="PATH")] = None,
    replicates: Annotated[int, typer.Option(min=2, help="how often images are drawn anew", metavar="N")] = 1000,
    pictures: Annotated[
        Path | None, typer.Option(help="PNG of the worst and the most changed images, of each method", metavar="PATH")
    ] = None,
    predictions: Predictions = None,
    recompute: Recompute = False,
    files: Files = None,
    data_root: DataRoot = None,
) -> None:
    """Compare runs on the same images: every metric with interval and p-value, classes and images won and lost.

    Runs that differ in the seed alone are compared as one method. Where runs are not comparable, it says why.
    """
    from zsbench.reports.comparison import compare as compared
    from zsbench.reports.comparison_text import FORMATS

    if bool(pictures) != bool(predictions or recompute) or (predictions and recompute):
        raise UserError("--pictures PATH needs --predictions, once for each method, or --recompute; they need it, too.")
    found = compared(*runs, replicates=replicates)
    if pictures is not None:
        from zsbench.reports.pictures import save_pictures

        save_pictures(make_folder(pictures.parent) / pictures.name, found, predictions or (), data_root, files or ())
        errors.print(f"wrote {pictures}", soft_wrap=True)
    text = FORMATS[to](found)
    if out is None:
        print(text, end="")
        return
    write_text(make_folder(out.parent) / out.name, text)
    console.print(f"wrote {out}", soft_wrap=True)
