"""What a terminal shows of a plan, a result and a cost, line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tabulate import tabulate

from zsbench.metrics.scores import hiou
from zsbench.reports.markup import plain
from zsbench.reports.remarks import drawn_by_nothing
from zsbench.reports.tables import TITLES, format_metric, format_seeds, group_titles, short, with_error
from zsbench.result import Constant, Curve, Efficiency, Extra, Profile, Result

if TYPE_CHECKING:
    from zsbench.runs.plan import Plan

MOST = 3
"""Numbers of a metric of images that a terminal shows."""
Line = tuple[str, str]
"""A text, and the style in which a terminal shows it (`""`, `yellow`, `bold red`)."""


def plan_rows(plan: Plan) -> Iterator[tuple[str, str]]:
    """What will be trained and evaluated, on what: a word and what it stands for."""
    request, dataset, protocol, recipe = plan.request, plan.dataset, plan.protocol, plan.recipe
    variant = f" ({request.variant})" if request.variant else ""
    yield "method", f"{plan.method_class.name}{variant}, {plan.setting}"
    unseen = len(dataset.unseen)
    yield "dataset", f"{dataset.name}: {len(dataset.classes) - unseen} seen + {unseen} unseen classes"
    for split, used in (("train", plan.train_ids), (protocol.split, plan.eval_ids)):
        if used and (note := dataset.note(split)):
            yield "note", note
    if lost := [dataset.classes[index] for index in plan.names.wordless]:
        yield "note", f"name set {plan.names.name} has no word of its own for {', '.join(lost)}, which can never win"
    if plan.words is not None:
        yield "words", f"{plan.words.source}; class names {plan.names.name}"
    elif plan.clip is not None and plan.weights is not None:
        clip, weights = "/".join(Path(plan.clip).parts[-2:]), Path(plan.weights).name
        yield "CLIP", f"{clip}, weights {weights}; class names {plan.names.name}, templates {plan.templates}"
    if plan.trains:
        yield (
            "train",
            f"{recipe.iterations} iterations x {recipe.batch_size} images, from {len(plan.train_ids)} images",
        )
        if plan.validation_ids:
            yield (
                "validate",
                f"{len(plan.validation_ids)} further images, held out, every {recipe.validate_every} steps",
            )
    elif plan.checkpoint is not None:
        yield "checkpoint", f"{request.checkpoint}, trained on {plan.checkpoint.dataset} ({plan.checkpoint.setting})"
    if plan.eval_ids:
        side = f"short side {protocol.short_side}" if protocol.short_side else "native size"
        side = f"stretched to {protocol.stretch}" if protocol.stretch else side
        window = f"windows {protocol.crop}/{protocol.stride}" if protocol.crop else "whole image"
        yield "evaluate", f"{len(plan.eval_ids)} {protocol.split} images, {side}, {window}"
        if protocol.grid is not None:
            grid = "the resized image" if protocol.grid == "image" else f"{protocol.grid} x {protocol.grid} cells"
            yield "", f"scored on {grid}, as released: not comparable with scores at the labels' own size"
        if protocol.background_threshold is not None:
            yield "", f"{dataset.background} where no word reaches {protocol.background_threshold:g}"
    yield "device", f"{plan.device}, {str(plan.dtype).removeprefix('torch.')}, seed {request.seed}"
    yield "output", str(plan.out)


def result_lines(result: Result) -> Iterator[Line]:
    """The headline metrics with their errors, groups of classes, cost, and where the time went."""
    yield f"{result.method.name} on {result.dataset.name}, {result.setting}, seed {result.seed}", "bold"
    yield table(TITLES.values(), [[format_metric(result.metrics[name]) for name in TITLES]]), ""
    groups = group_titles(result)
    if groups:
        yield ", ".join(f"{title} {format_metric(result.metrics[name])}" for name, title in groups.items()), ""
    yield from extra_lines(result.extra)
    for name, chosen in result.constants.items():
        yield choice(name, chosen), ""
    if result.curve is not None:
        yield from curve_lines(result.curve)
    if result.note:
        yield result.note, "yellow"
    yield from absent_lines([row.name for row in result.per_class if not row.gt], len(result.per_class))
    if result.random:
        yield "random weights: these numbers mean nothing and no leaderboard takes them", "bold red"
    if not result.dataset.complete:
        yield f"only {result.dataset.images} images of the split: no leaderboard takes this result", "yellow"
    if result.training is not None and (found := result.training.validation) is not None:
        best = f"best {found.metric} {found.best:.1f} after step {found.best_step}"
        early = f"; ended early at step {found.ended_early[-1]}" if found.ended_early else ""
        yield f"validation  {best} on {found.images} held-out images{early}; evaluated: the {found.weights} weights", ""
    if result.efficiency is not None:
        yield from cost_lines(result.efficiency, result.environment.device_name)
    if result.method.oracle:
        yield "oracle: the ground truth was used; an upper bound, not a result to rank", "yellow"
    for name, value in result.statistics.items():
        yield f"{name.replace('_', ' ')} {value:.3g}", ""
    seconds = {name: value for name, value in result.timing.model_dump().items() if value}
    if seconds:
        yield "evaluation  " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), ""


def extra_lines(extra: Mapping[str, Extra]) -> Iterator[Line]:
    """The first numbers of each metric of images."""
    for metric in dict.fromkeys(number.metric for number in extra.values()):
        found = {name: number for name, number in extra.items() if number.metric == metric}
        first = list(found.items())[:MOST]
        shown = [f"{name} {with_error(number.value, number.stderr, '.4g', '.2g')}" for name, number in first]
        more = [f"and {len(found) - MOST} more in the result"] if len(found) > MOST else []
        yield f"{metric}  {', '.join(shown + more)}", ""


def curve_lines(curve: Curve) -> Iterator[Line]:
    """The area of the seen-unseen curve, and hIoU at the method's own calibration and at the best one."""
    at = curve.gamma.index(curve.own_gamma)
    own = hiou(curve.seen[at], curve.unseen[at])
    yield f"seen-unseen curve  area {curve.area:.1f} % of the square, over all calibrations", ""
    best = f"best {curve.best_hiou:.1f} at {curve.best_gamma:g} (an oracle: chosen on these images)"
    yield f"hIoU by calibration  own {own:.1f} at {curve.own_gamma:g}; {best}", ""


