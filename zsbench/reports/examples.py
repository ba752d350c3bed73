"""The pictures of a report: the worst images of each run and those that changed most, as image | truth | each prediction."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.mapping import ZERO_BASED, read_mapping
from zsbench.data.predictions import find_predictions
from zsbench.dataset import Dataset, Sample
from zsbench.errors import UserError
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.reports.markup import sentence
from zsbench.result import Result
from zsbench.runs.resolve import open_dataset
from zsbench.utils.figures import IGNORED_COLOUR, colourise

SIDE = 320
"""Pixels of the longer side of a picture, at most."""
SAME = 0.01
"""Share of an image's pixels in which a prediction that is made again may differ."""
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Maps:
    """The label maps of one run, as `--save-predictions` wrote them; `letter`: the run's in the report.

    `recomputed`: they were predicted again, perhaps on another device, where some pixels fall to another class.
    """

    letter: str
    folder: Path
    records: Records
    recomputed: bool = False


@dataclass(frozen=True, eq=False)
class Shown:
    """An image, why it is shown, and what each run predicted there."""

    sample: Sample
    why: str
    predictions: tuple[Labels, ...]


@dataclass(frozen=True)
class Example:
    """An image, why it is shown, and its pictures: a title and data for each."""

    id: str
    why: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Examples:
    """Pictures, and the colours in them: class, whether unseen, as `#rrggbb`."""

    examples: tuple[Example, ...]
    legend: tuple[tuple[str, bool, str], ...]


def reasons(worst: Iterable[tuple[str, str]], changed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Why each image is shown. Both: an id and words, which say of what run it is among the worst, or how it changed."""
    found: dict[str, list[str]] = {}
    for image_id, words in worst:
        found.setdefault(image_id, []).append(f"among the worst of {words}")
    for image_id, words in changed:
        found.setdefault(image_id, []).append(f"among the most changed: {words}")
    return {image_id: sentence("; ".join(why)) for image_id, why in found.items()}


def draw(result: Result, root: Path | None, maps: Sequence[Maps], shown: Mapping[str, str]) -> Examples:
    """Pictures of the images `shown`, with what each run predicted there. `result`: of any of them.

    Raises `UserError` where the dataset is not found, where a prediction is missing, and where it is not the one that the
    run's records counted.
    """
    dataset = open_dataset(result.dataset.name, root)
    examples, present = [], set[int]()
    for each in gather(dataset, result.dataset.split, maps, shown):
        labels = (each.sample.label, *each.predictions)
        titles = ["image", "truth", *(run.letter for run in maps)]
        pictures = [photograph(each.sample.image), *(painted(dataset, label) for label in labels)]
        examples.append(Example(each.sample.id, each.why, tuple(zip(titles, pictures, strict=True))))
        present.update(*(np.unique(label).tolist() for label in labels))
    return Examples(tuple(examples), tuple(legend(dataset, present)))


def gather(dataset: Dataset, split: str, maps: Sequence[Maps], shown: Mapping[str, str]) -> Iterator[Shown]:
    """Each image with its predictions; raises as `draw`."""
    meaning = read_mapping(ZERO_BASED, dataset.classes)
    found = [find_predictions(each.folder, dataset.ids(split)) for each in maps]
    for image_id, why in shown.items():
        sample = dataset.read(split, image_id)
        predicted = []
        for each, predictions in zip(maps, found, strict=True):
            if image_id not in predictions.found:
                raise UserError(f"{each.folder} has no prediction of image {image_id}, which the report shows.")
            label_map = predictions.read(image_id, meaning)
            check(each, image_id, sample, label_map, len(dataset.classes))
            predicted.append(np.where(sample.label < 0, sample.label, label_map))
        yield Shown(sample, why, tuple(predicted))


def check(maps: Maps, image_id: str, sample: Sample, label_map: Labels, classes: int) -> None:
    """Raise `UserError` unless a map gives what the records of its run say of the image."""
    differing = 1.0
    if label_map.shape == sample.label.shape:
        differing = share_differing(maps.records, image_id, count(sample.label, label_map, classes))
    if maps.recomputed and differing > SAME:
        raise UserError(
            f"image {image_id}: predicted again, {100 * differing:.1f} % of its pixels are not what run {maps.letter} "
            "counted: its weights are others, or the versions of what it was made with."
        )
    if not maps.recomputed and differing:
        raise UserError(
            f"{maps.folder}: the prediction of image {image_id} is not what run {maps.letter} counted. Give --predictions "
            "once for each run, in their order, with the folder that its --save-predictions wrote."
        )


def share_differing(records: Records, image_id: str, rows: Ints) -> float:
    """The least share of an image's pixels in which a prediction with these `rows` differs from the recorded one."""
    if not records.has_confusion:
        return 0.0
    recorded = {(truth, found): pixels for _, truth, found, pixels in records.select([image_id]).table.T.tolist()}
    now = {(truth, found): pixels for truth, found, pixels in rows.tolist()}
    moved = sum(abs(recorded.get(pair, 0) - now.get(pair, 0)) for pair in {*recorded, *now})
    return moved / 2 / max(sum(now.values()), sum(recorded.values()), 1)


def legend(dataset: Dataset, present: Iterable[int]) -> Iterable[tuple[str, bool, str]]:
    for index in sorted(present):
        if index >= 0:
            name = dataset.classes[index]
            yield name, name in dataset.unseen, "#{:02x}{:02x}{:02x}".format(*dataset.palette[index])
    if any(index < 0 for index in present):
        yield "ignored", False, "#{:02x}{:02x}{:02x}".format(*IGNORED_COLOUR)


def photograph(image: NDArray[np.uint8]) -> str:
    return encoded(Image.fromarray(image), Image.Resampling.LANCZOS, "JPEG")


def painted(dataset: Dataset, label: Labels) -> str:
    picture = Image.fromarray(colourise(label.astype(np.int32), dataset.palette))
    return encoded(picture, Image.Resampling.NEAREST, "PNG")


def encoded(picture: Image.Image, how: Image.Resampling, kind: str) -> str:
    """A picture as data, at most `SIDE` pixels long."""
    picture.thumbnail((SIDE, SIDE), how)
    stream = io.BytesIO()
    picture.save(stream, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
