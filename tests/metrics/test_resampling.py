"""Resampled metrics against loops over images that are repeated, or left out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import zsbench.metrics.resampling
from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, draws, statistics
from zsbench.metrics.scores import METRICS, Counts, summary

SEEN = np.array([True, True, True, False, False, False])
Draw = Callable[..., Records]


def metrics_of(records: Records, times: list[int]) -> dict[str, float]:
    """Of the images, each so often as it says."""
    repeated = [image_id for image_id, n in zip(sorted(records.ids.tolist()), times, strict=True) for _ in range(n)]
    parts = [Counts.of(records.select([image_id]), 6) for image_id in repeated]
    zero = np.zeros(6, np.int64)
    total = Counts(*(sum((getattr(part, kind) for part in parts), zero) for kind in ("tp", "pred", "gt")))
    return summary(total, SEEN)


@pytest.mark.parametrize("block", [1, 100, 1 << 23])
def test_equals_a_loop(random_records: Draw, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(zsbench.metrics.resampling, "_BLOCK", block)
    records = random_records(7, 6)
    found = statistics([records], Resampling(6, SEEN, replicates=40, seed=3))
    drawn = [metrics_of(records, row.tolist()) for row in draws(7, 40, 3)]
    without = [metrics_of(records, [int(i != left_out) for i in range(7)]) for left_out in range(7)]
    for name in METRICS:
        assert found[name].value == metrics_of(records, [1] * 7)[name]
        assert found[name].replicates.tolist() == pytest.approx([of[name] for of in drawn], nan_ok=True)
        assert found[name].without.tolist() == pytest.approx([of[name] for of in without], nan_ok=True)


def test_draws_are_multinomial() -> None:
    images, replicates = 300, 4000
    weights = draws(images, replicates, 1).astype(np.float64)
    assert (weights.sum(axis=1) == images).all()
    assert weights.var() == pytest.approx(1 - 1 / images, rel=0.01)
    assert np.abs(weights.mean(axis=0) - 1).max() < 6 / math.sqrt(replicates)
    pair = np.mean((weights[:, 0] - 1) * (weights[:, 1:].sum(axis=1) - images + 1))
    assert pair == pytest.approx(-1, rel=0.1)  # one more of an image is one less of the others
    assert (draws(images, 3, 1) == draws(images, 3, 1)).all()
    assert (draws(images, 3, 1) != draws(images, 3, 2)).any()


def test_runs_are_averaged_over_the_same_images(random_records: Draw) -> None:
    runs = [random_records(20, 6, run=run) for run in range(3)]
    resampling = Resampling(6, SEEN, replicates=30)
    alone = [statistics([records], resampling)["mIoU"] for records in runs]
    shuffled = [runs[0], runs[1].select(runs[1].ids.tolist()[::-1]), runs[2]]
    mean = statistics(shuffled, resampling)["mIoU"]
    assert mean.value == pytest.approx(np.mean([of.value for of in alone]))
    assert mean.replicates == pytest.approx(np.mean([of.replicates for of in alone], axis=0))
    assert mean.without == pytest.approx(np.mean([of.without for of in alone], axis=0))
    ((variance, freedom),) = mean.between
    assert variance == pytest.approx(np.var([of.value for of in alone], ddof=1) / 3) and freedom == 2
    assert (mean - alone[0]).between == mean.between and alone[0].between == ()


def test_other_images_or_labels_are_refused(random_records: Draw) -> None:
    a, other_labels, resampling = random_records(4, 6), random_records(4, 6, seed=1), Resampling(6, SEEN)
    with pytest.raises(UserError, match="not on the same images: 1 are in one only, such as 'image 00003'"):
        statistics([a, random_records(3, 6)], resampling)
    with pytest.raises(UserError, match="other labels"):
        statistics([a, other_labels], resampling)


def test_at_least_two_replicates() -> None:
    with pytest.raises(UserError, match="at least 2 replicates"):
        Resampling(6, SEEN, replicates=1)
