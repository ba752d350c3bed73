"""The learning-rate curve."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from zsbench.recipe import Recipe, learning_rate


def test_curve_equals_the_released_one(shared):
    schedule = json.loads((shared / "goldens/zegclip/optim.json").read_text())["schedule"]
    for iterations, points in schedule.items():
        for step, expected in points.items():
            assert learning_rate(Recipe(), int(step), int(iterations), 2e-4) == pytest.approx(expected, rel=1e-9)


def test_curve_by_hand():
    recipe = Recipe(learning_rate=1.0, min_learning_rate=0.1, poly_power=1, warmup_iterations=2, warmup_ratio=0.5)
    rates = [learning_rate(recipe, step, 10, 1.0) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5 * 1.0, 0.75 * 0.91, 0.82])
    assert rates[9] == pytest.approx(0.9 * 0.1 + 0.1)


def test_unknown_entry_is_refused():
    with pytest.raises(ValidationError):
        Recipe(learningrate=1)