def choice(name: str, chosen: Constant) -> str:
    """A constant that no test image chose."""
    return f"{name} {chosen.value:g}, chosen on {chosen.chosen_on}"


def calibration_lines(result: Result, command: str) -> Iterator[Line]:
    """What `zsbench calibrate` chose, where, and how to go on."""
    (name, chosen), *_ = result.constants.items()
    assert result.curve is not None, "it follows from one"
    at = result.curve.gamma.index(chosen.value)
    s, u = result.curve.seen[at], result.curve.unseen[at]
    yield choice(name, chosen), "bold"
    yield f"stand-ins for unseen classes: {', '.join(chosen.stand_ins)}", ""
    yield f"there S {s:.1f}, U {u:.1f}, hIoU {hiou(s, u):.1f}; area of the curve {result.curve.area:.1f} %", ""
    yield "no leaderboard takes these numbers; to measure with what was chosen:", ""
    yield command, "bold"


def absent_lines(absent: Sequence[str], classes: int) -> Iterator[Line]:
    """What to say of classes that no label has."""
    if len(absent) == classes:
        yield "no pixel of these images has a class, all are ignored: `zsbench data check` says more", "bold red"
    elif absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        yield f"no pixel of {', '.join(absent[:5])}{more} in the labels of these images", "yellow"


