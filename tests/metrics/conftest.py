"""Records for the tests of what is computed of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from zsbench.metrics.counts import count
from zsbench.metrics.records import Records


def draw_records(images: int, classes: int, seed: int = 0, right: float = 0.5, run: int = 0) -> Records:
    """Images of 64 pixels of a few classes. `seed` decides the labels; `run`, and what share is `right`, the predictions."""
    of_labels, of_run = np.random.default_rng(seed), np.random.default_rng([seed, run])
    rows = []
    for _ in range(images):
        label = of_labels.choice(of_labels.integers(-1, classes, 4), 64)
        guess = np.where(of_run.random(64) < right, label, of_run.integers(0, classes, 64))
        rows.append(count(label, guess, classes))
    return Records.of([f"image {i:05d}" for i in range(images)], rows)


@pytest.fixture(scope="session")
def random_records() -> Callable[..., Records]:
    """`draw_records`."""
    return draw_records


@pytest.fixture(scope="session")
def percentages() -> Callable[..., Records]:
    """Records of one class, so many of each image's 100 pixels right and the others abstained from: pAcc is their mean."""

    def record(right: list[int]) -> Records:
        rows = [np.array([row for row in ([0, 0, r], [0, -1, 100 - r]) if row[2]]) for r in right]
        return Records.of([f"image {i:05d}" for i in range(len(right))], rows)

    return record
