"""Leaderboards: Markdown tables and one page of all, a pure function of committed results and of what papers print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsbench import registry
from zsbench.errors import UserError
from zsbench.options import Ablation
from zsbench.reports.agreement import Agreement
from zsbench.reports.audit import audit, audit_intervals
from zsbench.reports.board_page import INDEX, index_page
from zsbench.reports.commands import PAGE as COMMANDS
from zsbench.reports.commands import commands_page
from zsbench.reports.costs import efficiency_pages
from zsbench.reports.markup import cell, code, link, markdown_table
from zsbench.reports.published import PublishedRow, read_published, remark
from zsbench.reports.rows import StoredResult, canonical, check_apart, choices, records_beside
from zsbench.reports.standings import Standing, standings
from zsbench.reports.tables import PAPER, TITLES, ablation_table, emphasised, format_seeds, group_titles, short
from zsbench.reports.ties import FILE as TIES
from zsbench.reports.ties import Rows, Tested, Ties, explained
from zsbench.result import Result
from zsbench.utils.files import file_within, make_folder, write_bytes, write_text

RANDOM = "random"
PUBLISHED_COLUMNS = ("method", "setting", "backbone", "pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU", "source")


def refusal(result: Result) -> str | None:
    """Why no leaderboard takes a result, or None."""
    weights = result.method.weights
    if weights is not None and (weights.random or weights.source == RANDOM):
        return "it was made with random weights"
    if not result.dataset.complete or result.request.get("limit") is not None:
        return f"it covers only {result.dataset.images} images of the split"
    return None


def read_result(path: Path, by_records: bool = True) -> StoredResult:
    """A result that a leaderboard may hold; raises `UserError` for any other, and where a number does not follow from its
    counts, or, `by_records`, from the records beside it."""
    result = Result.load(path)
    reason = refusal(result)
    if reason:
        raise UserError(f"{path} cannot be in a leaderboard: {reason}.")
    records = records_beside(path)
    borne_out = by_records and records.exists()
    audit(result, path, records if borne_out else None)
    if borne_out:
        audit_intervals(result, path, records)
    return StoredResult(result, path)


def add_result(path: Path, folder: Path) -> tuple[Path, str | None]:
    """Copy a result, with the records beside it, into `folder/results`, in the place of one of the same row and seed.

    Returns where it is now, and the date of the one that it replaced. Raises `UserError` where no leaderboard takes it.
    """
    entry = read_result(path)
    file_within(folder, f"{entry.result.dataset.name}.md", f"{path}: dataset.name")
    records = records_beside(path)
    kept = records.read_bytes() if records.exists() else None
    there = read_entries(folder)
    old = [other for other in there if (other.row, other.seed) == (entry.row, entry.seed)]
    check_apart([*(other for other in there if other not in old), entry])
    if old and kept is None and records_beside(old[0].path).exists():
        raise UserError(
            f"{path} would replace {old[0].path}, which its records bear out, and comes without records: expected {records}."
        )
    target = old[0].path if old else free_place(entry, make_folder(folder / "results"))
    entry.result.save(target)
    if kept is not None:
        write_bytes(records_beside(target), kept)
    return target, old[0].result.date if old else None


def free_place(entry: StoredResult, folder: Path) -> Path:
    """The canonical name of a result, with a digest of its row where the result of another row has it."""
    usual = folder / f"{entry.name}.json"
    return usual.with_stem(f"{entry.name}-{entry.row[:8]}") if usual.exists() else usual


def read_entries(folder: Path, by_records: bool = True) -> list[StoredResult]:
    """All committed results; raises `UserError` for one that no leaderboard may hold, and as `check_apart`."""
    entries = [read_result(path, by_records) for path in sorted((folder / "results").glob("*.json"))]
    check_apart(entries)
    return entries


def tables(folder: Path) -> dict[str, str]:
    """File name to text: a page of Markdown for each dataset that was measured or published about, one more for its
    ablations, whose rows are not repeated on the first, and one for costs; and a page of HTML for all together.

    Raises `UserError` where there is nothing.
    """
    return pages_of(folder, read_entries(folder), Ties.read(folder))


def pages_of(folder: Path, entries: Sequence[StoredResult], ties: Ties) -> dict[str, str]:
    """`tables` of these results."""
    published = read_published(folder / "published.csv")
    datasets = {entry.result.dataset.name: str(entry.path) for entry in entries}
    datasets |= {row["dataset_id"]: f"{folder / 'published.csv'}" for row in published if row["dataset_id"]}
    pages = {}
    for name, source in sorted(datasets.items()):
        file_within(folder, f"{name}.md", source)
        of_dataset = [entry for entry in entries if entry.result.dataset.name == name]
        measured, ablations = parted(of_dataset)
        reported = [row for row in published if row["dataset_id"] == name]
        agreement = Agreement.of(name, of_dataset, published)
        pages[f"{name}.md"] = page(name, measured, reported, ties, agreement)
        if agreement:
            pages[agreement.file] = agreement.drawn
        if ablations:
            pages[f"{name}-ablation.md"] = ablation_page(name, ablations, ties)
    pages |= efficiency_pages(folder)
    if text := commands_page(published):
        pages[COMMANDS] = text
    if not pages:
        raise UserError(f"{folder} holds no leaderboard: expected results/*.json, efficiency/*.json or published.csv.")
    pages[INDEX] = index_page(folder, entries, published, ties)
    return pages


def parted(entries: Iterable[StoredResult]) -> tuple[list[StoredResult], list[MeasuredAblation]]:
    """The results of a dataset that its page shows, and the ablation tables that stand on another."""
    entries = list(entries)
    ablations = list(measured_ablations(entries))
    apart = {entry.path for found in ablations for entry in found.entries}
    return [entry for entry in entries if entry.path not in apart], ablations


def ranked_tables(entries: Sequence[StoredResult]) -> Iterator[Rows]:
    """The rows of every table in which one is the best: of pages, of ablations, and of the page of all."""
    for name in sorted({entry.result.dataset.name for entry in entries}):
        of_dataset = [entry for entry in entries if entry.result.dataset.name == name]
        measured, ablations = parted(of_dataset)
        for standing in [*standings(measured), *standings(of_dataset)]:
            yield standing.results
        yield from (found.rows_of_results for found in ablations)


def ablation_tables(method: str) -> Mapping[int, Sequence[Ablation]]:
    """The ablation tables of a method's paper, by number; none where the method is not installed."""
    installed = any(plugin.name == method for plugin in registry.plugins("method"))
    return registry.load_options(method).tables if installed else {}


