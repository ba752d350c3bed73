"""How the harness's own costs grow, and what the full grid of methods, datasets and seeds would take: docs/scaling.md.

    python tests/benchmarks/scaling.py [--device cuda]

Measures, draws docs/scaling.png, and replaces what lies between the markers of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from tabulate import tabulate

from zsbench import registry
from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary
from zsbench.dataset import Sample
from zsbench.evaluation.argmax import upsampled_argmax
from zsbench.metrics.counts import count
from zsbench.metrics.intervals import bootstrap
from zsbench.metrics.records import Records
from zsbench.reports.leaderboard import page, read_entries
from zsbench.runs.environment import device_name
from zsbench.runs.estimate import evaluation_seconds, training_seconds
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.settings import default_phases

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- measured -->", "<!-- end -->"
SCENE = (480, 640)


@dataclass(frozen=True)
class Curve:
    """Seconds against a size; `exponent` is the slope of the last half of the curve in the logarithmic plot."""

    name: str
    axis: str
    sizes: Sequence[float]
    seconds: Sequence[float]

    @property
    def exponent(self) -> float:
        half = len(self.sizes) // 2
        x, y = np.log(self.sizes[half - 1 :]), np.log(self.seconds[half - 1 :])
        return float(np.polyfit(x, y, 1)[0])


def fastest(call: Callable[[], object], repeats: int = 3) -> float:
    """Least wall time of a few calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def postprocess(classes: int, height: int, width: int) -> Callable[[], object]:
    """Upsampling, argmax and counts of one image, from logits at stride 16."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(classes, height // 16, width // 16, generator=generator)
    label = torch.randint(-1, classes, (height // 40 + 1, width // 40 + 1), generator=generator, dtype=torch.int32)
    label = label.repeat_interleave(40, 0).repeat_interleave(40, 1)[:height, :width].numpy()
    return lambda: count(label, upsampled_argmax(logits, (height, width)).int().numpy(), classes)


def drawn_records(images: int, classes: int = 171, present: int = 15) -> Records:
    """Images of so many classes, each right in part and taken for five others."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(images):
        truth = rng.choice(classes, present, replace=False)
        prediction = (truth[:, None] + np.arange(6) * rng.integers(1, classes // 6, (present, 1))) % classes
        pixels = rng.integers(1, 4000, (present, 6)) * (5, 1, 1, 1, 1, 1)
        rows.append(np.stack([truth.repeat(6), prediction.ravel(), pixels.ravel()], axis=1))
    return Records.of([f"{number:012d}" for number in range(images)], rows)


def interval_seconds(images: int) -> float:
    records = drawn_records(images)
    return fastest(lambda: bootstrap(records, 171, np.arange(171) < 156), 1)


def page_seconds(copies: int) -> float:
    entries = [
        entry for entry in read_entries(DOCS.parent / "leaderboards") if entry.result.dataset.name == "miniworld"
    ]
    many = [entries[number % len(entries)] for number in range(copies)]
    return fastest(lambda: page("miniworld", many, []))


def curves() -> list[Curve]:
    """What grows with classes, pixels, images and methods."""
    classes, sides = [20, 60, 171, 400, 847], [240, 480, 960, 1920]
    images, rows = [500, 1500, 5000, 15_000, 50_000], [10, 30, 100, 300, 1000]
    shapes = [(side, side * 4 // 3) for side in sides]
    return [
        Curve("argmax and counts, 480 x 640", "classes", classes, [fastest(postprocess(n, *SCENE)) for n in classes]),
        Curve("argmax and counts, 171 classes", "pixels", [h * w for h, w in shapes],
              [fastest(postprocess(171, *shape)) for shape in shapes]),
        Curve("metrics with 1,000 replicates", "images", images, [interval_seconds(n) for n in images]),
        Curve("a leaderboard page", "results", rows, [page_seconds(n) for n in rows]),
    ]  # fmt: skip


def draw(measured: Sequence[Curve], path: Path) -> None:
    figure, panels = plt.subplots(1, len(measured), figsize=(14, 3.2), sharey=True, layout="constrained")
    for axis, curve in zip(panels, measured, strict=True):
        axis.loglog(curve.sizes, curve.seconds, "o-", color="tab:blue")
        axis.set(title=curve.name, xlabel=curve.axis)
        axis.grid(which="major", alpha=0.3)
        axis.annotate(f"exponent {curve.exponent:.2f}", (0.05, 0.9), xycoords="axes fraction")
    panels[0].set_ylabel("seconds, one core")
    figure.savefig(path, dpi=110)


DATASETS: Mapping[str, int] = {
    "pascal-voc": 1449,
    "voc20": 1449,
    "coco-stuff": 5000,
    "coco-object": 5000,
    "pascal-context": 5104,
    "ade20k": 2000,
    "ade-full": 2000,
    "cityscapes": 500,
}
"""The eight benchmarks of the grid with their evaluation images."""
TRAINED_ON = ("pascal-voc", "coco-stuff", "pascal-context")
"""Where ZegCLIP has a recipe; on the others a model is evaluated that was trained on one of these."""
METHODS, SEEDS = 10, 3
ONE_STAGE, TWO_STAGE = "zegclip", "zegformer"
WORKERS = (1, 8, 64)


@dataclass(frozen=True)
class Cost:
    """One method with one seed on one dataset and device: seconds of training and of evaluation, peak memory in bytes."""

    method: str
    dataset: str
    train: float
    evaluate: float
    memory: int


def cost(name: str, dataset: str, clip: Clip, device: torch.device) -> Cost:
    """From one training step and one 480 x 640 image, as `zsbench run` estimates it."""
    resolved, method_class = resolve(Request(method=name, dataset=dataset)), registry.load_method_class(name)
    data, protocol, recipe = resolved.dataset, resolved.protocol(), resolved.recipe()
    method = method_class(clip, resolved.options(None)).to(device)
    words = F.normalize(torch.randn(len(data.classes), clip.dim), dim=-1)
    whole = Vocabulary(data.classes, words, torch.from_numpy(data.seen_mask)).to(device)
    method.set_vocabulary(whole)
    scene = Sample("scene", np.zeros((*SCENE, 3), np.uint8), np.zeros(SCENE, np.int32))
    evaluate = warm(lambda: evaluation_seconds(method, scene, DATASETS[dataset], protocol, device))
    train = 0.0
    if dataset in TRAINED_ON:
        seen = [word for word, known in zip(whole.words, whole.seen, strict=True) if known]
        method.set_vocabulary(Vocabulary(tuple(seen), whole.embeddings[whole.seen], whole.seen[whole.seen]))
        train = warm(lambda: training_seconds(method, default_phases("inductive", recipe), device))
    return Cost(name, dataset, train, evaluate, peak_memory(device))


def warm(estimate: Callable[[], float]) -> float:
    """The second of two estimates: the first step also allocates."""
    estimate()
    return estimate()


def peak_memory(device: torch.device) -> int:
    """Bytes: of the device if it is CUDA, else of the whole process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.0f}" if seconds >= 36_000 else f"{seconds / 3600:.2g}"


def tables(measured: Sequence[Curve], costs: Sequence[Cost], device: torch.device) -> str:
    """What goes between the markers of docs/scaling.md."""
    where = device_name(device) + (", one thread" if device.type == "cpu" else "")
    cells = [
        [c.method, c.dataset, hours(c.train) if c.train else "-", hours(c.evaluate), f"{c.memory / 1e9:.1f}"]
        for c in costs
    ]
    one = [c for c in costs if c.method == ONE_STAGE]
    whole = METHODS * SEEDS * np.array([sum(c.train for c in one), sum(c.evaluate for c in one)])
    grid = [[workers, *(hours(seconds / workers) for seconds in (*whole, whole.sum()))] for workers in WORKERS]
    growth = [[c.name, c.axis, f"{c.sizes[-1]:,.0f}", f"{c.seconds[-1]:.3g}", f"{c.exponent:.2f}"] for c in measured]
    tablefmt = {"tablefmt": "github", "disable_numparse": True}
    return "\n\n".join(
        [
            f"Measured on: {where}.",
            "### Where each cost grows",
            "![curves](scaling.png)",
            tabulate(growth, ["what", "grows with", "largest", "seconds there", "exponent"], **tablefmt),
            "### One method, one seed",
            tabulate(cells, ["method", "dataset", "training h", "evaluation h", "peak memory GB"], **tablefmt),
            f"### {METHODS} methods x {len(DATASETS)} datasets x {SEEDS} seeds, all of them as {ONE_STAGE}",
            tabulate(grid, ["such devices", "training h", "evaluation h", "together h"], **tablefmt),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    clip = load_clip("ViT-B-16-quickgelu", "random")
    costs = [cost(ONE_STAGE, dataset, clip, device) for dataset in DATASETS]
    costs += [cost(TWO_STAGE, dataset, clip, device) for dataset in ("pascal-voc",)]
    measured = curves()
    draw(measured, DOCS / "scaling.png")
    text = tables(measured, costs, device)
    page_path = DOCS / "scaling.md"
    before, rest = page_path.read_text(encoding="utf-8").split(BEGIN)
    page_path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
