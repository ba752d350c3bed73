"""Leaderboards: Markdown tables that are a pure function of committed results and of what papers print."""

from __future__ import annotations

import math
import re
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tabulate import tabulate

from zsbench import registry
from zsbench.errors import UserError
from zsbench.options import Ablation
from zsbench.reports.costs import efficiency_pages
from zsbench.reports.published import read_published
from zsbench.reports.tables import ablation_table, format_seeds
from zsbench.result import Result
from zsbench.utils.files import make_folder, write_text

HEADLINE = {"pAcc": "pAcc", "mIoU_S": "mIoU(S)", "mIoU_U": "mIoU(U)", "hIoU": "hIoU"}
PUBLISHED_COLUMNS = ("method", "setting", "backbone", "pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU", "source")
IDENTITY = (
    *("--method", "--dataset", "--setting", "--variant", "--seed", "--classes"),  # have places of their own in a page
    *("--checkpoint", "--device", "--eval-batch", "--plugin"),  # say where and from what it was computed
)
SETTING_ORDER = ("inductive", "transductive", "supervised", "training-free")


@dataclass(frozen=True)
class StoredResult:
    """A result and the file it is in."""

    result: Result
    path: Path

    @property
    def row(self) -> tuple[str, str, str | None]:
        """What the results of several seeds have in common: method, setting, variant and further choices."""
        variant = self.result.method.variant
        return self.result.method.name, self.result.setting, " ".join([variant or "", *choices(self.result)]) or None


def refusal(result: Result) -> str | None:
    """Why no leaderboard takes a result, or None."""
    if result.method.weights is not None and result.method.weights.random:
        return "it was made with random weights"
    if not result.dataset.complete:
        return f"it covers only {result.dataset.images} images of the split"
    return None


def add_result(path: Path, folder: Path) -> Path:
    """Copy a result under its canonical name into `folder/results`. Raises `UserError` where no leaderboard takes it."""
    result = Result.load(path)
    reason = refusal(result)
    if reason:
        raise UserError(f"{path} cannot enter a leaderboard: {reason}.")
    words = (
        result.dataset.name,
        result.method.name,
        result.method.variant,
        *choices(result),
        f"names {result.dataset.names}" if "--classes" in result.command else None,
        result.setting,
        f"seed{result.seed}",
    )
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(word for word in words if word).lower())
    target = make_folder(folder / "results") / f"{name}.json"
    result.save(target)
    return target


def choices(result: Result) -> list[str]:
    """What the user changed beyond method, dataset, variant and setting, in words of the command line: in training, also
    that of a checkpoint, and in evaluation; `from D` where the method learnt from another dataset D. Results that differ in
    them are different rows."""
    trained = changes(result.training.command or "") if result.training else {}
    variant = trained.get("--variant", f"--variant {result.method.variant}")
    changed = {**trained, **changes(result.command)}
    words = [text for name, text in changed.items() if name not in (*IDENTITY, "--transfer")]
    words += [] if variant == f"--variant {result.method.variant}" else [f"trained with {variant}"]
    return words + ([f"from {result.method.learnt_from}"] if result.method.learnt_from else [])


def changes(command: str) -> dict[str, str]:
    """What a command line changes, in its words, by option, those of `-o` and `-r` by entry."""
    words = shlex.split(command)[2:]
    bounds = [at for at, word in enumerate(words) if word.startswith("-")] + [len(words)]
    parts = [" ".join(words[start:end]) for start, end in pairwise(bounds)]
    return {part.split("=" if part[1] != "-" else " ")[0]: part for part in parts}


def read_entries(folder: Path) -> list[StoredResult]:
    """All committed results; raises `UserError` for one that no leaderboard may hold."""
    entries = [StoredResult(Result.load(path), path) for path in sorted((folder / "results").glob("*.json"))]
    for entry in entries:
        reason = refusal(entry.result)
        if reason:
            raise UserError(f"{entry.path} must not be in a leaderboard: {reason}.")
    return entries


def tables(folder: Path) -> dict[str, str]:
    """File name to Markdown text: a page for each dataset that was measured or published about, one more for its
    ablations, whose rows are not repeated on the first, and one for costs."""
    entries, published = read_entries(folder), read_published(folder / "published.csv")
    datasets = {entry.result.dataset.name for entry in entries} | {
        row["dataset_id"] for row in published if row["dataset_id"]
    }
    pages = {}
    for name in sorted(datasets):
        ablations = list(measured_ablations(name, entries))
        rows = {(found.method, found.setting, row.variant) for found in ablations for row in found.rows}
        pages[f"{name}.md"] = page(name, [entry for entry in entries if entry.row not in rows], published)
        if ablations:
            pages[f"{name}-ablation.md"] = ablation_page(name, ablations)
    return pages | efficiency_pages(folder)


@dataclass(frozen=True)
class MeasuredAblation:
    """An ablation table of a method's paper with a result for each of its rows."""

    method: str
    setting: str
    number: int
    rows: Sequence[Ablation]
    results: Sequence[Result]

    @property
    def seeds(self) -> int:
        """The most seeds that a row has."""
        return max(len([r for r in self.results if r.method.variant == row.variant]) for row in self.rows)


