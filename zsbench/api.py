"""The Python API: what the commands do, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from zsbench import registry
from zsbench.clip import load_clip
from zsbench.dataset import Dataset
from zsbench.environment import environment, tf32
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.plan import (
    Request,
    choose_device,
    choose_dtype,
    make_plan,
    open_dataset,
    resolve_clip,
    resolve_options,
    resolve_protocol,
)
from zsbench.profiling import Conditions, ProfileRequest, profile_method
from zsbench.result import Profile, Result
from zsbench.run import carry_out
from zsbench.templates import read_templates
from zsbench.vocabulary import encode_vocabulary


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
    return build(request)[0]


def train(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Path:
    """Train and return the path of the checkpoint. Further keywords are the fields of `zsbench.plan.Request`."""
    plan = make_plan("train", Request(method=method, dataset=dataset, **request))
    carry_out(plan)
    return plan.out / "checkpoint.safetensors"


def evaluate(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Result:
    """Evaluate a training-free method, or a trained one from `checkpoint=`. Keywords as for `train`."""
    return measured(make_plan("eval", Request(method=method, dataset=dataset, **request)))


def run(method: str = "zegclip", dataset: str = "miniworld", **request: Any) -> Result:
    """Train where the method learns, evaluate and profile: `zsbench run`. Keywords as for `train`."""
    return measured(make_plan("run", Request(method=method, dataset=dataset, **request)))


def measured(plan: Any) -> Result:
    result = carry_out(plan)
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

    Further keywords are the fields of `zsbench.profiling.ProfileRequest`: `size`, `device`, `dtype`, `timed`, `seconds`, ...
    """
    return measure(ProfileRequest(method=method, dataset=dataset, options=as_text(options), **request))


def measure(request: ProfileRequest) -> Profile:
    """Carry out a request, in this process. By default the image fills one window of the dataset's protocol."""
    device, dtype = choose_device(request.device), choose_dtype(request.dtype, trains=False)
    size = request.size and parse_size(request.size)
    segmenter, data, model = build(request.model_copy(update={"weights": request.weights or "random"}))
    protocol = resolve_protocol(type(segmenter), data.name, data.defaults)
    side = protocol.crop or protocol.short_side or model.image_size
    image_size = size or (side, side)
    prompts = len(data.classes) * len(read_templates(data.defaults.templates))
    conditions = Conditions(request.timed, dtype, request.compile, request.seconds, request.largest_batch)
    with tf32(request.tf32):
        cost = profile_method(segmenter, model, protocol, image_size, prompts, device, conditions)
        machine = environment(device, dtype)
    return Profile(
        **cost.model_dump(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.profile_command(),
        method=segmenter.name,
        variant=request.variant,
        options=segmenter.options.model_dump(mode="json"),
        clip="/".join(Path(model.name).parts[-2:]),
        weights=Path(model.weights.source).name,
        dataset=data.name,
        classes=len(data.classes),
        size=request.size,
        image_size=list(image_size),
        protocol=asdict(protocol),
        environment=machine,
    )


def build(request: Request) -> tuple[Method, Dataset, Any]:
    """`(method, dataset, clip)` without reading any image; the method knows the dataset's vocabulary."""
    data = registry.load_dataset_class(request.dataset)(request.data_root or Path("data"))
    data.validate()
    method_class = registry.load_method_class(request.method)
    options = resolve_options(method_class, data.name, request, None)
    model = load_clip(*resolve_clip(request.clip, request.weights, data.defaults))
    segmenter = method_class(model, options)
    device = choose_device(request.device)
    # a random CLIP says nothing of any prompt
    templates = "single" if model.weights.random else data.defaults.templates
    vocabulary = encode_vocabulary(model, data.classes, torch.from_numpy(data.seen_mask), templates)
    segmenter.to(device).set_vocabulary(vocabulary.to(device))
    return segmenter, data, model


def as_text(options: Mapping[str, Any] | None) -> dict[str, str]:
    """Options as `-o` would give them."""
    return {key: str(value) for key, value in (options or {}).items()}


def parse_size(text: str) -> tuple[int, int]:
    """`(height, width)` of "HEIGHTxWIDTH"."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise UserError(f"--size {text!r}: expected HEIGHTxWIDTH, such as 480x640.")
    return int(height), int(width)
