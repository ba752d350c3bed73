"""`zsbench-proposals`: write the proposals of a two-stage method to a file that `clip-regions`, or any COCO tool, reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray

from zsbench import cli_options as options
from zsbench.building import build_method
from zsbench.cli import console
from zsbench.cli_errors import plain_errors
from zsbench.clip import load_clip
from zsbench.console import progress_bar
from zsbench.errors import UserError
from zsbench.evaluation import introduce
from zsbench.inference import resize
from zsbench.plan import Plan, Request, make_plan

from .base import TwoStage
from .proposal_file import write_proposals

Row = tuple[str, NDArray[np.bool_], list[float]]


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

        def rows() -> Iterator[Row]:
            for number, row in enumerate(proposals(plan), 1):
                yield row
                bar.reach(number)

        count = write_proposals(out, rows())
    console.print(f"{count} proposals for {len(plan.eval_ids)} images in {out}", soft_wrap=True)


def proposals(plan: Plan) -> Iterator[Row]:
    """`(image id, masks bool (Q, H, W) at the size of the label, scores)` of each image of the plan.

    A proposal's score is the mean probability inside its mask. Raises `UserError` for a method of another kind.
    """
    method = build(plan)
    for image_id in plan.eval_ids:
        sample = plan.dataset.read(plan.protocol.split, image_id)
        image = resize(sample.image, plan.protocol)[None].to(plan.device)
        introduce(method, [sample.id], [sample.label])
        with torch.inference_mode():
            (found,) = method.propose(image)
            masks = found.masks[:, : image.shape[-2], : image.shape[-1]]
            masks = F.interpolate(masks[None], sample.label.shape, mode="bilinear", align_corners=False)[0]
        inside = masks > 0.5
        scores = (masks * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
        yield image_id, inside.cpu().numpy(), scores.tolist()


def build(plan: Plan) -> TwoStage:
    """The method of the plan with its weights, ready to propose."""
    if not issubclass(plan.method_class, TwoStage):
        raise UserError(f"{plan.method_class.name} makes no proposals: choose zegformer, zsseg or clip-regions.")
    method = build_method(plan, load_clip(plan.clip, plan.weights))
    assert isinstance(method, TwoStage)
    method.eval().to(plan.device).begin(plan.dataset.ids(plan.protocol.split))
    return method


def main() -> None:
    """Entry point of the `zsbench-proposals` command: exit code 2 with a message for what the user can put right."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(command)
    with plain_errors():
        app()


if __name__ == "__main__":
    main()
