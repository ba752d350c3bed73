"""The Python API: what the commands do, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from zsbench.clip.model import Clip
from zsbench.dataset import Dataset
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.profiling import Conditions, profile_method
from zsbench.result import Profile, Result
from zsbench.runs.build import build_method, full_vocabulary, load_encoder
from zsbench.runs.environment import environment, tf32
from zsbench.runs.execution import execute
from zsbench.runs.folder import CHECKPOINT
from zsbench.runs.plan import Plan, make_plan, open_dataset
from zsbench.runs.request import ProfileRequest, Request
from zsbench.utils.files import sha256

USUAL_SIDE = 512
"""Pixels: of the image that is profiled where neither protocol nor CLIP says a size."""


def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """The dataset `name`; `root` as in `--data-root`."""
    return open_dataset(name, None if root is None else Path(root))


def load_method(
    name: str,
    dataset: str = "miniworld",
    *,
    variant: str | None = None,
    options: Mapping[str, Any] | None = None,
    clip: str | None = None,
    weights: str | None = None,
) -> Method:
    """The method `name`, built on the dataset's CLIP (or `clip` with `weights`) and told the dataset's vocabulary."""
    request = Request(
        method=name, dataset=dataset, variant=variant, options=as_text(options), clip=clip, weights=weights
    )
    return build(make_plan("profile", request))[0]


def train(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Path:
    """Train and return the path of the checkpoint. Further keywords are the fields of `zsbench.runs.request.Request`."""
    plan = make_plan("train", Request(method=method, dataset=dataset, **request))
    execute(plan)
    return plan.out / CHECKPOINT


def evaluate(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Result:
    """Evaluate a training-free method, or a trained one from `checkpoint=`. Keywords as for `train`."""
    return measured(make_plan("eval", Request(method=method, dataset=dataset, **request)))


def run(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Result:
    """Train where the method learns, evaluate and profile: `zsbench run`. Keywords as for `train`."""
    return measured(make_plan("run", Request(method=method, dataset=dataset, **request)))


def measured(plan: Any) -> Result:
    result = execute(plan)
    assert result is not None  # only `train` has none
    return result


def profile(
    method: str = "zegclip",
    dataset: str = "miniworld",
    *,
    options: Mapping[str, Any] | None = None,
    **request: Any,
) -> Profile:
    """What one image costs: `zsbench profile`. It needs no dataset files and, weights being `random`, no trained weights.

    Where the cost depends on what was learnt (how many proposals are left to classify), give `checkpoint`, as to `evaluate`.
    Further keywords are the fields of `zsbench.runs.request.ProfileRequest`: `size`, `device`, `dtype`, ...
    """
    return measure(ProfileRequest(method=method, dataset=dataset, options=as_text(options), **request))


def measure(request: ProfileRequest) -> Profile:
    """Carry out a request, in this process. By default the image fills one window of the dataset's protocol."""
    size = request.size and parse_size(request.size)
    plan = make_plan("profile", request)
    segmenter, model = build(plan)
    side = plan.protocol.crop or plan.protocol.short_side or (model.image_size if model else USUAL_SIDE)
    image_size = size or (side, side)
    conditions = Conditions(request.timed, plan.dtype, request.compile, request.seconds, request.largest_batch)
    with tf32(request.tf32):
        cost = profile_method(segmenter, model, plan.protocol, image_size, plan.prompts, plan.device, conditions)
        machine = environment(plan.device, plan.dtype)
    return Profile(
        **cost.model_dump(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.profile_command(),
        method=segmenter.name,
        variant=request.variant,
        options=segmenter.options.model_dump(mode="json"),
        clip="/".join(Path(model.name).parts[-2:]) if model else None,
        weights=Path(model.weights.source).name if model else None,
        words=plan.words.source if plan.words else None,
        checkpoint=request.checkpoint.name if request.checkpoint else None,
        checkpoint_sha256=sha256(request.checkpoint) if request.checkpoint else None,
        dataset=plan.dataset.name,
        classes=len(plan.dataset.classes),
        size=request.size,
        image_size=list(image_size),
        protocol=asdict(plan.protocol),
        environment=machine,
    )


def build(plan: Plan) -> tuple[Method, Clip | None]:
    """The method of a plan, told the vocabulary, and its CLIP if it needs one, without reading any image."""
    model = load_encoder(plan)
    segmenter = build_method(plan, model)
    # a random CLIP says nothing of any prompt
    texts = replace(plan, templates="single") if model and model.weights.random else plan
    segmenter.to(plan.device).set_vocabulary(full_vocabulary(texts, model).to(plan.device))
    return segmenter, model


def as_text(options: Mapping[str, Any] | None) -> dict[str, str]:
    """Options as `-o` would give them."""
    return {key: str(value) for key, value in (options or {}).items()}


def parse_size(text: str) -> tuple[int, int]:
    """`(height, width)` of "HEIGHTxWIDTH"."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UserError(f"--size {text!r}: expected HEIGHTxWIDTH, such as 480x640.")
    return int(height), int(width)