@dataclass(frozen=True)
class MeasuredAblation:
    """An ablation table of a method's paper, with the results of its rows: one or more for each."""

    number: int
    rows: Sequence[Ablation]
    entries: Sequence[StoredResult]

    @property
    def seeds(self) -> int:
        """The most seeds that a row has."""
        return max(map(len, self.rows_of_results))

    @property
    def rows_of_results(self) -> Rows:
        """The results of each row of the table."""
        return [[entry for entry in self.entries if entry.result.method.variant == row.variant] for row in self.rows]


def measured_ablations(entries: Iterable[StoredResult]) -> Iterator[MeasuredAblation]:
    """The ablation tables that were measured whole on a dataset, all else being equal, with one seed or more."""
    alike: dict[tuple[str, str, Sequence[str]], list[StoredResult]] = defaultdict(list)
    for entry in entries:
        if entry.result.method.variant:
            alike[entry.result.method.name, conditions(entry), tuple(choices(entry.result))].append(entry)
    papers = {method: ablation_tables(method) for method, *_ in alike}
    for (method, *_), members in sorted(alike.items()):
        for number, rows in papers[method].items():
            wanted = {row.variant for row in rows}
            found = [entry for entry in members if entry.result.method.variant in wanted]
            if wanted == {entry.result.method.variant for entry in found}:
                yield MeasuredAblation(number, rows, found)


def conditions(entry: StoredResult) -> str:
    """What a table of variants holds fixed: all but the variant and the options that follow from it."""
    fixed = entry.fields.items()
    return canonical({name: value for name, value in fixed if not name.endswith("variant") and name[:7] != "option "})


def ablation_page(dataset: str, ablations: Sequence[MeasuredAblation], ties: Ties) -> str:
    """The page of a dataset's ablation tables."""
    parts = [
        f"# Ablations on {cell(dataset)}",
        "Generated by `zsbench leaderboard`; do not edit. Percent: mean ± standard deviation over seeds (one seed: ± "
        "bootstrap error over images).",
    ]
    for found in ablations:
        first = found.entries[0].result
        method, number = first.method.name, found.number
        chosen = choices(first)
        ablate = f"zsbench ablate {method} --table {number} --dataset {dataset} --seeds {found.seeds}"
        command, title = " ".join([ablate, *chosen]), ", ".join([f"table {number} of its paper", *map(cell, chosen)])
        rows = found.rows_of_results
        tested = ties.of(rows)
        parts += [
            f"## {cell(method)}, {cell(first.setting)}: {title}",
            ablation_table(found.rows, [entry.result for entry in found.entries], tested.best(rows) if tested else ()),
            *explained(rows, tested),
            f"Measured by {code(command)}; the results are {code(f'results/{dataset}-{method}-*.json')}.",
        ]
    return "\n\n".join(parts) + "\n"


