"""Counting where the prediction lies, against counting in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zsbench.errors import UserError
from zsbench.evaluation.counting import count_on_device, count_tensors
from zsbench.metrics.counts import count

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_classes", [1, 3, 171, 847, 30_000])
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (70, 91)])
def test_equals_counting_in_numpy(device: str, num_classes: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(num_classes)
    label = rng.integers(-3, num_classes, shape).astype(np.int32)
    prediction = np.where(rng.random(shape) < 0.5, label, rng.integers(-2, num_classes, shape)).astype(np.int32)
    tensors = torch.from_numpy(label), torch.from_numpy(prediction).to(device)
    for way in (count_on_device, count_tensors):
        rows = way(*tensors, num_classes)
        assert rows.dtype == np.int64 and rows.tolist() == count(label, prediction, num_classes).tolist()


def test_values_outside_the_classes_are_refused() -> None:
    good, bad = torch.zeros(8, 8, dtype=torch.int32), torch.full((8, 8), 3, dtype=torch.int32)
    with pytest.raises(UserError, match=r"the label holds the value of 3 or more: expected class indices 0\.\.2"):
        count_on_device(bad, good, 3)
    with pytest.raises(UserError, match="the prediction holds the value of 3 or more"):
        count_on_device(good, bad, 3)
    with pytest.raises(UserError, match=r"shape \(8, 8\), its prediction \(8, 7\)"):
        count_on_device(good, good[:, 1:], 3)
    ignored = torch.full((8, 8), -1, dtype=torch.int32)
    assert count_on_device(ignored, bad, 3).shape == (0, 3)
