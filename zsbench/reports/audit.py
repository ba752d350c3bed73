"""No number is taken on trust: whatever follows from the counts of a result, or from its records, is computed again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from zsbench.class_names import PLAIN, NameSet
from zsbench.errors import UserError
from zsbench.metrics import scores
from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.intervals import Support, bootstrap
from zsbench.metrics.records import Records
from zsbench.result import Efficiency, Profile, Result

Claim = tuple[str, object, object]
"""A field, what it says, and what it should."""


def audit(result: Result, path: Path, records: Path | None = None) -> None:
    """Raise `UserError` naming the file and the field where a result says what its counts, or its records, do not.

    `records`: the file of records that came with the result. Without it groups of classes that schema 1 did not name cannot
    be checked. Speeds and parameters must agree among themselves.
    """
    costs = costed(result.efficiency) if result.efficiency else ()
    source = "the per-class counts in it" if records is None else f"its per-class counts and {records}"
    check(chain(counted(result), costs), path, source, "Evaluate again; a result is not edited.")
    if records is not None:
        check(recorded(result, Records.load(records)), path, source, "Evaluate again; a result is not edited.")


def audit_intervals(result: Result, path: Path, records: Path) -> None:
    """Raise `UserError` naming the file and the field where errors, intervals or the note on them are not those of the
    records; this takes seconds. Those of schema 1 were made in another way, and are left alone."""
    if result.dataset.groups is not None:
        claims = sampled(result, Records.load(records))
        check(claims, path, f"{records}, by a bootstrap over its images,", "Evaluate again; a result is not edited.")


def audit_profile(profile: Profile, path: Path) -> None:
    """Raise `UserError` naming the file and the field where a profile contradicts itself."""
    check(costed(profile), path, "its other numbers", "Measure again; a profile is not edited.")


def check(claims: Iterable[Claim], path: Path, source: str, advice: str) -> None:
    for field, stated, computed in claims:
        if not equal(stated, computed):
            raise UserError(f"{path}: {field}: {stated} is said, {source} give {computed}. {advice}")


def equal(stated: object, computed: object) -> bool:
    """Floats up to what the order of a sum changes, on other processors too; two undefined ones are equal."""
    if isinstance(stated, float) and isinstance(computed, float):
        both_undefined = math.isnan(stated) and math.isnan(computed)
        return both_undefined or math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-7)
    return stated == computed


def counts_of(result: Result) -> scores.Counts:
    rows = result.per_class
    return scores.Counts(*(np.array([getattr(row, name) for row in rows], np.int64) for name in ("tp", "pred", "gt")))


def counted(result: Result) -> Iterator[Claim]:
    """What follows from the counts of pixels of each class, and from their names."""
    counts, rows = counts_of(result), result.per_class
    names = [row.name for row in rows]
    yield "per_class: each class once", len(names), len(set(names))
    if result.dataset.names == PLAIN:
        yield "dataset.classes_sha256", result.dataset.classes_sha256, NameSet.plain(names).sha256
    possible = bool(np.all(counts.tp <= np.minimum(counts.pred, counts.gt)) and counts.pred.sum() <= counts.gt.sum())
    yield "per_class: tp within pred and gt, and no more pixels predicted than labelled", True, possible
    yield "dataset.classes", result.dataset.classes, len(rows)
    yield "dataset.unseen", sorted(result.dataset.unseen), sorted(row.name for row in rows if not row.seen)
    columns = {"iou": scores.iou(counts), "accuracy": scores.accuracy(counts), "dice": scores.dice(counts)}
    for name, values in columns.items():
        stated = np.array([getattr(row, name) for row in rows], np.float64)
        other = (stated != values) & ~(np.isnan(stated) & np.isnan(values))
        for index in np.flatnonzero(other):
            yield f"per_class {names[index]!r} {name}", float(stated[index]), float(values[index])
    yield "classes_scored", result.classes_scored, int(np.count_nonzero(~np.isnan(columns["iou"])))
    computed = scores.summary(counts, *class_sets(result))
    unknown = [name for name in result.metrics if ":" in name] if result.dataset.groups is None else []
    yield "the names of metrics", sorted(result.metrics), sorted([*computed, *unknown])
    for name, value in computed.items():
        metric = result.metrics[name]
        yield f"metrics.{name}.value", metric.value, value
        ordered = not metric.stderr < 0 and not metric.low > metric.high and not math.isinf(metric.stderr)
        yield f"metrics.{name}: error not negative, interval in order", True, ordered


def class_sets(result: Result) -> tuple[scores.Mask, dict[str, scores.Mask]]:
    """Which classes are seen, bool (C,), and which are of each group."""
    names = [row.name for row in result.per_class]
    groups = {group: np.isin(names, members) for group, members in (result.dataset.groups or {}).items()}
    return np.array([row.seen for row in result.per_class], bool), groups


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


def sampled(result: Result, records: Records) -> Iterator[Claim]:
    """What a bootstrap over images gives."""
    yield "note", result.note, Support.of(records, len(result.per_class)).warning
    for name, estimate in bootstrap(records, len(result.per_class), *class_sets(result)).items():
        for end in ("stderr", "low", "high"):
            yield f"metrics.{name}.{end}", getattr(result.metrics[name], end), getattr(estimate, end)


def costed(cost: Efficiency) -> Iterator[Claim]:
    """What numbers about costs say of each other."""
    yield "gflops", cost.gflops, 2 * cost.gmacs
    yield "fps", cost.fps, 1000 / cost.latency_ms if cost.latency_ms > 0 else math.nan
    ordered = 0 < cost.latency_p10_ms <= cost.latency_ms <= cost.latency_p90_ms
    yield "latency_ms: positive, between its percentiles", True, ordered
    yield "learnable_params: not more than image_path_params", True, cost.learnable_params <= cost.image_path_params
    if cost.module_gmacs:
        yield "gmacs", cost.gmacs, math.fsum(cost.module_gmacs.values())
    if cost.batch_throughput:
        yield "throughput", cost.throughput, max(cost.batch_throughput.values())
