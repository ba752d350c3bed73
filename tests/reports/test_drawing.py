"""Pictures: every mark stands where its numbers say, and what is best is found best."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.metrics.scores import hiou
from zsbench.reports.drawing import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Axis,
    Curve,
    Dot,
    beside,
    costs,
    covers,
    front_of,
    iso_hiou,
    linear_ticks,
    log_ticks,
    pareto,
    plane,
    round_up,
)

PERCENT = st.floats(0, 100)


@given(st.integers(1, 99), st.integers(1, 10), st.integers(1, 10))
def test_a_line_of_equal_hiou_has_equal_hiou_and_stays_within(level, seen, unseen):
    line = iso_hiou(level, 10 * seen, 10 * unseen)
    for s, u in line:
        assert math.isclose(hiou(s, u), level, rel_tol=1e-9)
        assert 0 < s <= 10 * seen + 1e-6 and 0 < u <= 10 * unseen + 1e-6
    corner = hiou(10.0 * seen, 10.0 * unseen)
    assert bool(line) == (corner > level) or math.isclose(corner, level)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=8))
def test_the_front_is_what_no_other_beats(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    front = [points[number] for number in pareto(points)]
    assert front == sorted({point for point in points if not beaten(point)})


def test_what_was_not_measured_is_in_no_front_and_in_no_picture():
    nan = math.nan
    assert pareto([(nan, 90.0), (1.0, nan), (2.0, 5.0)]) == [2]
    dots = [Dot(x, y, "", "", 0) for x, y in ((1.0, nan), (nan, 1.0), (2.0, 3.0), (0.0, 1.0))]
    assert len(costs(dots, "", "").dots) == 1 and len(plane(dots).dots) == 2
    assert front_of(costs([], "", "").dots) == []


@given(st.floats(1e-3, 1e5), st.floats(1.01, 1e6), st.booleans())
def test_ticks_are_few_round_and_on_the_axis(low, factor, log):
    axis = Axis("", low, low * factor, LEFT, RIGHT, log)
    assert 2 <= len(axis.ticks) <= 8
    assert all(LEFT <= place <= RIGHT for place, _ in axis.ticks)
    assert axis.at(low) == LEFT and axis.at(low * factor) == RIGHT and axis.at(low * factor * 2) == RIGHT


def test_ticks():
    assert linear_ticks(0, 80) == [0, 20, 40, 60, 80] and linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert log_ticks(0.09, 2.5) == [0.1, 0.2, 0.5, 1, 2] and log_ticks(1, 1e6) == [10.0**power for power in range(7)]
    assert [round_up(value) for value in (0, 10, 10.1, 99, 100)] == [10, 10, 20, 100, 100]


@given(st.lists(st.tuples(st.floats(LEFT, RIGHT), st.floats(TOP, BOTTOM)), max_size=20))
def test_labels_cover_neither_dots_nor_each_other(dots):
    labels = beside(dots)
    shown = [label for label in labels if label]
    assert len(labels) == len(dots)
    assert not any(covers(label, dot) for label in shown for dot in dots)
    assert not any(covers(one, other) for number, one in enumerate(shown) for other in shown[:number])


@pytest.mark.parametrize("seen", [60.0, 3.0])
def test_a_curve_is_drawn_with_the_place_of_its_best_hiou(seen):
    found = SimpleNamespace(gamma=[0.0, 0.1, 0.2], seen=[seen, seen / 2, 0.0], unseen=[0.0, 30.0, 40.0], best_gamma=0.1)
    curve = Curve.of(found, 0, "a")
    assert curve.best == (seen / 2, 30.0)
    picture = plane([], [curve])
    assert picture.line(curve).startswith("M") and picture.line(curve).count("L") == 2
    assert picture.x.high >= seen and picture.y.high == 40
    assert list(picture.contours)
