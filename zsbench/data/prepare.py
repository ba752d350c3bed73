"""`zsbench data prepare`: unpack what was downloaded, convert what needs converting, verify what was written.

Converted files go into a folder of their own, each whole or not at all, with a journal of their hashes; originals and
files that were there before are never touched. Stopped and called again, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zsbench.data import FolderDataset
from zsbench.data.archives import unpack
from zsbench.data.conversion import Conversion, Item, write_list
from zsbench.errors import UserError
from zsbench.utils.files import sha256, telling, write_bytes, write_text
from zsbench.utils.parallel import parallel_map
from zsbench.utils.progress import Progress, silent

JOURNAL = "zsbench-prepared.tsv"
"""In each folder of converted files: a line `sha256 <tab> name` for each of them."""


@dataclass
class Step:
    """What was done with one archive or conversion; `kept` files were there already, `verified` have their hashes."""

    title: str
    written: int = 0
    kept: int = 0
    verified: int = 0
    notes: list[str] = field(default_factory=list)


def prepare(
    dataset_class: type[FolderDataset],
    root: Path,
    source: Path | None = None,
    workers: int = 0,
    progress: Progress = silent,
) -> list[Step]:
    """Unpack the known archives in `root` (or `source`), then run the dataset's conversions.

    `workers`: processes that convert, 0 for this one. Raises `UserError` where an original is missing for all of them,
    faulty, or where a written file does not have its hash.
    """
    if not root.is_dir():
        raise UserError(f"data root {root} does not exist.\n{dataset_class.where}")
    steps = [
        unpack_archive(archive, root / folder, progress)
        for name, folder in dataset_class.archives.items()
        for archive in dict.fromkeys((root / name, (source or root) / name))
        if archive.is_file()
    ]
    if not dataset_class.conversions:
        return steps
    home = dataset_class(root).home
    lacking = {conversion: conversion.missing(home, source) for conversion in dataset_class.conversions}
    if all(lacking.values()):
        raise UserError(f"{home}: nothing to convert: " + "; ".join(lacking.values()) + f".\n{dataset_class.where}")
    for conversion, missing in lacking.items():
        if missing:
            steps.append(Step(conversion.title, notes=[f"not done: {missing}."]))
        else:
            steps.append(run_conversion(conversion, home, source, workers, progress))
    return steps


def unpack_archive(archive: Path, into: Path, progress: Progress) -> Step:
    with progress(f"unpacking {archive.name}", 0) as advance:
        done = unpack(archive, into, advance)
    return Step(f"unpacked {archive.name} into {into}", done.written, done.kept)


def run_conversion(conversion: Conversion, home: Path, source: Path | None, workers: int, progress: Progress) -> Step:
    """Write what is not there yet, then compare every file with its hash in the journal."""
    step, folder = Step(conversion.title), home / conversion.folder
    journal = folder / JOURNAL
    if folder.exists() and not journal.exists() and any(folder.iterdir()):
        step.notes.append(f"{folder} is there already and was not written by this command: left as it is.")
        return step
    items = conversion.items(home, source)
    hashes = read_journal(journal)
    todo = [item for item in items if item.name not in hashes or not (folder / item.name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(journal, "".join(f"{digest}\t{name}\n" for name, digest in hashes.items()))  # no line that a crash cut
    with (
        telling(journal),
        progress(conversion.title, len(items)) as advance,
        journal.open("a", encoding="utf-8") as lines,
    ):
        for item, digest in zip(
            todo, parallel_map(partial(write_item, conversion, folder), todo, workers), strict=True
        ):
            lines.write(f"{digest}\t{item.name}\n")
            lines.flush()
            step.written += 1
            advance(len(items) - len(todo) + step.written)
    step.kept = len(items) - step.written
    step.verified = verify(folder, items, read_journal(journal), workers, progress)
    for path, ids in conversion.lists(items).items():
        step.notes += filter(None, [write_list(home / path, ids)])
    if conversion.count not in (None, len(items)):
        step.notes.append(f"{len(items):,} files, where the full set has {conversion.count:,}.")
    return step


def write_item(conversion: Conversion, folder: Path, item: Item) -> str:
    """Convert and write one file; its hash."""
    path = folder / item.name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = conversion.convert(item.content)
    write_bytes(path, content)
    return sha256(path)


def verify(folder: Path, items: Sequence[Item], hashes: dict[str, str], workers: int, progress: Progress) -> int:
    """The number of files whose content has its hash; raises `UserError` naming the first that has not."""
    paths = [folder / item.name for item in items]
    with progress("verifying", len(items)) as advance:
        for done, (item, digest) in enumerate(zip(items, parallel_map(sha256, paths, workers), strict=True), 1):
            if digest != hashes[item.name]:
                raise UserError(f"{folder / item.name} has changed since it was written; delete it and prepare again.")
            advance(done)
    return len(items)


def read_journal(path: Path) -> dict[str, str]:
    """Name -> hash; a last line cut short by a crash is passed over."""
    if not path.exists():
        return {}
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {row[1]: row[0] for row in rows if len(row) == 2 and len(row[0]) == 64 and row[1]}
