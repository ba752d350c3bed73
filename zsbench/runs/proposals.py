"""What a two-stage method proposes for the images of a plan, at the size of their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zsbench.dataset import read_sample
from zsbench.errors import UserError
from zsbench.evaluation.prediction import permitted, resize
from zsbench.method import ImageBatch
from zsbench.runs.build import build_method, load_encoder
from zsbench.runs.plan import Plan


class Proposer(Protocol):
    """A method whose first stage proposes segments, each with `masks` float (Q, H, W) in 0..1."""

    def propose(self, batch: ImageBatch) -> Iterator[Any]: ...


Proposed = tuple[str, NDArray[np.bool_], list[float]]


def proposals(plan: Plan) -> Iterator[Proposed]:
    """`(image id, masks bool (Q, H, W) at the size of the label, scores)` of each image of the plan.

    A proposal's score is the mean probability inside its mask. Raises `UserError` for a method of another kind.
    """
    if not hasattr(plan.method_class, "propose"):
        raise UserError(f"{plan.method_class.name} makes no proposals: choose a two-stage method.")
    method = build_method(plan, load_encoder(plan))
    method.eval().to(plan.device)
    for image_id in plan.eval_ids:
        sample = read_sample(plan.dataset, plan.protocol.split, image_id)
        image = resize(sample.image, plan.protocol)[None].to(plan.device)
        batch = ImageBatch(image, [sample.id], [torch.tensor(sample.label)])
        with torch.inference_mode():
            (found,) = cast(Proposer, method).propose(permitted(method, batch))
            masks = found.masks[:, : image.shape[-2], : image.shape[-1]]
            masks = F.interpolate(masks[None], sample.label.shape, mode="bilinear", align_corners=False)[0]
        inside = masks > 0.5
        scores = (masks * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
        yield image_id, inside.cpu().numpy(), scores.tolist()