def seeds_lines(results: Sequence[Result]) -> Iterator[Line]:
    """Mean ± standard deviation over seeds, beside the mean bootstrap error over images."""
    yield f"{len(results)} seeds: mean ± deviation over seeds (mean error over images)", "bold"
    errors = [fmean(result.metrics[name].stderr for result in results) for name in TITLES]
    cells = [
        format_seeds(results, name) + ("" if math.isnan(error) else f" ({error:.1f})")
        for name, error in zip(TITLES, errors, strict=True)
    ]
    yield table(TITLES.values(), [cells]), ""
    if same := drawn_by_nothing(results):
        yield same, "yellow"


def cost_lines(cost: Efficiency, device: str) -> Iterator[Line]:
    """Parameters, multiply-adds, latency, throughput and memory."""
    idle = f", {cost.learnable_without_gradient:,} of them never trained" if cost.learnable_without_gradient else ""
    text = f", {cost.text_params:,} in the text encoder" if cost.text_params is not None else ""
    image = f"{cost.image_path_params:,} in the image path{text}"
    yield f"parameters  {cost.learnable_params:,} learnable{idle}; {image}", ""
    windows = f" in {cost.windows} windows" if cost.windows > 1 else ""
    work = f"{short(cost.gmacs)} GMACs ({short(cost.gflops)} GFLOPs) at {'x'.join(map(str, cost.input_size))}{windows}"
    yield f"operations  {work}; text once {short(cost.text_gmacs, 3)} GMACs", ""
    if len(cost.module_gmacs) > 1:
        yield "            " + ", ".join(f"{name} {short(gmacs)}" for name, gmacs in cost.module_gmacs.items()), ""
    unsteady = "" if cost.steady is not False else ", still changing when the warm-up was over"
    compiled = f", compiled in {cost.compile_seconds:.0f} s" if cost.compiled else ""
    median, p10, p90 = (short(each, 3) for each in (cost.latency_ms, cost.latency_p10_ms, cost.latency_p90_ms))
    spread = f"p10 {p10}, p90 {p90}, {cost.latency_runs} runs{unsteady}{compiled}"
    yield f"latency     {median} ms ({spread}), {short(cost.fps, 3)} FPS on {device}; timed: {cost.timed}", ""
    if cost.throughput_batch is not None:
        yield f"throughput  {short(cost.throughput, 3)} images/s at batch {cost.throughput_batch}", ""
    if cost.peak_memory is not None:
        yield f"memory      {cost.peak_memory / 2**30:.2f} GiB: {cost.memory_kind}", ""
    if cost.statistics:
        counted = (f"{name.replace('_', ' ')} {value:.3g}" for name, value in cost.statistics.items())
        yield f"on noise    {', '.join(counted)}", ""
    if not math.isnan(cost.joules):
        yield f"energy      {cost.joules:.3g} J per image", ""


def profiles_lines(profiles: Sequence[Profile]) -> Iterator[Line]:
    """One row for each profile, one table for each device: what was measured on different ones is not compared."""
    headers = ("dataset", "method", "input", "type", "learnable", "GMACs", "ms", "FPS", "images/s", "GiB")
    for device in dict.fromkeys(profile.environment.device_name for profile in profiles):
        rows = [profile_row(profile) for profile in profiles if profile.environment.device_name == device]
        yield device, "bold"
        yield tabulate(rows, headers, disable_numparse=True, colalign=["left"] * 4 + ["right"] * 6), ""


def profile_row(profile: Profile) -> list[str]:
    method = " ".join(filter(None, (profile.method, profile.variant)))
    memory = math.nan if profile.peak_memory is None else profile.peak_memory / 2**30
    numbers = (profile.gmacs, profile.latency_ms, profile.fps, profile.throughput, memory)
    words = (profile.dataset, method, "x".join(map(str, profile.input_size)), profile.precision)
    digits = ["-" if math.isnan(number) else short(number) for number in numbers]
    return [*map(plain, words), f"{profile.learnable_params:,}", *digits]


def table(headers: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, list(headers), disable_numparse=True, stralign="right")
