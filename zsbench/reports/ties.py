"""Which rows of a table are statistically tied with its best.

The tests take seconds, so they are made when tables are written. What they gave is kept beside the tables with the hashes of
the records that it came from; to show it again, or to check it, takes neither records nor arithmetic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from zsbench.reports.markup import cell
from zsbench.reports.rows import StoredResult, label, records_beside
from zsbench.utils.documents import read_json
from zsbench.utils.validation import validated

FILE = "ties.json"
ALPHA, REPLICATES, DIGITS = 0.05, 1000, 3
MOST = 4
"""Rows that are named before they are counted."""
Rows = Sequence[Sequence[StoredResult]]
"""The results of each row of a table, one for each seed."""


class Tested(BaseModel):
    """A table whose rows were tested, each with each, in all metrics.

    `sha256`: of all that the tests came from. `records`: hash of the records of each result, by the name of its file.
    `p_values`: by metric and by the file of a row's first result, of no difference from the best row, corrected by Holm for
    all pairs of the table; 1 of the best itself, and none where the metric is undefined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    sha256: str
    pairs: int
    images: int
    records: dict[str, str]
    p_values: dict[str, dict[str, float]]

    def tied(self, metric: str, runs: Sequence[StoredResult]) -> bool:
        """Whether a row is the best of the table in a metric, or does not differ from it."""
        return self.p_values.get(metric, {}).get(runs[0].path.name, 0.0) >= ALPHA

    def best(self, rows: Rows) -> set[tuple[str | None, str]]:
        """The variants of the rows that are tied with the best, with the metric in which they are."""
        return {
            (runs[0].result.method.variant, metric)
            for runs in rows
            for metric in self.p_values
            if self.tied(metric, runs)
        }


class Kept(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    about: str = "Made by `zsbench leaderboard`; do not edit."
    tables: list[Tested] = []


@dataclass(frozen=True)
class Ties:
    """The tables that were tested, by the hash of what their tests came from."""

    found: dict[str, Tested] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Ties:
        """What is kept in a folder of leaderboards; raises `UserError` for a file that is damaged."""
        if not (folder / FILE).exists():
            return cls()
        content = read_json(folder / FILE, "file of ties")
        content = content if isinstance(content, dict) else {"tables": content}
        kept = validated(Kept, content, f"entry of {folder / FILE}")
        return cls({table.sha256: table for table in kept.tables})

    def of(self, rows: Rows) -> Tested | None:
        """The tests of a table; None where there are none."""
        return self.found.get(digest(rivals(rows)))

    def updated(self, tables: Iterable[Rows]) -> Ties:
        """Those of these tables and no others, made where they are not there yet."""
        return Ties({key: self.found.get(key) or tested(rows) for key, rows in wanted(tables).items()})

    def are_of(self, tables: Iterable[Rows]) -> bool:
        """Whether these tables were tested, on the records that their results name, and no others."""
        return self.found.keys() == wanted(tables).keys()

    @property
    def text(self) -> str:
        """The content of the file."""
        tables = sorted(self.found.values(), key=lambda table: table.sha256)
        return json.dumps(Kept(tables=tables).model_dump(), indent=1) + "\n"


def wanted(tables: Iterable[Rows]) -> dict[str, Rows]:
    """Those tables that can be tested, by the hash of what decides it."""
    return {digest(rows): rows for rows in map(rivals, tables) if testable(rows)}


def rivals(rows: Rows) -> list[Sequence[StoredResult]]:
    """Those that can be the best of a table: no oracles."""
    return [runs for runs in rows if not runs[0].result.method.oracle]


def testable(rows: Rows) -> bool:
    """Whether there are two rows or more, and every result has its records."""
    return len(rows) > 1 and not unrecorded(rows)


def unrecorded(rows: Rows) -> list[Sequence[StoredResult]]:
    return [runs for runs in rows if not all(records_beside(run.path).is_file() for run in runs)]


def digest(rows: Rows) -> str:
    """Hash of the records of all rows, and of what else decides the tests."""
    first = rows[0][0].result if rows else None
    parts = sorted([run.path.name, run.result.records_sha256] for runs in rows for run in runs)
    together = sorted(sorted(run.path.name for run in runs) for runs in rows)
    classes = [first.dataset.unseen, first.dataset.groups] if first else []
    return hashlib.sha256(json.dumps([parts, together, classes, REPLICATES]).encode()).hexdigest()


def tested(rows: Rows) -> Tested:
    """Each row against each other, paired over the same images, over seeds where there are several."""
    from zsbench.metrics.significance import compare
    from zsbench.reports.comparison import load_records, resampling_of

    first = rows[0][0].result
    names = [runs[0].path.name for runs in rows]
    found = compare(
        {name: load_records(runs) for name, runs in zip(names, rows, strict=True)}, resampling_of(first, REPLICATES)
    )
    return Tested(
        sha256=digest(rows),
        pairs=len(found.pairs),
        images=first.dataset.images,
        records={run.path.name: run.result.records_sha256 for runs in rows for run in runs},
        p_values={
            metric: {name: float(f"{p:.{DIGITS}g}") for name, p in found.against_best(metric).items()}
            for metric in found.values[names[0]]
        },
    )


def explained(rows: Rows, found: Tested | None) -> list[str]:
    """A line of Markdown on what is marked in a table, or why nothing is; none where one row stands alone."""
    if found is not None:
        seeds = " and over seeds" if any(len(runs) > 1 for runs in rows) else ""
        return [
            f"Bold: the best, and what is statistically tied with it (paired over the same {found.images} images{seeds}; "
            f"p of no difference {ALPHA} or more after Holm's correction over {found.pairs} "
            f"pair{'s' if found.pairs > 1 else ''})."
        ]
    ranked = rivals(rows)
    lacking = unrecorded(ranked)
    if len(ranked) < 2 or not lacking:
        return []
    names = ", ".join(cell(" ".join(filter(None, (runs[0].result.method.name, label(runs[0]))))) for runs in lacking)
    which = names if len(lacking) <= MOST else f"{len(lacking)} of {len(ranked)} rows"
    return [f"Ties with the best are not marked: no records beside the results of {which}."]
