"""The gallery of a run: image, truth and prediction of a few images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.dataset import Dataset, Sample, read_sample
from zsbench.errors import UserError
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.runs.folder import GALLERY
from zsbench.utils.figures import GalleryRow, Key, save_gallery

IMAGES = 8
Predict = Callable[[Sample], NDArray[np.integer[Any]]]
"""The classes in an image, integer (H, W), negative where there is none."""


def draw_gallery(
    path: Path, dataset: Dataset, split: str, ids: Sequence[str], title: str, predict: Predict, outside: bool = False
) -> None:
    """Pictures of images spread evenly over `ids`. `outside`: show what is predicted where nothing is labelled, too."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, IMAGES).astype(int))
    samples = (read_sample(dataset, split, ids[index]) for index in chosen)
    rows = [row(sample, predict(sample), len(dataset.classes), outside) for sample in samples]
    save_gallery(path, rows, Key(dataset.classes, dataset.palette, dataset.unseen), title)


@contextmanager
def tolerated(say: Callable[[str], None]) -> Iterator[None]:
    """Within, pictures may fail: what is wrong with them is said, and costs nothing that was measured.

    Raises `UserError` where they cannot be written: a full disk ends a run, though its result is there.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{error} The result is there; only {GALLERY} is not.") from error
    except Exception as error:
        say(
            f"{GALLERY} could not be drawn ({type(error).__name__}: {error}); all else is there, and --resume tries again."
        )


def row(sample: Sample, predicted: NDArray[np.integer[Any]], classes: int, outside: bool) -> GalleryRow:
    """An image with its id and the mean IoU of the classes in its label or prediction."""
    (miou,) = Records.of([sample.id], [count(sample.label, predicted, classes)]).image_miou()
    caption = f"{sample.id}   " + ("nothing labelled" if np.isnan(miou) else f"mIoU {miou:.1f}")
    shown = predicted if outside else np.where(sample.label < 0, sample.label, predicted)
    return GalleryRow(sample.image, sample.label, [shown.astype(np.int32)], caption)
