"""`zsbench-proposals`: write the proposals of a two-stage method to a file that other methods, and any COCO tool, read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsbench.cli.errors import console, plain_errors
from zsbench.cli.options import made_from
from zsbench.cli.program import HELP
from zsbench.cli.streams import show_what_it_can
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.utils.progress import progress_bar

if TYPE_CHECKING:
    from zsbench.runs.proposals import Proposed


@made_from(Request, "propose")
def command(
    given: dict[str, Any],
    method: Annotated[str, typer.Option(help="name of a two-stage method", metavar="TEXT")],
    out: Annotated[Path, typer.Option(help="the file, JSON in COCO's results format", metavar="PATH")],
) -> None:
    """Write the proposals of a two-stage method for the evaluated images of a dataset.

    A method that reads proposals takes the file, or any COCO tool.
    """
    request = Request.of("propose", {"method": method, **given})
    resolve(request, verb="propose")
    from zsbench.data.coco_results import write_proposals
    from zsbench.runs.plan import make_plan
    from zsbench.runs.proposals import proposals

    plan = make_plan("propose", request)
    with progress_bar(console, "proposals", len(plan.eval_ids)) as bar:

        def rows() -> Iterator[Proposed]:
            for number, row in enumerate(proposals(plan), 1):
                yield row
                bar.reach(number)

        count = write_proposals(out, rows())
    console.print(f"{count} proposals for {len(plan.eval_ids)} images in {out}", soft_wrap=True)


def main() -> None:
    """Entry point of the `zsbench-proposals` command: exit code 2 with a message for what the user can put right."""
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", context_settings=HELP
    )
    app.command()(command)
    show_what_it_can(sys.stdout, sys.stderr)
    with plain_errors():
        app()
