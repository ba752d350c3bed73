"""What the pixels of a class are taken for; of unseen classes above all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from zsbench.metrics.class_counts import Ints
from zsbench.metrics.scores import Mask


@dataclass(frozen=True)
class UnseenPixels:
    """Where the labelled pixels of unseen classes go, in percent of them, 100 together; NaN where there are none.

    `seen` is the bias towards seen classes (Chao et al., ECCV 2016, on classification): what calibration is about.
    """

    right: float
    other_unseen: float
    seen: float
    abstained: float

    @classmethod
    def of(cls, confusion: Ints, seen: Mask) -> UnseenPixels:
        """`confusion`: int64 (C, C + 1), as `Records.confusion` gives it. `seen`: bool (C,)."""
        unseen = confusion[~seen]
        right = confusion.diagonal()[~seen].sum()
        parts = (right, unseen[:, :-1][:, ~seen].sum() - right, unseen[:, :-1][:, seen].sum(), unseen[:, -1].sum())
        pixels = unseen.sum()
        return cls(*(100.0 * float(part) / float(pixels) if pixels else float("nan") for part in parts))


def taken_for(confusion: Ints, classes: Iterable[int], most: int = 3) -> dict[int, list[tuple[int, float]]]:
    """For each of `classes`, the `most` other classes it is most often taken for, as (class, percent of its pixels).

    `confusion`: int64 (C, C + 1), as `Records.confusion` gives it. Most frequent first, of equals the lower class; those
    it is never taken for are left out, and so is abstention.
    """
    found = {}
    for truth in classes:
        wrong = np.where(np.arange(len(confusion)) == truth, 0, confusion[truth, :-1])
        first = np.argsort(-wrong, kind="stable")[:most]
        pixels = confusion[truth].sum()
        found[truth] = [(int(guess), 100.0 * float(wrong[guess] / pixels)) for guess in first if wrong[guess]]
    return found
