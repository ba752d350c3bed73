"""The label maps of a few images, as a run that saved none of them predicts them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.folder import CHECKPOINT, RESULT, weights_in
from zsbench.runs.request import UNSAID, Request
from zsbench.runs.rerun import Search

INSTEAD = "give the label maps by --predictions, as --save-predictions wrote them"
NOT_NEEDED = (*UNSAID, "metric", "curve", "seed", "device")


def recompute(
    folder: Path, ids: Iterable[str], out: Path, data_root: Path | None = None, files: Sequence[Path] = ()
) -> None:
    """Write the label maps of images into the folder `out`, by what the run in `folder` learnt.

    `files`: those that the run was given, such as weights; they are told by their content. Raises `UserError` where the run
    was of predictions made elsewhere, where its checkpoint or a file that it was given is missing, and as a run does.
    """
    request = asked_again(folder, data_root, files)
    import torch

    from zsbench.data.predictions import Saving
    from zsbench.dataset import read_sample
    from zsbench.runs.build import build_method, full_vocabulary, load_encoder
    from zsbench.runs.images import segment
    from zsbench.runs.plan import make_plan

    plan = make_plan("eval", request)
    torch.manual_seed(request.seed)  # weights may be random
    clip = load_encoder(plan)
    method = build_method(plan, clip).eval().to(plan.device)
    method.set_vocabulary(full_vocabulary(plan, clip).to(plan.device))
    saving = Saving(out, plan.dataset.palette)
    for image_id in ids:
        sample = read_sample(plan.dataset, plan.protocol.split, image_id)
        saving(image_id, segment(method, plan, sample.image, sample.id, sample.label))


def asked_again(folder: Path, data_root: Path | None, files: Sequence[Path]) -> Request:
    """The evaluation that a run did, from what its result says and its folder holds."""
    result = Result.load(folder / RESULT)
    if result.verb == "score":
        raise UserError(f"{folder}: its predictions were made elsewhere and cannot be made again: {INSTEAD}.")
    search = Search(files, (), f"give it by --file, or {INSTEAD}")
    offered = Request.offered("eval").keys() - set(NOT_NEEDED)
    given = {
        name: search.restored(value) for name, value in result.request.items() if name in offered and value is not None
    }
    if result.verb == "run" and result.training is not None:
        given["checkpoint"] = weights_in(folder, result.method.checkpoint_sha256)
        if given["checkpoint"] is None:
            raise UserError(f"{folder} lacks the {CHECKPOINT} that it was measured with: {INSTEAD}.")
    return Request.of("eval", {**given, "seed": result.seed, "data_root": data_root})
