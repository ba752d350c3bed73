"""What one image costs: a profile of a method, with all that it depends on."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from zsbench.profiling import Conditions, profile_method
from zsbench.result import Profile
from zsbench.runs.asked import as_named, asked, portable
from zsbench.runs.build import build_told
from zsbench.runs.environment import environment, tf32
from zsbench.runs.folder import PROFILE
from zsbench.runs.plan import make_plan
from zsbench.runs.request import ProfileRequest
from zsbench.utils.files import make_folder, printable, sha256

USUAL_SIDE = 512
"""Pixels: of the image that is profiled where neither protocol nor CLIP says a size."""


def measure(request: ProfileRequest) -> Profile:
    """Carry out a request, in this process. By default the image fills one window of the dataset's protocol."""
    plan = make_plan("profile", request)
    method, clip = build_told(plan)
    side = plan.protocol.crop or plan.protocol.short_side or (clip.image_size if clip else USUAL_SIDE)
    height, width = map(int, request.size.split("x")) if request.size else (side, side)
    conditions = Conditions(request.timed, plan.dtype, request.compile, request.seconds, request.largest_batch)
    with tf32(request.tf32):
        cost = profile_method(method, clip, plan.protocol, (height, width), plan.prompts, plan.device, conditions)
        machine = environment(plan.device, plan.dtype)
    found = Profile(
        **cost.model_dump(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        request=asked(request),
        command=as_named(request).command("profile"),
        method=method.name,
        variant=request.variant,
        options=portable(method.options.model_dump(mode="json")),
        clip=printable("/".join(Path(clip.name).parts[-2:])) if clip else None,
        weights=printable(Path(clip.weights.source).name) if clip else None,
        words=plan.words.source if plan.words else None,
        checkpoint=printable(request.checkpoint.name) if request.checkpoint else None,
        checkpoint_sha256=sha256(request.checkpoint) if request.checkpoint else None,
        dataset=plan.dataset.name,
        classes=len(plan.dataset.classes),
        size=request.size,
        image_size=[height, width],
        protocol=asdict(plan.protocol),
        environment=machine,
    )
    if request.out:
        found.save(make_folder(request.out) / PROFILE)
    return found
