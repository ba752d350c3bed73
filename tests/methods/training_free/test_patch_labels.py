"""ResCLIP's weights from patch labels, against the same in loops over pairs of patches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zsbench.methods.training_free.patch_labels import majority, semantic_weights


@given(arrays(np.int64, st.tuples(st.integers(8, 20), st.integers(8, 20)), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=30)
def test_a_patch_has_its_most_frequent_label(labels: np.ndarray) -> None:
    found = majority(torch.from_numpy(labels), 4)
    assert found.shape == (labels.shape[0] // 4, labels.shape[1] // 4)
    for row, column in np.ndindex(*found.shape):
        cell = labels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert found[row, column] == np.bincount(cell.ravel()).argmax()  # the lowest of equals


def in_loops(labels: np.ndarray, deviation: float) -> np.ndarray:
    """The weights as the facts about ResCLIP describe them, one pair at a time."""
    rows, columns = labels.shape
    longest = max(rows, columns) - 1
    places = [(y, x) for y in range(rows) for x in range(columns)]
    weights = np.zeros((len(places), len(places)))
    for i, (y, x) in enumerate(places):
        for j, (to_y, to_x) in enumerate(places):
            if labels[y, x] != labels[to_y, to_x]:
                continue
            steps, weights[i, j] = max(abs(to_y - y), abs(to_x - x)), 1
            for t in torch.linspace(0, 1, longest + 1).numpy()[: steps + 1]:
                on_the_way = np.round(y * (1 - t) + to_y * t), np.round(x * (1 - t) + to_x * t)
                if labels[int(on_the_way[0]), int(on_the_way[1])] != labels[y, x]:
                    weights[i, j] = math.exp(-steps / longest)
    size = min(len(places), int(6 * deviation + 1))
    size += 1 - size % 2
    kernel = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * deviation**2))
    smooth = np.stack([np.convolve(np.pad(row, size // 2), kernel, "valid") for row in weights])
    return smooth / smooth.sum(1, keepdims=True)


@given(
    arrays(np.int64, st.tuples(st.integers(2, 7), st.integers(2, 8)), elements=st.integers(0, 2)),
    st.sampled_from([1.5, 5.0]),
)
@settings(deadline=None, max_examples=25)
def test_weights_of_a_first_labelling_are_those_of_a_loop_over_pairs(labels: np.ndarray, deviation: float) -> None:
    found = semantic_weights(torch.from_numpy(labels), deviation)
    np.testing.assert_allclose(found.numpy(), in_loops(labels, deviation), atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_a_single_label_gives_every_patch_a_sum_of_one(shape: tuple[int, int]) -> None:
    torch.testing.assert_close(
        semantic_weights(torch.zeros(shape, dtype=torch.int64), 5.0).sum(1), torch.ones(math.prod(shape))
    )
