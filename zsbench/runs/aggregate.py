"""From the records of a run to its result: all numbers follow from the records; beside them stands what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsbench.checkpoint import CheckpointInfo
from zsbench.class_names import NameSet
from zsbench.clip.training_data import trained_on
from zsbench.dataset import Dataset
from zsbench.image_metric import ImageMetric
from zsbench.metrics import scores as metrics
from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.intervals import Support, bootstrap
from zsbench.metrics.recorded import Recorded, Reported
from zsbench.metrics.records import Records
from zsbench.result import (
    ClassRow,
    Curve,
    DatasetInfo,
    Efficiency,
    Environment,
    Extra,
    File,
    MethodInfo,
    Metric,
    Result,
    Shown,
    Timing,
    TrainingInfo,
    WeightsInfo,
    WordsInfo,
)
from zsbench.runs.asked import as_file, as_named, asked, portable
from zsbench.runs.calibration import constants
from zsbench.runs.plugin_code import code_of
from zsbench.settings import shown
from zsbench.utils.files import printable, sha256

if TYPE_CHECKING:  # scoring needs no torch
    from zsbench.clip.weights import Weights
    from zsbench.method import Method
    from zsbench.runs.plan import Plan


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation leaves beside its records: seconds by stage, of all processes, the method's statistics, and what
    was recorded beside the confusion."""

    seconds: Mapping[str, float]
    statistics: Mapping[str, float]
    recorded: Recorded


def aggregate(
    plan: Plan,
    method: Method,
    records: Records,
    evaluation: Evaluation,
    *,
    checkpoint: Path | None,
    training: TrainingInfo | None,
    efficiency: Efficiency | None,
    environment: Environment,
) -> Result:
    """The result of `records`, those of all images of the plan. `checkpoint`: where what the method learnt is stored."""
    learnt, recorded = plan.trained_before, evaluation.recorded
    return from_records(
        records,
        plan.dataset,
        dataset_info(plan.dataset, plan.protocol.split, plan.names, records, whole=plan.request.limit is None),
        verb=plan.verb,
        request=asked(plan.request),
        command=as_named(plan.request).command(plan.verb),
        method=method_info(plan, method, checkpoint),
        setting=plan.setting,
        shown=what_was_shown(plan),
        protocol=asdict(plan.protocol),
        seed=learnt.seed if learnt else plan.request.seed,
        training=said_of_training(learnt) if learnt else training,
        efficiency=efficiency,
        timing=Timing(**evaluation.seconds),
        statistics=dict(evaluation.statistics),
        environment=environment,
        curve=None if recorded.curve is None else Curve(**asdict(recorded.curve)),
        extra=extra_metrics(plan.metrics, recorded.metrics),
        constants=constants(plan, recorded.curve),
    )


def extra_metrics(
    metrics: Mapping[str, tuple[ImageMetric, File]], reported: Mapping[str, Mapping[str, Reported]]
) -> dict[str, Extra]:
    """What the metrics of images report, by name; a name that two give is preceded by that of the later metric."""
    found: dict[str, Extra] = {}
    for metric, (_, source) in metrics.items():
        for name, number in reported[metric].items():
            known = f"{metric} {name}" if name in found else name
            found[known] = Extra(value=number.value, stderr=number.stderr, metric=metric, source=source)
    return found


def from_records(records: Records, dataset: Dataset, about: DatasetInfo, **said: Any) -> Result:
    """A result: what follows from `records`, and beside it what is `said` in the other fields."""
    groups = {name: np.isin(dataset.classes, members) for name, members in (about.groups or {}).items()}
    counts = metrics.Counts.of(records, len(dataset.classes))
    estimates = bootstrap(records, len(dataset.classes), dataset.seen_mask, groups)
    return Result(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        dataset=about,
        metrics={name: Metric(**asdict(estimate)) for name, estimate in estimates.items()},
        note=Support.of(records, len(dataset.classes)).warning,
        classes_scored=int((~np.isnan(metrics.iou(counts))).sum()),
        per_class=class_rows(counts, dataset),
        records_sha256=records.sha256(),
        **said,
    )


def what_was_shown(plan: Plan) -> Shown:
    """What the method saw of classes before the test: its phases say so, by which it is trained in this setting."""
    phases = plan.method_class.phases(plan.setting, plan.recipe, plan.options) if plan.method_class.trainable else ()
    pixels, names = shown(phases)
    return Shown(pixels=pixels, names=names)


def said_of_training(checkpoint: CheckpointInfo) -> TrainingInfo:
    said = {name: getattr(checkpoint, name) for name in ("dataset", "recipe", "request", "command", "validation")}
    return TrainingInfo(**said)


def method_info(plan: Plan, method: Method, checkpoint: Path | None) -> MethodInfo:
    weights, texts = method.clip.weights if plan.clip else None, plan.request.text_embeddings
    own = plan.clip != plan.request.clip  # the dataset's CLIP is called by its folder, which is the dataset's name
    return MethodInfo(
        name=plan.method_class.name,
        code=code_of(plan.method_class),
        variant=plan.request.variant,
        oracle=method.oracle,
        options=portable(plan.options.model_dump(mode="json")),
        clip=plan.clip and printable("/".join(Path(plan.clip).parts[-2 if own else -1 :])),
        templates=None if texts or plan.words else portable(plan.templates),
        text_embeddings=as_file(texts) if texts else None,
        weights=None if weights is None else weights_info(plan, weights),
        words=None if plan.words is None else WordsInfo(source=plan.words.source, sha256=plan.words.sha256),
        checkpoint_sha256=sha256(checkpoint) if checkpoint else None,
        learnt_from=plan.checkpoint.dataset if plan.checkpoint and plan.request.transfer else None,
    )


def weights_info(plan: Plan, weights: Weights) -> WeightsInfo:
    """The weights of the CLIP, and what they have seen: by the dataset that they come with, or by their tag."""
    defaults, asked_for = plan.dataset.defaults, str(plan.weights)
    known = defaults.trained_on if asked_for == defaults.weights else None
    if known is None and not Path(asked_for).exists():
        known = trained_on(asked_for)
    return WeightsInfo(**{**asdict(weights), "source": printable(Path(weights.source).name), "trained_on": known})


def dataset_info(dataset: Dataset, split: str, names: NameSet, records: Records, *, whole: bool) -> DatasetInfo:
    """On what was measured; `whole`: all images that the split has here were."""
    return DatasetInfo(
        name=dataset.name,
        code=code_of(type(dataset)),
        split=split,
        images=len(records.ids),
        complete=whole and dataset.full_size(split) in (None, len(records.ids)),
        classes=len(dataset.classes),
        unseen=list(dataset.unseen),
        groups={f"mIoU:{name}": list(members) for name, members in dataset.groups.items()},
        names=names.name,
        classes_sha256=names.sha256,
        labels_sha256=labels_fingerprint(records),
    )


def class_rows(counts: metrics.Counts, dataset: Dataset) -> list[ClassRow]:
    shares = (metrics.iou(counts), metrics.accuracy(counts), metrics.dice(counts))
    columns = [column.tolist() for column in (dataset.seen_mask, *shares, counts.tp, counts.pred, counts.gt)]
    fields = ("name", "seen", "iou", "accuracy", "dice", "tp", "pred", "gt")
    return [ClassRow(**dict(zip(fields, row, strict=True))) for row in zip(dataset.classes, *columns, strict=True)]
