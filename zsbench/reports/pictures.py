"""The picture of a comparison: its worst and most changed images, as image | truth | A | B."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zsbench.errors import UserError
from zsbench.reports.comparison import Comparison, Contender
from zsbench.reports.comparison_text import most_changed
from zsbench.reports.examples import MapSource, gather, reasons
from zsbench.reports.html import letter
from zsbench.runs.resolve import open_dataset
from zsbench.utils.figures import Key, save_gallery

WORST, CHANGED = 2, 2
"""Of a contender's worst images, and of those that changed most to either side between two, so many are shown."""


def chosen(found: Comparison) -> dict[str, str]:
    """The images to show, and why."""
    letters = {each.name: letter(number) for number, each in enumerate(found.contenders)}
    worst = [
        (image_id, f"{letters[each.name]} ({value:.1f})")
        for each in found.contenders
        for image_id, value in worst_images(each)[:WORST]
    ]
    changed = [
        (each.name, f"{letters[pair.a]} {each.a:.1f}, {letters[pair.b]} {each.b:.1f}")
        for pair in found.pairs
        for side in most_changed(pair.images, CHANGED)
        for each in side
    ]
    return reasons(worst, changed)


def worst_images(contender: Contender) -> list[tuple[str, float]]:
    """The images with the lowest mean IoU, worst first."""
    ids, miou = contender.records[0].sorted().ids, contender.image_miou
    return [(str(ids[i]), float(miou[i])) for i in np.argsort(miou, kind="stable") if not np.isnan(miou[i])]


def save_pictures(
    path: Path,
    found: Comparison,
    predictions: Sequence[Path] = (),
    data_root: Path | None = None,
    files: Sequence[Path] = (),
) -> None:
    """Draw the images of a comparison. `predictions`: a folder of label maps for each contender, in their order; without
    them, these are made again, with `files` that a run was given (`MapSource`)."""
    if predictions and len(predictions) != len(found.contenders):
        raise UserError(
            f"{len(predictions)} folders of --predictions for {len(found.contenders)} methods: one for each, in their order."
        )
    shown = chosen(found)
    folders = {each.runs[0].path: folder for each, folder in zip(found.contenders, predictions, strict=False)}
    with MapSource(folders, data_root, files).maps(found.contenders, shown) as maps:
        dataset = open_dataset(found.first.dataset.name, data_root)
        rows = [each.row for each in gather(dataset, found.first.dataset.split, maps, shown)]
    names = [f"{letter(number)}: {each.name}" for number, each in enumerate(found.contenders)]
    key = Key(dataset.classes, dataset.palette, dataset.unseen)
    save_gallery(path, rows, key, f"{', '.join(names)} on {dataset.name}", names)
