"""Write the proposals of a two-stage method to a file that `clip-regions` (or any COCO tool) reads.

    python -m zsbench.methods.two_stage.export --method zegformer --dataset pascal-voc \\
        --checkpoint runs/zegformer/checkpoint.safetensors --out proposals.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zsbench.checkpoint import load_learnt_state, read_checkpoint
from zsbench.clip import load_clip
from zsbench.errors import UserError
from zsbench.inference import resize
from zsbench.method import Method
from zsbench.plan import Plan, Request, make_plan

from .base import TwoStage
from .proposal_file import write_proposals

Row = tuple[str, NDArray[np.bool_], list[float]]


def proposals(plan: Plan) -> Iterator[Row]:
    """`(image id, masks bool (Q, H, W) at the size of the label, scores)` of each image of the plan.

    A proposal's score is the mean probability inside its mask. Raises `UserError` for a method of another kind.
    """
    if not issubclass(plan.method_class, TwoStage):
        raise UserError(f"{plan.method_class.name} makes no proposals: choose zegformer, zsseg or clip-regions.")
    build: type[Method] = plan.method_class  # its subclasses have the constructor of all methods
    clip = load_clip(plan.clip, plan.weights)
    method = build(clip, plan.options)
    assert isinstance(method, TwoStage)
    if plan.released is not None:
        plan.released.fill(method, clip)
    elif plan.request.checkpoint is not None:
        load_learnt_state(method, read_checkpoint(plan.request.checkpoint)[1], str(plan.request.checkpoint))
    method.eval().to(plan.device)
    for image_id in plan.eval_ids:
        sample = plan.dataset.read(plan.protocol.split, image_id)
        image = resize(sample.image, plan.protocol)[None].to(plan.device)
        method.set_image_ids([image_id])
        if method.oracle:
            method.set_truth([torch.from_numpy(sample.label)])
        with torch.inference_mode():
            (found,) = method.propose(image)
            masks = found.masks[:, : image.shape[-2], : image.shape[-1]]
            masks = F.interpolate(masks[None], sample.label.shape, mode="bilinear", align_corners=False)[0]
        inside = masks > 0.5
        scores = (masks * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
        yield image_id, inside.cpu().numpy(), scores.tolist()


def parse(arguments: Sequence[str]) -> tuple[Request, Path]:
    parser = argparse.ArgumentParser(prog="python -m zsbench.methods.two_stage.export", description=__doc__)
    parser.add_argument("--method", default="zegformer")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--variant")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--clip")
    parser.add_argument("--weights")
    parser.add_argument("--device")
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    given = vars(parser.parse_args(arguments))
    out = given.pop("out")
    return Request(**{**given, "options": dict(option.split("=", 1) for option in given["options"])}), out


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 with a message for what the user can put right."""
    try:
        request, out = parse(arguments)
        count = write_proposals(out, proposals(make_plan("eval", request)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} proposals in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
