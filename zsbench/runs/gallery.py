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
from zsbench.runs.folder import GALLERY
from zsbench.utils.figures import GalleryRow, save_gallery

IMAGES = 8
Predict = Callable[[Sample], NDArray[np.integer[Any]]]
"""The classes in an image, integer (H, W), negative where there is none."""


def draw_gallery(path: Path, dataset: Dataset, split: str, ids: Sequence[str], title: str, predict: Predict) -> None:
    """Pictures of images spread evenly over `ids`."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, IMAGES).astype(int))
    rows = [row(read_sample(dataset, split, ids[index]), predict) for index in chosen]
    save_gallery(path, rows, dataset.classes, dataset.unseen, dataset.palette, title)


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


def row(sample: Sample, predict: Predict) -> GalleryRow:
    return GalleryRow(sample.image, sample.label, np.where(sample.label < 0, sample.label, predict(sample)))
