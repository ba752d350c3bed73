"""`zsbench-proposals`: write the proposals of a two-stage method to a file that `clip-regions`, or any COCO tool, reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from zsbench.cli import options as options
from zsbench.cli.errors import plain_errors
from zsbench.cli.main import console
from zsbench.data.coco_results import write_proposals
from zsbench.runs.plan import make_plan
from zsbench.runs.proposals import Proposed, proposals
from zsbench.runs.request import Request
from zsbench.utils.progress import progress_bar


def command(
    out: Annotated[Path, typer.Option(help="the file, JSON in COCO's results format")],
    method: Annotated[str, typer.Option(help="zegformer, zsseg or clip-regions")] = "zegformer",
    dataset: options.DatasetName = "miniworld",
    variant: options.Variant = None,
    option: options.Assignments = None,
    clip: options.ClipName = None,
    weights: options.WeightsName = None,
    checkpoint: options.CheckpointPath = None,
    data_root: options.DataRoot = None,
    device: options.Device = None,
    limit: options.Limit = None,
    plugin: options.Plugins = None,
) -> None:
    """Write the proposals of a two-stage method for the evaluated images of a dataset.

    Another method reads them with `--method clip-regions -o proposals=file -o file=...`.
    """
    plan = make_plan("eval", options.as_request(Request, {**locals(), "out": None}))
    with progress_bar(console, "proposals", len(plan.eval_ids)) as bar:

        def rows() -> Iterator[Proposed]:
            for number, row in enumerate(proposals(plan), 1):
                yield row
                bar.reach(number)

        count = write_proposals(out, rows())
    console.print(f"{count} proposals for {len(plan.eval_ids)} images in {out}", soft_wrap=True)


def main() -> None:
    """Entry point of the `zsbench-proposals` command: exit code 2 with a message for what the user can put right."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(command)
    with plain_errors():
        app()
