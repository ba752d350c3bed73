"""The pictures of a report: the worst images of each run and those that changed most, as image | truth | each prediction."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
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
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.reports.markup import sentence
from zsbench.result import Result
from zsbench.runs.resolve import open_dataset
from zsbench.utils.figures import IGNORED_COLOUR, colourise

SIDE = 320
"""Pixels of the longer side of a picture, at most."""
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Maps:
    """The label maps of one run, as `--save-predictions` wrote them; `letter`: the run's in the report."""

    letter: str
    folder: Path
    records: Records


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
    meaning = read_mapping(ZERO_BASED, dataset.classes)
    found = [find_predictions(each.folder, dataset.ids(result.dataset.split)) for each in maps]
    examples, present = [], set[int]()
    for image_id, why in shown.items():
        sample = dataset.read(result.dataset.split, image_id)
        predicted = []
        for each, predictions in zip(maps, found, strict=True):
            if image_id not in predictions.found:
                raise UserError(f"{each.folder} has no prediction of image {image_id}, which the report shows.")
            label_map = predictions.read(image_id, meaning)
            check(each, image_id, sample, label_map, len(dataset.classes))
            predicted.append(np.where(sample.label < 0, sample.label, label_map))
        titles = ["image", "truth", *(each.letter for each in maps)]
        pictures = [photograph(sample.image), *(painted(dataset, label) for label in (sample.label, *predicted))]
        examples.append(Example(image_id, why, tuple(zip(titles, pictures, strict=True))))
        present.update(*(np.unique(label).tolist() for label in (sample.label, *predicted)))
    return Examples(tuple(examples), tuple(legend(dataset, present)))


def check(maps: Maps, image_id: str, sample: Sample, label_map: Labels, classes: int) -> None:
    """Raise `UserError` unless a map gives what the records of its run say of the image."""
    same = label_map.shape == sample.label.shape
    if same and maps.records.has_confusion:
        recorded = maps.records.select([image_id]).sorted().table[1:].T
        same = np.array_equal(count(sample.label, label_map, classes), recorded)
    if not same:
        raise UserError(
            f"{maps.folder}: the prediction of image {image_id} is not what run {maps.letter} counted. Give --predictions "
            "once for each run, in their order, with the folder that its --save-predictions wrote."
        )


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
