"""From the records of a run to its result: all numbers follow from the records; beside them stands what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from zsbench.checkpoint import CheckpointInfo
from zsbench.dataset import Dataset
from zsbench.method import Method
from zsbench.metrics import scores as metrics
from zsbench.metrics.intervals import bootstrap
from zsbench.metrics.records import Records
from zsbench.result import (
    ClassRow,
    DatasetInfo,
    Efficiency,
    Environment,
    MethodInfo,
    Metric,
    Result,
    Timing,
    TrainingInfo,
    WeightsInfo,
    WordsInfo,
)
from zsbench.runs.plan import Plan
from zsbench.utils.files import sha256


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation leaves beside its records: seconds by stage, of all processes, and the method's statistics."""

    seconds: Mapping[str, float]
    statistics: Mapping[str, float]


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
    dataset, learnt = plan.dataset, plan.trained_before
    groups = {f"mIoU:{name}": np.isin(dataset.classes, members) for name, members in dataset.groups.items()}
    counts = metrics.Counts.of(records, len(dataset.classes))
    estimates = bootstrap(records, len(dataset.classes), dataset.seen_mask, groups)
    return Result(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=plan.request.command(plan.verb),
        method=method_info(plan, method, checkpoint),
        dataset=dataset_info(plan, records),
        setting=plan.setting,
        protocol=asdict(plan.protocol),
        seed=learnt.seed if learnt else plan.request.seed,
        metrics={name: Metric(**asdict(estimate)) for name, estimate in estimates.items()},
        classes_scored=int((~np.isnan(metrics.iou(counts))).sum()),
        per_class=class_rows(counts, dataset),
        training=said_of_training(learnt) if learnt else training,
        efficiency=efficiency,
        timing=Timing(**evaluation.seconds),
        statistics=dict(evaluation.statistics),
        environment=environment,
        records_sha256=records.sha256(),
    )


def said_of_training(checkpoint: CheckpointInfo) -> TrainingInfo:
    return TrainingInfo(dataset=checkpoint.dataset, recipe=checkpoint.recipe, command=checkpoint.command)


def method_info(plan: Plan, method: Method, checkpoint: Path | None) -> MethodInfo:
    weights = method.clip.weights if plan.clip else None
    return MethodInfo(
        name=plan.method_class.name,
        variant=plan.request.variant,
        oracle=method.oracle,
        options=plan.options.model_dump(mode="json"),
        clip=plan.clip and "/".join(Path(plan.clip).parts[-2:]),
        templates=plan.request.text_embeddings.name if plan.request.text_embeddings else plan.templates,
        weights=None if weights is None else WeightsInfo(**{**asdict(weights), "source": Path(weights.source).name}),
        words=None if plan.words is None else WordsInfo(source=plan.words.source, sha256=plan.words.sha256),
        checkpoint_sha256=sha256(checkpoint) if checkpoint else None,
        learnt_from=plan.checkpoint.dataset if plan.checkpoint and plan.request.transfer else None,
    )


def dataset_info(plan: Plan, records: Records) -> DatasetInfo:
    dataset, split = plan.dataset, plan.protocol.split
    return DatasetInfo(
        name=dataset.name,
        split=split,
        images=len(records.ids),
        complete=plan.request.limit is None and dataset.full_size(split) in (None, len(records.ids)),
        classes=len(dataset.classes),
        unseen=list(dataset.unseen),
        names=plan.names.name,
        classes_sha256=plan.names.sha256,
        labels_sha256=labels_fingerprint(records),
    )


def class_rows(counts: metrics.Counts, dataset: Dataset) -> list[ClassRow]:
    shares = (metrics.iou(counts), metrics.accuracy(counts), metrics.dice(counts))
    columns = [column.tolist() for column in (dataset.seen_mask, *shares, counts.tp, counts.pred, counts.gt)]
    fields = ("name", "seen", "iou", "accuracy", "dice", "tp", "pred", "gt")
    return [ClassRow(**dict(zip(fields, row, strict=True))) for row in zip(dataset.classes, *columns, strict=True)]


def labels_fingerprint(records: Records) -> str:
    """Hash of the ground truth as the records saw it: `(image id, class, gt)` where gt > 0."""
    ordered = records.sorted()
    counts = ordered.class_counts()
    present = counts.gt > 0
    columns = (ordered.ids[counts.image[present]], counts.cls[present], counts.gt[present])
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
