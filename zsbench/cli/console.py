"""What the terminal shows: the plan, progress of anything long, the table of a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tabulate import tabulate

from zsbench.reports.tables import HEADLINE, format_metric, format_seeds, short
from zsbench.result import Efficiency, Profile, Result
from zsbench.runs.plan import Plan
from zsbench.utils.progress import BAR_WIDTH


def show_plan(console: Console, plan: Plan) -> None:
    """Say what will be trained and evaluated, on what, before anything long starts."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    unseen = len(plan.dataset.unseen)
    variant = f" ({plan.request.variant})" if plan.request.variant else ""
    grid.add_row("method", f"{plan.method_class.name}{variant}, {plan.setting}")
    grid.add_row("dataset", f"{plan.dataset.name}: {len(plan.dataset.classes) - unseen} seen + {unseen} unseen classes")
    for split, used in (("train", plan.train_ids), (plan.protocol.split, plan.eval_ids)):
        note = plan.dataset.note(split) if used else ""
        if note:
            grid.add_row("", f"[yellow]{note}[/]")
    if plan.words is not None:
        grid.add_row("words", f"{plan.words.source}; class names {plan.names.name}")
    elif plan.clip is not None and plan.weights is not None:
        clip, weights = "/".join(Path(plan.clip).parts[-2:]), Path(plan.weights).name
        grid.add_row("CLIP", f"{clip}, weights {weights}; class names {plan.names.name}, templates {plan.templates}")
    if plan.trains:
        recipe = plan.recipe
        grid.add_row(
            "train",
            f"{recipe.iterations} iterations x {recipe.batch_size} images, from {len(plan.train_ids)} images",
        )
    elif plan.checkpoint is not None:
        grid.add_row(
            "checkpoint",
            f"{plan.request.checkpoint}, trained on {plan.checkpoint.dataset} ({plan.checkpoint.setting})",
        )
    if plan.eval_ids:
        protocol = plan.protocol
        side = f"short side {protocol.short_side}" if protocol.short_side else "native size"
        window = f"windows {protocol.crop}/{protocol.stride}" if protocol.crop else "whole image"
        grid.add_row("evaluate", f"{len(plan.eval_ids)} {protocol.split} images, {side}, {window}")
        if protocol.background_threshold is not None:
            grid.add_row("", f"{plan.dataset.background} where no word reaches {protocol.background_threshold:g}")
    grid.add_row("device", f"{plan.device}, {str(plan.dtype).removeprefix('torch.')}, seed {plan.request.seed}")
    grid.add_row("output", str(plan.out))
    console.print(grid)


def show_result(console: Console, result: Result) -> None:
    """The headline metrics with their errors, groups of classes, cost, and where the time went."""
    table = Table(title=f"{result.method.name} on {result.dataset.name}, {result.setting}, seed {result.seed}")
    for name in HEADLINE:
        table.add_column(name.replace("_S", "(S)").replace("_U", "(U)"), justify="right")
    table.add_row(*[format_metric(result.metrics[name]) for name in HEADLINE])
    console.print(table)
    absent = [row.name for row in result.per_class if not row.gt]
    if len(absent) == len(result.per_class):
        console.print(
            "[bold red]no pixel of these images has a class:[/] all are ignored; `zsbench data check` says more"
        )
    elif absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        console.print(f"[yellow]no pixel of {escape(', '.join(absent[:5]))}{more} in the labels of these images[/]")
    groups = {name: metric for name, metric in result.metrics.items() if ":" in name}
    if groups:
        console.print("mIoU of " + ", ".join(f"{name.split(':')[1]} {format_metric(m)}" for name, m in groups.items()))
    if result.method.weights is not None and result.method.weights.random:
        console.print("[bold red]random weights:[/] these numbers mean nothing and no leaderboard takes them")
    if not result.dataset.complete:
        console.print(f"[yellow]only {result.dataset.images} images of the split:[/] no leaderboard takes this result")
    if result.efficiency is not None:
        show_efficiency(console, result.efficiency, result.environment.device_name)
    if result.method.oracle:
        console.print("[yellow]oracle:[/] the ground truth was used; an upper bound, not a result to rank")
    for name, value in result.statistics.items():
        console.print(f"{name.replace('_', ' ')} {value:.3g}")
    show_timing(console, result)


