"""Whether one run is better than another: on the same images, under one protocol, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError, told_by_name
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling
from zsbench.metrics.significance import Difference
from zsbench.metrics.significance import compare as compare_records
from zsbench.reports.audit import audit
from zsbench.reports.rows import StoredResult, by_row, check_apart, label, records_beside
from zsbench.result import Result

ELSEWHERE = "predictions made elsewhere: how their images were resized and cut is not known"
"""What is said of a result without a protocol."""


@dataclass(frozen=True, eq=False)
class Contender:
    """Runs that differ in nothing but their seed, with the records of each, under the name that reports use.

    `records`: empty in a report where a run has none; nothing can be compared then.
    """

    name: str
    runs: tuple[StoredResult, ...]
    records: tuple[Records, ...]

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """float64 (C,): percent, mean over seeds; NaN where the IoU of a class is undefined in one."""
        return np.mean([[row.iou for row in run.result.per_class] for run in self.runs], axis=0)

    @property
    def image_miou(self) -> NDArray[np.float64]:
        """float64 (N,): mean IoU of the classes in an image's label or prediction, mean over seeds; images by id."""
        return np.mean([records.sorted().class_counts().image_miou("union") for records in self.records], axis=0)


@dataclass(frozen=True)
class Change:
    """A class or an image, by name, with its IoU in percent in both."""

    name: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.a - self.b


