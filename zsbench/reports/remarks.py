"""What to know before the numbers of results are trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from zsbench.reports.comparison import ELSEWHERE
from zsbench.reports.markup import cell, sentence
from zsbench.result import Result


def remarks(result: Result) -> Iterator[str]:
    """Sentences on one result."""
    if result.note:
        yield sentence(result.note)
    if result.random:
        yield "Random weights: these numbers mean nothing."
    if not result.protocol:
        yield f"{sentence(ELSEWHERE)}."
    if not result.dataset.complete:
        yield f"Only {result.dataset.images} images of the split were evaluated."
    if result.method.oracle:
        yield "Oracle: the ground truth was used. An upper bound, not a result to rank."
    if result.environment.dirty:
        yield "Measured with uncommitted changes in zsbench."


def drawn_by_nothing(results: Sequence[Result]) -> str | None:
    """A sentence on seeds that changed nothing."""
    seeds = {result.seed for result in results}
    if len(seeds) < 2 or len({result.records_sha256 for result in results}) > 1:
        return None
    return f"All {len(seeds)} seeds gave the same: nothing here is drawn, so ± 0.0 says nothing."


def table_remarks(rows: Mapping[str, Sequence[Result | None]]) -> Iterator[str]:
    """Markdown below a table: each remark once, with the rows that it is about where that is not all with a result."""
    found: dict[str, list[str]] = {}
    measured = {name: [result for result in results if result is not None] for name, results in rows.items()}
    for name, results in measured.items():
        for said in dict.fromkeys(said for result in results for said in remarks(result)):
            found.setdefault(said, []).append(name)
        if same := drawn_by_nothing(results):
            found.setdefault(same, []).append(name)
    everywhere = [name for name, results in measured.items() if results]
    for said, about in found.items():
        yield cell(said) if about == everywhere else f"{', '.join(map(cell, about))}: {cell(said)}"
