"""What a grid lacks: told all at once, before the first of its cells runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zsbench import registry
from zsbench.dataset import Dataset, split_ids
from zsbench.errors import UserError
from zsbench.runs.grid import Cell
from zsbench.runs.resolve import data_root, open_dataset

Found = dict[str, str]
"""What is wrong with each data set, by name, in one line."""


def check_data(cells: Iterable[Cell[Any]]) -> None:
    """Raise `UserError` naming every data set whose images are not where the cells look for them.

    Those of the split that is evaluated, and of the training split where a cell trains.
    """
    cells = [cell for cell in cells if not cell.outcome.exists()]
    roots = {(cell.request.dataset, cell.request.data_root): cell.request for cell in cells}
    opened = {key: open_dataset(*key) for key in roots}
    lacking: Found = {}
    for dataset in opened.values():
        note(lacking, dataset, dataset.defaults.protocol.split)
    trained = [cell for cell in cells if cell.kind.verb == "run" and opened_name(opened, cell) not in lacking]
    for cell in trained:
        if registry.load_method_class(cell.request.method).trainable:
            note(lacking, opened[cell.request.dataset, cell.request.data_root], "train")
    if lacking:
        names = {dataset.name for dataset in opened.values()}
        raise UserError(complaint(lacking, len(names), data_root(cells[0].request.data_root), opened.values()))


def opened_name(opened: dict[tuple[str, Path | None], Dataset], cell: Cell[Any]) -> str:
    return opened[cell.request.dataset, cell.request.data_root].name


def note(lacking: Found, dataset: Dataset, split: str) -> None:
    """Remember what is wrong with the images of a split."""
    if dataset.name in lacking:
        return
    try:
        split_ids(dataset, split, None)
    except UserError as error:
        lacking[dataset.name] = str(error).partition("\n")[0]


def complaint(lacking: Found, of: int, root: Path, datasets: Iterable[Dataset]) -> str:
    """One message: each data set with what is wrong, and what to do; those of which the same is wrong together."""
    same: dict[str, list[str]] = {}
    for name, wrong in lacking.items():
        same.setdefault(wrong, []).append(name)
    converted = [d.name for d in datasets if d.name in lacking and getattr(d, "conversions", None)]
    lines = [f"the data of {len(lacking)} of {of} data sets are missing; nothing was run."]
    lines += [f"  {', '.join(names)}: {wrong}" for wrong, names in same.items()]
    lines += ["Where each is to be had, and which folders are expected:"]
    lines += [f"  zsbench data info {name}" for name in lacking]
    if converted:
        lines += ["What has to be converted first, once the originals are there:"]
        lines += [f"  zsbench data prepare {name} --root {root}" for name in dict.fromkeys(converted)]
    return "\n".join(lines)