def page(
    dataset: str,
    measured: Sequence[StoredResult],
    reported: Sequence[PublishedRow],
    ties: Ties,
    agreement: Agreement | None = None,
) -> str:
    """The leaderboard of one dataset: what was measured, and apart from it what publications say."""
    parts = [f"# {cell(dataset)}", "Generated by `zsbench leaderboard`; do not edit."]
    if measured:
        parts += [
            "## Measured",
            "Percent. Several seeds: mean ± standard deviation over seeds; one seed: value ± bootstrap error over images. "
            "Every row links the results it is made of, with command, versions and hashes.",
        ]
    for standing in standings(measured):
        tested = ties.of(standing.results)
        parts += [heading(standing), measured_table(standing, tested), *explained(standing.results, tested)]
        parts += sorted({cell(entry.result.note) for entry in standing.entries if entry.result.note})
        parts += seen_by_weights(standing.entries)
    if agreement:
        parts += agreement.text
    if reported:
        parts += [
            "## Reported in publications",
            "As printed there; none of it was measured with zsbench. Sources that nobody could check are left out "
            "(`zsbench leaderboard --unverified`).",
            published_table(reported),
        ]
    return "\n\n".join(parts) + "\n"


def heading(standing: Standing) -> str:
    """The heading of a table: what its rows have in common."""
    dataset = standing.first.dataset
    title = f"### {cell(standing.setting)}, class names {cell(dataset.names)} {code(dataset.classes_sha256[:12])}"
    title += "" if standing.same_labels else f", labels {code(dataset.labels_sha256[:12])}"
    return title + ("" if standing.same_unseen else f", unseen {cell(', '.join(sorted(dataset.unseen)) or 'none')}")


def measured_table(standing: Standing, tested: Tested | None) -> str:
    """One row per method, variant and further choices; bold in each column what is best or tied with it."""
    first = standing.first
    titles = {name: TITLES[name] for name in PAPER} | group_titles(first)
    headers = ["method", "variant", "seeds", *map(cell, titles.values()), "learnable M", "GMACs", "results"]
    body = [
        [
            cell(members[0].result.method.name),
            cell(label),
            len(members),
            *[
                emphasised(
                    format_seeds([member.result for member in members], name),
                    tested is not None and tested.tied(name, members),
                )
                for name in titles
            ],
            *cost(members[0].result),
            ", ".join(link(member.seed, f"results/{member.path.name}") for member in members),
        ]
        for label, members in standing.rows
    ]
    return markdown_table(headers, body)


def seen_by_weights(entries: Sequence[StoredResult]) -> list[str]:
    """A line on what the CLIP weights of a table have seen of the world; none where no row has any."""
    used = [entry.result.method.weights for entry in entries if entry.result.method.weights]
    said = {each.source: each.trained_on or "not known, which is not clean" for each in used}
    lines = [f"{code(name)}: {cell(said[name])}" for name in sorted(said)]
    return [f"What the weights have seen. {'; '.join(lines)}."] if lines else []


def cost(result: Result) -> tuple[str, str]:
    if result.efficiency is None:
        return "-", "-"
    return short(result.efficiency.learnable_params / 1e6, 3), short(result.efficiency.gmacs, 3)


def published_table(rows: Sequence[PublishedRow]) -> str:
    """The rows as printed, and what is wrong with them."""
    body = [[*(cell(row[column]) for column in PUBLISHED_COLUMNS), cell(remark(row))] for row in rows]
    return markdown_table((*PUBLISHED_COLUMNS, "remark"), body)


def write_tables(folder: Path) -> list[Path]:
    """Write every page, and beside them what tests of significance found; returns the paths."""
    entries, written = read_entries(folder), []
    ties = Ties.read(folder).updated(ranked_tables(entries))
    kept = {TIES: ties.text} if ties.found else {}
    if not kept:
        (folder / TIES).unlink(missing_ok=True)
    for name, text in {**pages_of(folder, entries, ties), **kept}.items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def check_tables(folder: Path) -> None:
    """Raise `UserError` naming every committed page that is missing or differs from what the results say, and what tests of
    significance found where it came from other records.

    Numbers are computed again from the results' counts. Records, a tenth of a second each, are read as a result is taken
    in and as tables are written.
    """
    entries, ties = read_entries(folder, by_records=False), Ties.read(folder)
    stale = [
        name
        for name, text in pages_of(folder, entries, ties).items()
        if not (folder / name).exists() or (folder / name).read_bytes() != text.encode()
    ]
    stale += [TIES] if not ties.are_of(ranked_tables(entries)) else []
    if stale:
        raise UserError(f"stale in {folder}: {', '.join(stale)}. Run `zsbench leaderboard` and commit what it writes.")
