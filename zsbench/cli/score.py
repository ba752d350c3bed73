"""`zsbench score`: predictions made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zsbench.cli.errors import console
from zsbench.cli.options import made_from
from zsbench.cli.program import app
from zsbench.runs.request import ScoreRequest


@app.command()
@made_from(ScoreRequest, "score")
def score(
    given: dict[str, Any],
    predictions: Annotated[
        Path, typer.Option(help=ScoreRequest.model_fields["predictions"].description, metavar="PATH")
    ],
) -> None:
    """Score predictions made elsewhere: label maps in a folder, named by image id, or a file of COCO results."""
    request = ScoreRequest.of("score", {"predictions": predictions, **given})
    from zsbench.cli.console import show_result
    from zsbench.runs.scoring import score as carry_out

    show_result(console, carry_out(request, console))
