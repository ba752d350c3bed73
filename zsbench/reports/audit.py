"""No number is taken on trust: whatever follows from the counts of a result, or from its records, is computed again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from zsbench.errors import UserError
from zsbench.metrics import scores
from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.records import Records
from zsbench.result import Result

Claim = tuple[str, object, object]
"""A field, what it says, and what it should."""


def audit(result: Result, path: Path, records: Path | None = None) -> None:
    """Raise `UserError` naming the file and the field where a result says what its counts, or its records, do not.

    `records`: the file of records that came with the result. Without it errors and intervals cannot be checked, nor can
    groups of classes that schema 1 did not name.
    """
    claims = chain(counted(result), () if records is None else recorded(result, Records.load(records)))
    for field, stated, computed in claims:
        if not equal(stated, computed):
            source = (
                "the per-class counts in it give" if records is None else f"its per-class counts and {records} give"
            )
            raise UserError(
                f"{path}: {field}: {stated} is said, {source} {computed}. Evaluate again; a result is not edited."
            )


def equal(stated: object, computed: object) -> bool:
    """Floats up to what the order of a sum changes; two undefined ones are equal."""
    if isinstance(stated, float) and isinstance(computed, float):
        both_undefined = math.isnan(stated) and math.isnan(computed)
        return both_undefined or math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-9)
    return stated == computed


def counts_of(result: Result) -> scores.Counts:
    rows = result.per_class
    return scores.Counts(*(np.array([getattr(row, name) for row in rows], np.int64) for name in ("tp", "pred", "gt")))


def counted(result: Result) -> Iterator[Claim]:
    """What follows from the counts of pixels of each class."""
    counts, rows = counts_of(result), result.per_class
    possible = bool(np.all(counts.tp <= np.minimum(counts.pred, counts.gt)) and counts.pred.sum() <= counts.gt.sum())
    yield "per_class: tp within pred and gt, and no more pixels predicted than labelled", True, possible
    yield "dataset.classes", result.dataset.classes, len(rows)
    yield "dataset.unseen", sorted(result.dataset.unseen), sorted(row.name for row in rows if not row.seen)
    columns = {"iou": scores.iou(counts), "accuracy": scores.accuracy(counts), "dice": scores.dice(counts)}
    for index, row in enumerate(rows):
        for name, values in columns.items():
            yield f"per_class {row.name!r} {name}", getattr(row, name), float(values[index])
    yield "classes_scored", result.classes_scored, int(np.count_nonzero(~np.isnan(columns["iou"])))
    names = [row.name for row in rows]
    groups = {group: np.isin(names, members) for group, members in (result.dataset.groups or {}).items()}
    computed = scores.summary(counts, np.array([row.seen for row in rows], bool), groups)
    unknown = [name for name in result.metrics if ":" in name] if result.dataset.groups is None else []
    yield "the names of metrics", sorted(result.metrics), sorted([*computed, *unknown])
    for name, value in computed.items():
        metric = result.metrics[name]
        yield f"metrics.{name}.value", metric.value, value
        ordered = not metric.stderr < 0 and not metric.low > metric.high and not math.isinf(metric.stderr)
        yield f"metrics.{name}: error not negative, interval in order", True, ordered


def recorded(result: Result, records: Records) -> Iterator[Claim]:
    """What follows from the counts of every image."""
    yield "dataset.images", result.dataset.images, len(records.ids)
    yield "records_sha256", result.records_sha256, records.sha256()
    yield "dataset.labels_sha256", result.dataset.labels_sha256, labels_fingerprint(records)
    stated, counts = counts_of(result), scores.Counts.of(records, len(result.per_class))
    for name in ("tp", "pred", "gt"):
        here, there = getattr(stated, name), getattr(counts, name)
        for index in np.flatnonzero(here != there):
            yield f"per_class {result.per_class[index].name!r} {name}", int(here[index]), int(there[index])
