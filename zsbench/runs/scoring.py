"""Score predictions made elsewhere: label maps in, and out of them the records and the result that a method leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from zsbench import __version__, registry
from zsbench.class_names import NameSet
from zsbench.data.label_map import LabelMap
from zsbench.data.mapping import read_mapping
from zsbench.data.predictions import Predictions, find_predictions, some
from zsbench.dataset import IGNORE, Dataset, Sample, split_ids
from zsbench.errors import UserError
from zsbench.image_metric import ImageMetric, MeasuredImage
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.counts import count_runs, runs
from zsbench.metrics.recorded import numbers, report
from zsbench.metrics.records import Records
from zsbench.result import Environment, Extra, File, MethodInfo, Result, Shown, Timing
from zsbench.runs.aggregate import dataset_info, extra_metrics, from_records
from zsbench.runs.asked import as_named, portable
from zsbench.runs.folder import GALLERY, RECORDS, RESULT, free_folder, is_finished, open_folder
from zsbench.runs.gallery import draw_gallery, tolerated
from zsbench.runs.image_metrics import open_metrics
from zsbench.runs.request import ScoreRequest
from zsbench.runs.resolve import open_dataset
from zsbench.runs.software import cpu_name, revision, versions
from zsbench.settings import NOT_STATED, SHOWN
from zsbench.utils.files import printable, slug
from zsbench.utils.parallel import parallel_map
from zsbench.utils.progress import progress_bar


@dataclass(frozen=True)
class Counted:
    """The confusion of one image as `count` gives it, the seconds that reading and counting took, and what further metrics
    measured, by their names."""

    rows: Ints
    read: float
    counted: float
    measured: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Scoring:
    """A request with everything resolved."""

    request: ScoreRequest
    name: str
    dataset: Dataset
    split: str
    names: NameSet
    ids: tuple[str, ...]
    predictions: Predictions
    meaning: LabelMap
    metrics: Mapping[str, tuple[ImageMetric, File]] = field(default_factory=dict)

    def predict(self, sample: Sample) -> NDArray[np.integer[Any]]:
        return self.prediction(sample.id, sample.label.shape)

    def prediction(self, image_id: str, shape: tuple[int, ...]) -> NDArray[np.integer[Any]]:
        """(H, W) classes of an image whose annotation has that shape, -1 where there is none."""
        if image_id not in self.predictions.found:
            return np.full(shape, IGNORE, np.int32)
        return self.predictions.classes(image_id, self.stored(image_id, shape), self.meaning)

    def stored(self, image_id: str, shape: tuple[int, ...]) -> NDArray[np.integer[Any]]:
        """(H, W) values of the prediction of an image whose annotation has that shape."""
        found = self.predictions.raw(image_id)
        if found.shape != shape:
            here, there = (f"{width}x{height}" for height, width in (found.shape, shape))
            raise UserError(
                f"{self.predictions.path(image_id)}: the prediction of image {image_id} is {here} pixels (width x height), "
                f"its annotation {there}. Save predictions at the size of the "
                "original image: label maps are never resized."
            )
        return found

    def count(self, image_id: str) -> Counted:
        began = time.perf_counter()
        label = self.dataset.label(self.split, image_id)
        if image_id not in self.predictions.found or self.metrics:
            prediction = self.prediction(image_id, label.shape)
            found = runs(label, prediction)
        else:
            stored = runs(label, self.stored(image_id, label.shape))  # what values mean is looked up once for each run
            found = replace(stored, prediction=self.predictions.classes(image_id, stored.prediction, self.meaning))
        read = time.perf_counter()
        measured: dict[str, dict[str, float]] = {}
        if self.metrics:
            image = MeasuredImage(image_id, label, prediction.astype(np.int32, copy=False))
            measured = {name: numbers(name, metric, image) for name, (metric, _) in self.metrics.items()}
        rows = count_runs(found, len(self.dataset.classes))
        return Counted(rows, read - began, time.perf_counter() - read, measured)

    def extra(self, counted: Sequence[Counted]) -> dict[str, Extra]:
        """What further metrics report of all images."""
        ordered = [each for _, each in sorted(zip(self.ids, counted, strict=True), key=lambda pair: pair[0])]
        found = {
            name: report(metric, [each.measured[name] for each in ordered])
            for name, (metric, _) in self.metrics.items()
        }
        return extra_metrics(self.metrics, found)


def prepare(request: ScoreRequest) -> Scoring:
    """Look up all that a request names. Raises `UserError` for anything unknown, contradictory or absent."""
    for path in request.plugin:
        registry.add_file(path)
    source = request.predictions
    if source is None:
        raise UserError("no predictions: give --predictions, a folder of label maps or a file of COCO results.")
    dataset = open_dataset(request.dataset, request.data_root)
    meaning = read_mapping(request.mapping, dataset.classes)
    split = dataset.defaults.protocol.split
    ids = split_ids(dataset, split, request.limit)
    predictions = find_predictions(source, dataset.ids(split))
    missing = [image_id for image_id in ids if image_id not in predictions.found]
    if missing and not request.allow_missing:
        raise UserError(
            f"{source} has no prediction of {len(missing)} of {len(ids)} images: {some(missing)}. Add them, or give "
            "--allow-missing to count every pixel of them as wrong."
        )
    name = request.name or printable(source.resolve().stem)
    names, metrics = dataset.names(request.classes), open_metrics(request.metric, dataset)
    for metric, (found, _) in metrics.items():
        if found.needs_confidence:
            raise UserError(
                f"--metric {metric}: it needs probabilities, which label maps do not have; see `zsbench eval`."
            )
    return Scoring(request, name, dataset, split, names, tuple(ids), predictions, meaning, metrics)


def score(request: ScoreRequest, console: Console | None = None) -> Result:
    """Carry out a request, in this process and `workers` others; the result is also written to the output folder."""
    console = console or Console(quiet=True)
    scoring, say = prepare(request), partial(note, console)
    if ignored := scoring.predictions.ignored:
        say(f"ignored, as no predictions: {some(ignored)}")
    usual = Path("runs") / slug(scoring.name, scoring.dataset.name, "scored")
    out = request.out or free_folder(usual, lambda folder: is_finished(folder, trains=False))
    claimed = open_folder(out, False, False, None if request.out else usual, say)
    try:
        return score_into(claimed.folder, scoring, console)
    finally:
        claimed.release()


def score_into(out: Path, scoring: Scoring, console: Console) -> Result:
    """Score, and leave records, the result and at last the gallery in the folder."""
    request = scoring.request
    counted = []
    with progress_bar(console, "score", len(scoring.ids)) as bar:
        for found in parallel_map(scoring.count, scoring.ids, request.workers):
            counted.append(found)
            bar.reach(len(counted))
    records = Records.of(scoring.ids, [each.rows for each in counted])
    records.save(out / RECORDS)
    result = conclude(scoring, records, counted)
    if any(name.startswith("percent_right_if") for name in result.statistics):
        note(
            console,
            f"the predictions look off by one: from which number do their classes count (--mapping, now {request.mapping})?",
        )
    title = f"{scoring.name} on {scoring.dataset.name} (scored)"
    result.save(out / RESULT)
    with tolerated(partial(note, console)):
        draw_gallery(
            out / GALLERY, scoring.dataset, scoring.split, scoring.ids, title, scoring.predict, request.outside
        )
    console.print(f"written to {out}", soft_wrap=True)
    return result


def note(console: Console, text: str) -> None:
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def conclude(scoring: Scoring, records: Records, counted: Sequence[Counted]) -> Result:
    request, predictions = scoring.request, scoring.predictions
    setting = request.setting or NOT_STATED
    read, counting = (sum(getattr(each, stage) for each in counted) for stage in ("read", "counted"))
    return from_records(
        records,
        scoring.dataset,
        dataset_info(scoring.dataset, scoring.split, scoring.names, records, whole=request.limit is None),
        verb="score",
        request={name: portable(getattr(request, name)) for name in type(request).offered("score")},
        command=as_named(request).command("score"),
        method=MethodInfo(
            name=scoring.name,
            variant=None,
            options={},
            clip=None,
            templates=None,
            weights=None,
            checkpoint_sha256=None,
            predictions=File(name=printable(predictions.source.name), sha256=predictions.sha256),
        ),
        setting=setting,
        shown=Shown(pixels=SHOWN[setting][0], names=SHOWN[setting][1]),
        protocol={},
        seed=request.seed,
        timing=Timing(data=read, model=0, post=0, metrics=counting),
        statistics=abstention(records, scoring) | off_by_one(records.confusion(len(scoring.dataset.classes))),
        extra=scoring.extra(counted),
        environment=environment(request.workers),
    )


def abstention(records: Records, scoring: Scoring) -> dict[str, float]:
    """Percent of the labelled pixels without a predicted class, and images without a prediction, where there are any."""
    confusion = records.confusion(len(scoring.dataset.classes))
    missing = len(set(scoring.ids) - scoring.predictions.found.keys())
    share = 100.0 * float(confusion[:, -1].sum()) / max(float(confusion.sum()), 1.0)
    said = {"percent_of_pixels_without_class": share, "images_without_prediction": float(missing)}
    return {name: value for name, value in said.items() if value}


def off_by_one(confusion: Ints) -> dict[str, float]:
    """Percent of the pixels that would be right if each class were one higher, or one lower.

    Only where that is a sign of labels that count from another number: a fifth of all, and more than twice what is right.
    """
    square, pixels = confusion[:, :-1], max(float(confusion.sum()), 1.0)
    right = 100.0 * float(np.trace(square)) / pixels
    moved = {
        name: 100.0 * float(np.trace(square, offset)) / pixels
        for name, offset in (("percent_right_if_all_were_one_lower", 1), ("percent_right_if_all_were_one_higher", -1))
    }
    return {name: value for name, value in moved.items() if value > max(2 * right, 20.0)}


def environment(workers: int) -> Environment:
    """What a result has to tell of this machine; that of the predictions is not known."""
    commit, dirty = revision()
    return Environment(
        zsbench=__version__,
        commit=commit,
        dirty=dirty,
        versions=versions(),
        device="cpu",
        device_name=cpu_name(),
        threads=1,
        processes=workers or 1,
        dtype="not stated",
    )
