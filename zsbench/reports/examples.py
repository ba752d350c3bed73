"""The pictures of a report: the worst images of each run and those that changed most, as image | truth | each prediction."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
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
from zsbench.reports.comparison import Contender
from zsbench.reports.html import letter
from zsbench.reports.markup import sentence
from zsbench.result import Result
from zsbench.runs.folder import RESULT
from zsbench.runs.recompute import recompute
from zsbench.runs.resolve import open_dataset
from zsbench.utils.colours import RGB
from zsbench.utils.figures import GalleryRow, Key, enlarged, labelled, meanings

SIDE = 320
"""Pixels of the longer side of a picture, at most."""
HATCHED = "repeating-linear-gradient(135deg,#e0e0e0 0 3px,#787878 3px 4px)"
"""What is ignored, as a browser draws it."""
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


@dataclass(frozen=True)
class MapSource:
    """Where label maps come from: `predictions`, a folder by the path of a result; without any, rows predict again by what
    their first run left in its folder (`zsbench.runs.recompute`) and the `files` that it was given. `root`: of the data."""

    predictions: Mapping[Path, Path] = field(default_factory=dict)
    root: Path | None = None
    files: Sequence[Path] = ()

    @contextmanager
    def maps(self, rows: Sequence[Contender], ids: Iterable[str]) -> Iterator[list[Maps]]:
        """The label maps of these images, of each row the first seed's; made anew, they are gone afterwards."""
        found = []
        with TemporaryDirectory(prefix="zsbench-") as temporary:
            for number, row in enumerate(rows):
                first = row.runs[0].path
                folder = self.predictions[first] if self.predictions else Path(temporary) / letter(number)
                if not self.predictions:
                    recompute(home(first), ids, folder, self.root, self.files)
                found.append(Maps(letter(number), folder, row.records[0], recomputed=not self.predictions))
            yield found


def home(result: Path) -> Path:
    """The folder of a run's result; raises `UserError` for a result that is in none."""
    if result.name != RESULT:
        raise UserError(f"{result} is no run's folder: give --predictions, the label maps of each row, in their order.")
    return result.parent


@dataclass(frozen=True, eq=False)
class Shown:
    """An image, why it is shown, and what each run predicted there."""

    sample: Sample
    why: str
    predictions: tuple[Labels, ...]

    @property
    def row(self) -> GalleryRow:
        return GalleryRow(self.sample.image, self.sample.label, self.predictions, f"{self.sample.id}: {self.why}")


@dataclass(frozen=True)
class Example:
    """An image, why it is shown, and its pictures: a title and data for each."""

    id: str
    why: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Examples:
    """Pictures, and what is in them: a text and a background of CSS for each colour, unseen classes starred."""

    examples: tuple[Example, ...]
    legend: tuple[tuple[str, str], ...]


def reasons(worst: Iterable[tuple[str, str]], changed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Why each image is shown. Both: an id and words, which say of what run it is among the worst, or how it changed."""
    found: dict[str, list[str]] = {}
    for image_id, words in worst:
        found.setdefault(image_id, []).append(f"among the worst of {words}")
    for image_id, words in changed:
        found.setdefault(image_id, []).append(f"among the most changed: {words}")
    return {image_id: sentence("; ".join(why)) for image_id, why in found.items()}


def draw(
    result: Result, root: Path | None, maps: Sequence[Maps], shown: Mapping[str, str], outside: bool = False
) -> Examples:
    """Pictures of the images `shown`, with what each run predicted there. `result`: of any of them.

    `outside`: also what is predicted where nothing is labelled. Raises `UserError` where the dataset is not found, where a
    prediction is missing, and where it is not the one that the run's records counted.
    """
    dataset = open_dataset(result.dataset.name, root)
    found = list(gather(dataset, result.dataset.split, maps, shown, outside))
    rows = [each.row for each in found]
    key = Key(dataset.classes, dataset.palette, dataset.unseen).told_apart(
        [label for row in rows for label in row.labels]
    )
    examples = [Example(each.sample.id, each.why, pictures(each, maps, key)) for each in found]
    legend = tuple((text, HATCHED if colour is None else as_css(colour)) for text, colour in meanings(rows, key))
    return Examples(tuple(examples), legend)


def gather(
    dataset: Dataset, split: str, maps: Sequence[Maps], shown: Mapping[str, str], outside: bool = False
) -> Iterator[Shown]:
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
            predicted.append(label_map if outside else np.where(sample.label < 0, sample.label, label_map))
        yield Shown(sample, why, tuple(predicted))


def pictures(shown: Shown, maps: Sequence[Maps], key: Key) -> tuple[tuple[str, str], ...]:
    """Image, truth and predictions, each with a title; those of a run with the mean IoU of the image."""
    sample = shown.sample
    height, width = sample.label.shape
    scale = SIDE // max(height, width) or SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photograph = encoded(enlarged(sample.image, size), "JPEG")
    found = [("image", photograph), ("truth", encoded(labelled(sample.label, key, size=size), "PNG"))]
    for each, label in zip(maps, shown.predictions, strict=True):
        (miou,) = each.records.select([sample.id]).image_miou()
        found.append((f"{each.letter}, {miou:.1f}", encoded(labelled(label, key, sample.label, size), "PNG")))
    return tuple(found)


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


def as_css(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def encoded(picture: Image.Image, kind: str) -> str:
    """A picture as data."""
    stream = io.BytesIO()
    picture.save(stream, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
