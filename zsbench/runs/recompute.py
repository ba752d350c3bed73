"""The label maps of a few images, as a run that saved none of them predicts them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.asked import is_file
from zsbench.runs.folder import CHECKPOINT, RESULT
from zsbench.runs.request import UNSAID, Request
from zsbench.utils.files import sha256

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
    from zsbench.evaluation.evaluator import as_classes
    from zsbench.evaluation.prediction import predict_labels, resize
    from zsbench.method import ImageBatch
    from zsbench.runs.build import build_method, full_vocabulary, load_encoder
    from zsbench.runs.plan import make_plan

    plan = make_plan("eval", request)
    torch.manual_seed(request.seed)  # weights may be random
    clip = load_encoder(plan)
    method = build_method(plan, clip).eval().to(plan.device)
    method.set_vocabulary(full_vocabulary(plan, clip).to(plan.device))
    saving, owners = Saving(out, plan.dataset.palette), plan.word_to_class
    for image_id in ids:
        sample = read_sample(plan.dataset, plan.protocol.split, image_id)
        image = resize(sample.image, plan.protocol)[None].to(plan.device)
        batch = ImageBatch(image, [sample.id], [torch.tensor(sample.label)])
        with torch.inference_mode(), torch.autocast(plan.device.type, plan.dtype, enabled=plan.dtype != torch.float32):
            (found,) = predict_labels(method, batch, [sample.label.shape], plan.protocol, word_to_class=owners)
        saving(image_id, as_classes(found, owners).cpu().numpy())


def asked_again(folder: Path, data_root: Path | None, files: Sequence[Path]) -> Request:
    """The evaluation that a run did, from what its result says and its folder holds."""
    result = Result.load(folder / RESULT)
    if result.verb == "score":
        raise UserError(f"{folder}: its predictions were made elsewhere and cannot be made again: {INSTEAD}.")
    known = {sha256(path): path for path in files}
    offered = Request.offered("eval").keys() - set(NOT_NEEDED)
    given = {
        name: found(value, known, folder, name)
        for name, value in result.request.items()
        if name in offered and value is not None
    }
    if result.verb == "run" and result.training is not None:
        given["checkpoint"] = folder / CHECKPOINT
        if not given["checkpoint"].is_file():
            raise UserError(f"{folder} has no {CHECKPOINT}, by which to predict again: {INSTEAD}.")
    return Request.of("eval", {**given, "seed": result.seed, "data_root": data_root})


def found(value: Any, known: Mapping[str, Path], folder: Path, name: str) -> Any:
    """A stored value with the path of each file in its place; `UserError` for one that is not among the `known`."""
    if isinstance(value, list):
        return [found(each, known, folder, name) for each in value]
    if not isinstance(value, Mapping):
        return value
    if not is_file(value):
        return {key: found(each, known, folder, key) for key, each in value.items()}
    if value["sha256"] not in known:
        raise UserError(
            f"{folder}: the run was given {value['name']} ({name.replace('_', ' ')}), which is told by its content: give it "
            f"by --file, or {INSTEAD}."
        )
    return str(known[value["sha256"]])
