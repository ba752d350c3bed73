"""`zsbench report`: a page to hand to the group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsbench.cli.errors import console
from zsbench.cli.pictures import DataRoot, Files, Predictions, Recompute
from zsbench.cli.program import app


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="folders of runs, or results; with records beside them, more is said")
    ],
    out: Annotated[Path, typer.Option(help="the page, a file of its own", metavar="PATH")] = Path("report.html"),
    predictions: Predictions = None,
    recompute: Recompute = False,
    files: Files = None,
    data_root: DataRoot = None,
    outside: Annotated[
        bool, typer.Option("--outside", help="show what was predicted outside of the labelled area, too")
    ] = False,
    plots: Annotated[
        Path | None, typer.Option(help="write the page's plots as SVG files, too", metavar="FOLDER")
    ] = None,
    replicates: Annotated[int, typer.Option(min=2, help="how often images are drawn anew", metavar="N")] = 1000,
) -> None:
    """Write one page about runs: numbers with intervals, classes, confusion, cost, pictures, comparison, origin.

    A single file, which asks no network for anything.
    """
    from zsbench.reports.report import report as write

    page = write(
        *runs,
        out=out,
        predictions=predictions or (),
        data_root=data_root,
        replicates=replicates,
        outside=outside,
        recompute=recompute,
        files=files or (),
        plots=plots,
    )
    console.print(f"wrote {page}", soft_wrap=True)
