"""The counts that follow from the confusion, against those that were once counted directly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records

CLASSES = 7
Pixels = NDArray[np.int32]


def counted_directly(label: Pixels, prediction: Pixels) -> list[list[int]]:
    """Rows (class, tp, pred, gt) of one image, each from a histogram of its own."""
    labelled = label >= 0
    label, prediction = label[labelled], prediction[labelled]
    kinds = (label[label == prediction], prediction[prediction >= 0], label)
    tp, pred, gt = (np.bincount(kind, minlength=CLASSES) for kind in kinds)
    cls = np.flatnonzero(pred + gt)
    return np.stack([cls, tp[cls], pred[cls], gt[cls]], axis=1).tolist()


@st.composite
def images(draw: st.DrawFn) -> tuple[Pixels, Pixels]:
    size = draw(st.integers(0, 30))
    values = st.integers(-2, CLASSES - 1)
    label, prediction = (draw(st.lists(values, min_size=size, max_size=size)) for _ in "lp")
    return np.array(label, np.int32), np.array(prediction, np.int32)


def records_of(pairs: list[tuple[Pixels, Pixels]]) -> Records:
    return Records.of([f"{i}" for i in range(len(pairs))], [count(*pair, CLASSES) for pair in pairs])


@settings(deadline=None)
@given(st.lists(images(), max_size=5), st.randoms(use_true_random=False))
def test_equal_what_was_counted_directly(pairs: list[tuple[Pixels, Pixels]], rng: object) -> None:
    found = records_of(pairs).class_counts()
    expected = [[i, *row] for i, pair in enumerate(pairs) for row in counted_directly(*pair)]
    assert found.images == len(pairs)
    assert np.stack([found.image, found.cls, found.tp, found.pred, found.gt], axis=1).tolist() == expected


@settings(deadline=None)
@given(st.lists(images(), max_size=5), st.integers(0, 5), st.integers(0, 5))
def test_dense_holds_every_row(pairs: list[tuple[Pixels, Pixels]], first: int, last: int) -> None:
    table = records_of(pairs).class_counts().dense(CLASSES, first, last)
    chosen = pairs[first:last]
    assert table.shape == (len(chosen), CLASSES, 3) and table.dtype == np.int64
    for pair, of_image in zip(chosen, table, strict=True):
        assert [[c, *of_image[c].tolist()] for c in range(CLASSES) if of_image[c].any()] == counted_directly(*pair)


def test_sums_are_exact_beyond_float64() -> None:
    big = 2**60 + 1
    found = Records.of(["a"], [np.array([[0, 0, big], [0, 1, 2], [1, 0, 4]])]).class_counts()
    assert (found.tp.tolist(), found.pred.tolist(), found.gt.tolist()) == ([big, 0], [big + 4, 2], [big + 2, 4])


def test_a_class_too_many_is_refused() -> None:
    with pytest.raises(UserError, match="class 8, but there are 5 classes: they belong to another dataset"):
        Records.of(["a"], [np.array([[8, 0, 1]])]).class_counts().dense(5)


def test_image_miou() -> None:
    """Over the classes present or predicted; an image without pixels has none."""
    one, none = np.array([1]), np.zeros(1, int)
    counts = ClassCounts(2, np.array([0, 0]), np.array([0, 3]), *np.array([[1, 0], [10, 5], [10, 0]]))
    assert counts.image_miou().tolist() == pytest.approx([100 / 19 / 2, np.nan], nan_ok=True)
    assert ClassCounts(1, none, none, one, one, one).image_miou().tolist() == [100]
