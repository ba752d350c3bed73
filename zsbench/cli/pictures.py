"""Options of the commands that show images of runs: where the label maps and the images come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Predictions = Annotated[
    list[Path] | None,
    typer.Option(
        help="for pictures: what --save-predictions wrote, once for each method in their order", metavar="PATH"
    ),
]
Recompute = Annotated[
    bool, typer.Option("--recompute", help="for pictures: predict these images again, from the runs' folders")
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", help="for --recompute: a file that a run was given, such as weights; repeat", metavar="PATH"
    ),
]
DataRoot = Annotated[Path | None, typer.Option(help="for pictures: where data are", metavar="PATH")]
