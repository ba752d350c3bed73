"""Counting against loops over pixels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError
from zsbench.metrics.counts import count


def counted_by_hand(label: NDArray[np.integer], prediction: NDArray[np.integer]) -> list[list[int]]:
    pairs = zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True)
    found = Counter((true, max(guess, -1)) for true, guess in pairs if true >= 0)
    return [[*pair, pixels] for pair, pixels in sorted(found.items())]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Number of classes, label, prediction; few classes are in use, so that agreement is not rare."""
    num_classes = draw(st.sampled_from([1, 2, 21, 70, 256, 847, 30_000]))
    used = st.sampled_from(draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=4)))
    shape = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    size = shape[0] * shape[1]
    label = draw(st.lists(used | st.sampled_from([IGNORE, UNLABELLED, -7]), min_size=size, max_size=size))
    prediction = draw(st.lists(used | st.sampled_from([-1, -3]), min_size=size, max_size=size))
    return num_classes, *(np.array(x, dtype=np.int32).reshape(shape) for x in (label, prediction))


class TestCount:
    @settings(deadline=None)
    @given(scenes())
    def test_equals_a_loop_over_pixels(self, scene: tuple[int, NDArray[np.int32], NDArray[np.int32]]) -> None:
        num_classes, label, prediction = scene
        rows = count(label, prediction, num_classes)
        assert rows.dtype == np.int64 and rows.shape[1:] == (3,)
        assert rows.tolist() == counted_by_hand(label, prediction)

    @pytest.mark.parametrize("num_classes", [3, 40, 171, 300, 847])
    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
    def test_both_ways_of_counting_agree(self, num_classes: int, dtype: type) -> None:
        rng = np.random.default_rng(num_classes)
        label = rng.integers(-2, num_classes, (70, 91)).astype(dtype)
        prediction = np.where(rng.random(label.shape) < 0.5, label, rng.integers(-1, num_classes, label.shape))
        assert count(label, prediction, num_classes).tolist() == counted_by_hand(label, prediction)

    def test_unsigned_and_strided_arrays(self) -> None:
        label = np.arange(48, dtype=np.uint8).reshape(6, 8)[::2, ::-1] % 5
        assert count(label, label.copy(), 5)[:, 2].sum() == label.size

    def test_what_is_predicted_on_ignored_pixels_does_not_matter(self) -> None:
        label = np.array([[0, IGNORE, UNLABELLED, 1]], dtype=np.int32)
        rows = [count(label, np.array([[0, a, b, 1]]), 3).tolist() for a in (-1, 0, 2) for b in (-1, 1)]
        assert rows == [[[0, 0, 1], [1, 1, 1]]] * len(rows)

    def test_abstaining_is_an_error(self) -> None:
        assert count(np.array([0, 0, 0]), np.array([0, -1, -7]), 1).tolist() == [[0, -1, 2], [0, 0, 1]]

    @pytest.mark.parametrize("num_classes", [3, 500])
    def test_values_outside_the_classes_are_refused(self, num_classes: int) -> None:
        good, bad = np.zeros((8, 8), np.int32), np.full((8, 8), num_classes, np.int32)
        with pytest.raises(UserError, match=rf"label holds the value {num_classes}: expected class indices 0\.\."):
            count(bad, good, num_classes)
        with pytest.raises(UserError, match=rf"prediction holds the value {num_classes}"):
            count(good, bad, num_classes)

    def test_shapes_and_dtypes_are_checked(self) -> None:
        with pytest.raises(UserError, match=r"shape \(2, 3\), its prediction \(3, 2\)"):
            count(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)
        with pytest.raises(UserError, match="dtype float64"):
            count(np.zeros(3), np.zeros(3, int), 2)


@pytest.mark.parametrize("cell", [1, 3, 16])
@pytest.mark.parametrize("classes", [4, 200])
def test_regions_are_counted_like_noise(cell, classes):
    """Runs of pixels are counted at once where there are many; void and abstention have theirs."""
    rng = np.random.default_rng(cell)
    label, prediction = (np.kron(rng.integers(-2, classes, (12, 9)), np.ones((cell, cell), np.int64)) for _ in "ab")
    prediction[::7] = -1
    pairs, pixels = np.unique(np.stack([label, np.maximum(prediction, -1)])[:, label >= 0], axis=1, return_counts=True)
    assert count(label, prediction, classes).tolist() == np.concatenate([pairs, pixels[None]]).T.tolist()