@dataclass(frozen=True)
class Pair:
    """Two contenders: the difference a - b of every metric, and of classes and images, those that `a` won most first."""

    a: str
    b: str
    metrics: Mapping[str, Difference]
    classes: tuple[Change, ...]
    images: tuple[Change, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs on the same images: `values` of every metric by contender, and each contender against each later one."""

    contenders: tuple[Contender, ...]
    values: Mapping[str, Mapping[str, float]]
    pairs: tuple[Pair, ...]

    @property
    def first(self) -> Result:
        """A result of which dataset, class names, setting and protocol are those of all."""
        return self.contenders[0].runs[0].result


@told_by_name
def compare(*runs: str | Path, replicates: int = 1000, seed: int = 0) -> Comparison:
    """Compare runs, each given by its folder or its result, with records beside it.

    Runs of one row of a leaderboard are seeds of one contender, unless all are. Differences are paired over images (see
    `zsbench.metrics.significance.compare`; `replicates`, `seed`: of its bootstrap). Raises `UserError` where fewer than two
    runs are given or records are missing, and, saying why, where runs cannot be compared.

    >>> found = zsbench.compare("runs/zegclip-miniworld-seed0", "runs/zegformer-miniworld-seed0")
    >>> found.pairs[0].metrics["hIoU"].p_value
    """
    entries = [find_result(Path(run)) for run in runs]
    if len({entry.path.resolve() for entry in entries}) < max(2, len(entries)):
        raise UserError("a comparison takes two runs or more, each given once: their folders, or their result.json.")
    for one, other in combinations(entries, 2):
        if reasons := differences(one.result, other.result):
            raise UserError(f"{one.path} and {other.path} cannot be compared: {'; '.join(reasons)}.")
    for entry in entries:
        check_records(entry)
    return compare_contenders(contend(entries), replicates, seed)


def compare_contenders(contenders: tuple[Contender, ...], replicates: int, seed: int = 0) -> Comparison:
    """Each with each later one; all have their records and the same `conditions`."""
    resampling = resampling_of(contenders[0].runs[0].result, replicates, seed)
    found = compare_records({each.name: each.records for each in contenders}, resampling)
    pairs = tuple(pair(a, b, found.pairs[a.name, b.name]) for a, b in combinations(contenders, 2))
    return Comparison(contenders, found.values, pairs)


def resampling_of(result: Result, replicates: int, seed: int = 0) -> Resampling:
    """How images are drawn anew, and over which classes of a result the means are."""
    names = [row.name for row in result.per_class]
    groups = {name: np.isin(names, members) for name, members in (result.dataset.groups or {}).items()}
    return Resampling(len(names), np.array([row.seen for row in result.per_class]), groups, replicates, seed)


def find_result(path: Path) -> StoredResult:
    """The result in a run's folder, or in a file."""
    path = path / "result.json" if path.is_dir() else path
    return StoredResult(Result.load(path), path)


def check_records(entry: StoredResult) -> None:
    """Raise `UserError` where no records lie beside a result, or where they say something else."""
    records = records_beside(entry.path)
    if not records.is_file():
        raise UserError(f"{entry.path} has no records beside it ({records.name}), without which nothing can be paired.")
    audit(entry.result, entry.path, records)


def differences(a: Result, b: Result) -> list[str]:
    """Why two results cannot be compared; empty where they can. A protocol that is not known (scored) is no reason."""
    known = bool(a.protocol and b.protocol)
    one, other = conditions(a, known), conditions(b, known)
    names = dict.fromkeys([*one, *other])
    return [
        f"{name}: {brief(one.get(name))} and {brief(other.get(name))}"
        for name in names
        if one.get(name) != other.get(name)
    ]


def conditions(result: Result, protocol: bool) -> dict[str, object]:
    """What two results must have in common, in words; with the `protocol` or without."""
    dataset = result.dataset
    return {
        "dataset": f"{dataset.name}, {dataset.split}",
        "classes": [row.name for row in result.per_class],
        "unseen classes": dataset.unseen,
        "class names in the prompts": f"{dataset.names} {dataset.classes_sha256[:12]}",
        "number of images": dataset.images,
        "ground truth": dataset.labels_sha256[:12],
        "setting": result.setting,
        "what was shown before the test": f"pixels {result.shown.pixels}, names {result.shown.names}",
        **{f"protocol, {name}": value for name, value in result.protocol.items() if protocol},
    }


def brief(value: object) -> str:
    """A value in a message: of a list how many, and the beginning."""
    return f"{len(value)} ({', '.join(map(str, value[:3]))}, ...)" if isinstance(value, list) else str(value)


def contend(entries: Sequence[StoredResult]) -> tuple[Contender, ...]:
    """One contender for each row, or for each run where all are of one row."""
    rows = list(by_row(entries).values())
    if len(rows) > 1:
        check_apart(entries)
        return tuple(Contender(name, tuple(runs), load_records(runs)) for name, runs in named(rows).items())
    apart = named([[entry] for entry in rows[0]], lambda runs: f"{row_name(runs)} seed {runs[0].seed}")
    return tuple(Contender(name, tuple(runs), load_records(runs)) for name, runs in apart.items())


def row_name(runs: Sequence[StoredResult]) -> str:
    """The method of a row, its variant and further choices."""
    return " ".join(filter(None, (runs[0].result.method.name, label(runs[0]))))


def named(
    rows: Sequence[Sequence[StoredResult]], name_of: Callable[[Sequence[StoredResult]], str] = row_name
) -> dict[str, Sequence[StoredResult]]:
    """Rows by name; a name that is not unique gets a number."""
    names: dict[str, Sequence[StoredResult]] = {}
    for runs in rows:
        name = name_of(runs)
        names[name if name not in names else f"{name} ({len(names) + 1})"] = runs
    return names


def load_records(runs: Sequence[StoredResult]) -> tuple[Records, ...]:
    return tuple(Records.load(records_beside(run.path)) for run in runs)


def pair(a: Contender, b: Contender, metrics: Mapping[str, Difference]) -> Pair:
    classes = [row.name for row in a.runs[0].result.per_class]
    images = a.records[0].sorted().ids.tolist()
    return Pair(
        a.name,
        b.name,
        metrics,
        changes(classes, a.class_iou, b.class_iou),
        changes(images, a.image_miou, b.image_miou),
    )


def changes(names: Sequence[str], a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[Change, ...]:
    """What is defined in both, the greatest difference first."""
    found = [Change(*each) for each in zip(names, a.tolist(), b.tolist(), strict=True)]
    defined = [each for each in found if not np.isnan(each.difference)]
    return tuple(sorted(defined, key=lambda each: (-each.difference, each.name)))
