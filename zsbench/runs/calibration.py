"""Choose a method's calibration where it may be chosen: on training images, with seen classes for unseen ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from zsbench import registry
from zsbench.checkpoint import read_info
from zsbench.errors import UserError
from zsbench.metrics import seen_unseen
from zsbench.metrics.scores import hiou
from zsbench.options import Options
from zsbench.result import Constant, Result
from zsbench.runs.folder import RESULT, free_folder, is_finished
from zsbench.runs.request import CalibrationRequest, Request, Verb
from zsbench.runs.resolve import CALIBRATION, merge, open_dataset, read_calibration
from zsbench.runs.stand_ins import StandIns
from zsbench.utils.files import slug

if TYPE_CHECKING:
    from zsbench.runs.plan import Plan

WHY_NOT = (
    "Leave --checkpoint out to train without them, or give one that `zsbench calibrate` left, with its --stand-ins."
)


def plan_calibration(request: CalibrationRequest) -> Plan:
    """What will happen: training without the stand-ins, unless a checkpoint of such a training is given, then the curve of
    the held-out images. Raises `UserError` for what cannot be calibrated, or could not be honestly."""
    for path in request.plugin:
        registry.add_file(path)
    if CALIBRATION not in registry.load_options(request.method).model_fields:
        raise UserError(f"{request.method} has no option {CALIBRATION}: there is nothing to choose.")
    for name in ("transfer", "text_embeddings", "calibrated"):
        if getattr(request, name):
            raise UserError(
                f"--{name.replace('_', '-')}: a calibration is chosen for the dataset's own words and classes."
            )
    if request.setting == "supervised":
        raise UserError("--setting supervised: a method that is shown every class needs no calibration.")
    chosen: list[str] | int | None = None
    if request.stand_ins is not None:
        words = [word.strip() for word in request.stand_ins.split(",") if word.strip()]
        chosen = int(words[0]) if len(words) == 1 and words[0].isdigit() else words
    learnt = None if request.checkpoint is None else read_info(request.checkpoint)
    chosen = list(learnt.unseen) if learnt is not None and chosen is None else chosen
    inner = open_dataset(request.dataset, request.data_root)
    if learnt is not None and set(learnt.classes) != {name for name in inner.classes if name not in inner.unseen}:
        raise UserError(f"{request.checkpoint} learnt from all seen classes, stand-ins among them. {WHY_NOT}")
    dataset = StandIns(inner, chosen, request.held_out, request.seed)
    if learnt is not None and set(learnt.unseen) != set(dataset.unseen):
        raise UserError(f"{request.checkpoint} was trained without {', '.join(learnt.unseen)}, not these. {WHY_NOT}")
    usual = Path("runs") / slug("calibrate", request.method, inner.name, f"seed{request.seed}")
    out = request.out or free_folder(usual, lambda folder: is_finished(folder, trains=True))
    said = {"out": out, "curve": True, "stand_ins": ",".join(dataset.unseen), "held_out": len(dataset.ids("held-out"))}
    from zsbench.runs.plan import make_plan

    return make_plan("calibrate", request.model_copy(update=said), dataset)


def calibrate(request: CalibrationRequest, console: Console | None = None) -> Result:
    """Carry out a request: the result on the held-out images, whose `constants` say what was chosen."""
    plan = plan_calibration(request)
    from zsbench.runs.execution import execute

    result = execute(plan, console, profile=False).result
    assert result is not None, "it evaluates"
    return result


def constants(plan: Plan, curve: seen_unseen.Curve | None) -> dict[str, Constant]:
    """The constants of a run that were chosen by `zsbench calibrate`: in it, or before and given by its result."""
    if plan.verb == "calibrate" and curve is not None:
        where = f"{len(plan.eval_ids)} held-out training images of {plan.dataset.name}"
        return {
            CALIBRATION: Constant(value=best(curve, plan.options), chosen_on=where, stand_ins=list(plan.dataset.unseen))
        }
    return (
        {} if plan.request.calibrated is None else {CALIBRATION: read_calibration(plan.request, plan.dataset.name)[1]}
    )


def best(curve: seen_unseen.Curve, options: Options) -> float:
    """The calibration of the highest hIoU that the method's option takes; of equals the one nearest to 0."""
    harmonic = map(hiou, curve.seen, curve.unseen)
    ranked = sorted(
        (-value, abs(gamma), gamma) for value, gamma in zip(harmonic, curve.gamma, strict=True) if value > 0
    )
    for *_, gamma in ranked:
        try:
            merge(type(options), options.model_dump(), {CALIBRATION: gamma}, what="option")
        except UserError:
            continue
        return gamma
    raise UserError(
        "at no calibration are both a seen class and a stand-in found in the held-out images: train longer, or give other "
        "--stand-ins or more --held-out images."
    )


def use(request: CalibrationRequest, result: Result, out: Path) -> str:
    """The command that takes what was chosen, and trains as it was chosen for."""
    own = ("out", "resume", "checkpoint", "curve", "calibrated", "stand_ins", "held_out")
    said = {name: value for name, value in request if name in Request.model_fields and name not in own}
    if request.checkpoint is not None:
        learnt = read_info(request.checkpoint).request or {}
        said |= {name: learnt[name] for name in ("variant", "iterations", "batch_size") if learnt.get(name) is not None}
        said |= {name: {**learnt.get(name, {}), **said[name]} for name in ("options", "recipe")}
    verb: Verb = "eval" if result.setting == "training-free" else "run"
    told = Request.model_validate({**said, "calibrated": out / RESULT})
    return shlex.join(["zsbench", *told.argv(verb)])