def measured_ablations(dataset: str, entries: Iterable[StoredResult]) -> Iterator[MeasuredAblation]:
    """The ablation tables that were measured whole on a dataset, under one set of class names, with one seed or more."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for entry in entries:
        if entry.result.dataset.name == dataset and not choices(entry.result):
            result = entry.result
            groups[result.method.name, result.setting, result.dataset.classes_sha256].append(result)
    installed = {plugin.name for plugin in registry.plugins("method")}
    for (method, setting, _), results in sorted(groups.items()):
        paper = registry.load_method_class(method).Options.tables if method in installed else {}
        for number, rows in paper.items():
            if {row.variant for row in rows} <= {result.method.variant for result in results}:
                yield MeasuredAblation(method, setting, number, rows, results)


def ablation_page(dataset: str, ablations: Sequence[MeasuredAblation]) -> str:
    """The page of a dataset's ablation tables."""
    parts = [
        f"# Ablations on {dataset}",
        "Generated by `zsbench leaderboard`; do not edit. Percent: mean ± standard deviation over seeds (one seed: ± "
        "bootstrap error over images).",
    ]
    for found in ablations:
        parts += [
            f"## {found.method}, {found.setting}: table {found.number} of its paper",
            ablation_table(found.rows, found.results),
            f"Measured by `zsbench ablate {found.method} --table {found.number} --dataset {dataset} --seeds {found.seeds}`; "
            f"the results are `results/{dataset}-{found.method}-*.json`.",
        ]
    return "\n\n".join(parts) + "\n"


def page(dataset: str, entries: Sequence[StoredResult], published: Sequence[dict[str, str]]) -> str:
    """The leaderboard of one dataset."""
    parts = [f"# {dataset}", "Generated by `zsbench leaderboard`; do not edit."]
    measured = [entry for entry in entries if entry.result.dataset.name == dataset]
    if measured:
        parts += [
            "## Measured",
            "Percent. Several seeds: mean ± standard deviation over seeds; one seed: value ± bootstrap error over images. "
            "Every row links the results it is made of, with command, versions and hashes.",
        ]
    for setting in SETTING_ORDER:
        for digest, rows in group(measured, setting):
            parts += [
                f"### {setting}, class names {rows[0].result.dataset.names} `{digest[:12]}`",
                measured_table(rows),
            ]
    reported = [row for row in published if row["dataset_id"] == dataset]
    if reported:
        parts += [
            "## Reported in publications",
            "As printed there; none of it was measured with zsbench.",
            published_table(reported),
        ]
    return "\n\n".join(parts) + "\n"


def group(entries: Iterable[StoredResult], setting: str) -> list[tuple[str, list[StoredResult]]]:
    """Entries of a setting by the hash of their class names: different names are never ranked together."""
    by_names: dict[str, list[StoredResult]] = defaultdict(list)
    for entry in entries:
        if entry.result.setting == setting:
            by_names[entry.result.dataset.classes_sha256].append(entry)
    return sorted(by_names.items())


def measured_table(entries: Sequence[StoredResult]) -> str:
    """One row per method, variant and further choices: best hIoU (or mIoU where no class is unseen) first, oracles last."""
    rows: dict[tuple[str, str], list[StoredResult]] = defaultdict(list)
    for entry in entries:
        info = entry.result.method
        label = (info.variant, "(oracle)" if info.oracle else None, *choices(entry.result))
        rows[info.name, " ".join(filter(None, label))].append(entry)
    rank = "hIoU" if entries[0].result.dataset.unseen else "mIoU"
    ordered = sorted(rows.items(), key=lambda item: (item[1][0].result.method.oracle, -rank_value(item[1], rank)))
    groups = [name for name in entries[0].result.metrics if ":" in name]
    headers = [
        "method",
        "variant",
        "seeds",
        *HEADLINE.values(),
        *[f"IoU {name.split(':')[1]}" for name in groups],
    ]
    headers += ["learnable M", "GMACs", "results"]
    body = [
        [
            method,
            variant,
            len(members),
            *[format_seeds([member.result for member in members], name) for name in (*HEADLINE, *groups)],
            *cost(members[0].result),
            ", ".join(f"[{member.result.seed}](results/{member.path.name})" for member in members),
        ]
        for (method, variant), members in ordered
    ]
    return tabulate(body, headers, tablefmt="github", disable_numparse=True)


def rank_value(entries: Sequence[StoredResult], metric: str) -> float:
    value = statistics.fmean(entry.result.metrics[metric].value for entry in entries)
    return -1.0 if math.isnan(value) else value


def cost(result: Result) -> tuple[str, str]:
    if result.efficiency is None:
        return "-", "-"
    return f"{result.efficiency.learnable_params / 1e6:.3g}", f"{result.efficiency.gmacs:.3g}"


def published_table(rows: Sequence[dict[str, str]]) -> str:
    body = [[row[column] for column in PUBLISHED_COLUMNS] for row in rows]
    return tabulate(body, PUBLISHED_COLUMNS, tablefmt="github", disable_numparse=True)


def write_tables(folder: Path) -> list[Path]:
    """Write every page; returns the paths."""
    written = []
    for name, text in tables(folder).items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def check_tables(folder: Path) -> None:
    """Raise `UserError` naming every committed page that is missing or differs from what the results say."""
    stale = [
        name
        for name, text in tables(folder).items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if stale:
        raise UserError(f"stale in {folder}: {', '.join(stale)}. Run `zsbench leaderboard` and commit what it writes.")