def show_seeds(console: Console, results: Sequence[Result]) -> None:
    """Mean ± standard deviation over seeds, beside the mean bootstrap error over images."""
    table = Table(title=f"{len(results)} seeds: mean ± deviation over seeds (mean error over images)")
    for name in HEADLINE:
        table.add_column(name.replace("_S", "(S)").replace("_U", "(U)"), justify="right")
    errors = [fmean(result.metrics[name].stderr for result in results) for name in HEADLINE]
    cells = [format_seeds(results, name) for name in HEADLINE]
    table.add_row(*[f"{cell} ({error:.1f})" for cell, error in zip(cells, errors, strict=True)])
    console.print(table)


def show_efficiency(console: Console, cost: Efficiency, device: str) -> None:
    """Parameters, multiply-adds, latency, throughput and memory in a few lines."""
    idle = f", {cost.learnable_without_gradient:,} of them never trained" if cost.learnable_without_gradient else ""
    text = f", {cost.text_params:,} in the text encoder" if cost.text_params is not None else ""
    console.print(
        f"parameters  {cost.learnable_params:,} learnable{idle}; {cost.image_path_params:,} in the image path{text}"
    )
    windows = f" in {cost.windows} windows" if cost.windows > 1 else ""
    height, width = cost.input_size
    console.print(
        f"operations  {cost.gmacs:.4g} GMACs ({cost.gflops:.4g} GFLOPs) at {height}x{width}{windows}; "
        f"text once {cost.text_gmacs:.3g} GMACs"
    )
    if len(cost.module_gmacs) > 1:
        console.print("            " + ", ".join(f"{name} {gmacs:.4g}" for name, gmacs in cost.module_gmacs.items()))
    unsteady = "" if cost.steady is not False else ", still changing when the warm-up was over"
    compiled = f", compiled in {cost.compile_seconds:.0f} s" if cost.compiled else ""
    console.print(
        f"latency     {cost.latency_ms:.3g} ms (p10 {cost.latency_p10_ms:.3g}, p90 {cost.latency_p90_ms:.3g}, "
        f"{cost.latency_runs} runs{unsteady}{compiled}), {cost.fps:.3g} FPS on {device}; timed: {cost.timed}"
    )
    if cost.throughput_batch is not None:
        console.print(f"throughput  {cost.throughput:.3g} images/s at batch {cost.throughput_batch}")
    if cost.peak_memory is not None:
        console.print(f"memory      {cost.peak_memory / 2**30:.2f} GiB: {cost.memory_kind}")
    if cost.statistics:
        counted = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in cost.statistics.items())
        console.print(f"on noise    {counted}")
    if not math.isnan(cost.joules):
        console.print(f"energy      {cost.joules:.3g} J per image")


def show_profiles(console: Console, profiles: Sequence[Profile]) -> None:
    """One row for each profile, one table for each device: what was measured on different ones is not compared."""
    headers = ("dataset", "method", "input", "type", "learnable", "GMACs", "ms", "FPS", "images/s", "GiB")
    for device in dict.fromkeys(profile.environment.device_name for profile in profiles):
        rows = []
        for profile in (profile for profile in profiles if profile.environment.device_name == device):
            method = " ".join(filter(None, (profile.method, profile.variant)))
            memory = math.nan if profile.peak_memory is None else profile.peak_memory / 2**30
            numbers = (profile.gmacs, profile.latency_ms, profile.fps, profile.throughput, memory)
            words = (profile.dataset, method, "x".join(map(str, profile.input_size)), profile.precision)
            digits = ["-" if math.isnan(number) else short(number) for number in numbers]
            rows.append([*words, f"{profile.learnable_params:,}", *digits])
        table = tabulate(rows, headers, disable_numparse=True, colalign=["left"] * 4 + ["right"] * 6)
        console.print(f"{device}\n{table}", markup=False, soft_wrap=True)


def show_timing(console: Console, result: Result) -> None:
    """A bar that splits the evaluation's time into data, model, post-processing and metrics."""
    seconds = {name: value for name, value in result.timing.model_dump().items() if value}
    total = sum(seconds.values())
    if not total:
        return
    colours = {"data": "cyan", "model": "green", "post": "magenta", "metrics": "yellow"}
    bar = "".join(
        f"[{colours[name]}]{'█' * max(1, round(BAR_WIDTH * value / total))}[/]" for name, value in seconds.items()
    )
    legend = ", ".join(f"[{colours[name]}]{name}[/] {value:.1f} s" for name, value in seconds.items())
    console.print(f"evaluation {bar} {legend}")
