"""`zsbench export`: results for spreadsheets, data frames and papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zsbench.cli.errors import console
from zsbench.cli.program import app
from zsbench.errors import UserError
from zsbench.utils.files import make_folder, write_text


@app.command()
def export(
    results: Annotated[list[Path], typer.Argument(help="folders of runs, or results")],
    to: Annotated[
        Literal["csv", "latex", "parquet", "markdown"],
        typer.Option(help="csv, parquet: all values, unrounded; latex, markdown: the usual metrics with their errors"),
    ] = "markdown",
    out: Annotated[Path | None, typer.Option(help="file to write; default: print it", metavar="PATH")] = None,
) -> None:
    """Write results as one table, a line for each."""
    from zsbench.reports.export import TEXTS, read_results, write_parquet

    if to == "parquet" and out is None:
        raise UserError("parquet is no text: give --out FILE.")
    found = read_results(results)
    if out is None:
        print(TEXTS[to](found), end="")
        return
    if to == "parquet":
        write_parquet(found, out)
    else:
        write_text(make_folder(out.parent) / out.name, TEXTS[to](found))
    console.print(f"wrote {out}", soft_wrap=True)
