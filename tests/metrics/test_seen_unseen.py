"""The curve is what a plain loop over calibrations gives."""

from __future__ import annotations

import numpy as np
import pytest

from zsbench.metrics.scores import Counts, summary
from zsbench.metrics.seen_unseen import Curve, Flips, area, edges_with

SEEN = np.array([True, False, True, False, True])
CLASSES = len(SEEN)


def pixels(number: int = 500) -> tuple[np.ndarray, ...]:
    """Truth, best seen class and its score, best unseen class and its score."""
    rng = np.random.default_rng(0)
    sides = [np.flatnonzero(SEEN)[rng.integers(0, 3, number)], np.flatnonzero(~SEEN)[rng.integers(0, 2, number)]]
    return rng.integers(0, CLASSES, number), sides[0], rng.random(number), sides[1], rng.random(number)


def plain_counts(gamma: float) -> Counts:
    truth, seen, s, unseen, u = pixels()
    found = np.where(s - gamma > u, seen, unseen)
    tp = np.bincount(truth[found == truth], minlength=CLASSES)
    return Counts(tp, np.bincount(found, minlength=CLASSES), np.bincount(truth, minlength=CLASSES))


@pytest.fixture
def flips() -> Flips:
    truth, seen, s, unseen, u = pixels()
    made = Flips(edges_with(0.123), SEEN)
    bins = (s[:, None] - made.edges > u[:, None]).sum(1)
    for found in (seen, unseen):
        keys, number = np.unique((bins * CLASSES + found) * 2 + (found == truth), return_counts=True)
        for part in (slice(0, 40), slice(40, None)):  # images add up
            made.add(keys[part], number[part])
    return made


def test_counts_at_every_edge_are_those_of_that_calibration(flips: Flips) -> None:
    counts = flips.counts(np.bincount(pixels()[0], minlength=CLASSES))
    for gamma in (-1e5, -0.5, -0.01, 0.0, 1e-5, 0.1, 0.123, 0.35, 0.99, 1e5):
        at = int(np.flatnonzero(flips.edges == gamma)[0])
        plain = plain_counts(gamma)
        for name in ("tp", "pred", "gt"):
            assert np.array_equal(getattr(counts, name)[at], getattr(plain, name)), (gamma, name)


def test_a_curve_holds_every_calibration_where_something_changes_and_the_methods_own(flips: Flips) -> None:
    curve: Curve = flips.curve(np.bincount(pixels()[0], minlength=CLASSES), 0.123)
    assert curve.gamma == sorted(curve.gamma) and 0.123 in curve.gamma and curve.own_gamma == 0.123
    assert len(curve.gamma) < 600 and curve.unseen[0] == curve.seen[-1] == 0
    values = [summary(plain_counts(gamma), SEEN) for gamma in edges_with(0.123)]
    best = max(value["hIoU"] for value in values)
    assert curve.best_hiou == pytest.approx(best)
    assert summary(plain_counts(curve.best_gamma), SEEN)["hIoU"] == pytest.approx(best)
    for gamma, s, u in zip(curve.gamma, curve.seen, curve.unseen, strict=True):
        value = summary(plain_counts(gamma), SEEN)
        assert (s, u) == pytest.approx((value["mIoU_S"], value["mIoU_U"])), gamma
    every = [np.array([value[name] for value in values]) for name in ("mIoU_S", "mIoU_U")]
    assert curve.area == pytest.approx(area(*every))


def test_area_is_the_share_of_the_square() -> None:
    s, u = np.array([100.0, 100.0, 0.0]), np.array([0.0, 100.0, 100.0])
    assert area(s, u) == 100.0
    assert area(np.array([60.0, 0.0]), np.array([0.0, 50.0])) == pytest.approx(15.0)
    assert np.isnan(area(s, np.full(3, np.nan)))
