"""The learning-rate curve."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from zsbench.errors import UserError
from zsbench.optimisation import build_optimiser
from zsbench.recipe import NEEDED, READ_WITH, Recipe, idle, learning_rate
from zsbench.runs.resolve import merge


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


def test_a_rate_falls_in_steps_to_a_floor():
    recipe = Recipe(schedule="step", decay_from=4, decay_every=3, decay_factor=0.5, warmup_iterations=0)
    rates = [learning_rate(recipe, step, 100, 0.8) for step in range(12)]
    assert rates == pytest.approx([0.8] * 4 + [0.4] * 3 + [0.2] * 3 + [0.1] * 2)
    floored = recipe.model_copy(update={"min_learning_rate": 0.3})
    assert [learning_rate(floored, step, 100, 0.8) for step in (0, 4, 7, 99)] == pytest.approx([0.8, 0.4, 0.3, 0.3])


def test_a_constant_rate_warms_up_and_stays():
    recipe = Recipe(schedule="constant", warmup_iterations=2, warmup_ratio=0)
    assert [learning_rate(recipe, step, 5, 0.4) for step in range(5)] == pytest.approx([0, 0.2, 0.4, 0.4, 0.4])


def test_the_rate_may_change_with_every_pass():
    assert Recipe(schedule_every="epoch").schedule_every == "epoch"
    assert Recipe.model_validate({"schedule_every": "10"}).schedule_every == 10
    for wrong in (0, "step"):
        with pytest.raises(ValidationError):
            Recipe(schedule_every=wrong)


def test_unknown_entry_is_refused():
    with pytest.raises(ValidationError):
        Recipe(learningrate=1)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *(("scale", value) for value in ("2,1", "0,1", "nan,1", "1,inf", "1", "1e-9,1", "1,1e9")),
        *(("betas", value) for value in ("nan", "nan,0.9", "0.9,1", "-0.1,0.9", "0.9,inf")),
        *(("learning_rate", value) for value in ("1e308", "inf", "nan", "0", "-1", "²")),
        *(("crop", value) for value in ("0", "1", "1" + "0" * 23, "²", "1.5")),
        *(("weight_decay", value) for value in ("inf", "1e308")),
        *(("gradient_clip", value) for value in ("nan", "1e308")),
        *(("workers", "1000000"), ("batch_size", "1" + "0" * 23), ("poly_power", "inf"), ("iterations", "9" * 23)),
    ],
)
def test_values_out_of_range_are_named(entry, value):
    with pytest.raises(UserError, match=rf"recipe entry: {entry}"):
        merge(Recipe, {entry: value}, what="recipe entry")


def test_an_entry_that_nothing_reads_beside_the_others_is_named():
    plain, sgd = Recipe(), Recipe(optimiser="sgd", schedule="constant")
    assert idle("momentum", [plain]) == "momentum is of optimiser sgd, and this training has adamw"
    assert idle("momentum", [plain, sgd]) is None and idle("betas", [plain]) is None
    assert idle("betas", [sgd]) == "betas is of optimiser adamw and adam, and this training has sgd"
    assert idle("min_learning_rate", [sgd]) and idle("decay_from", [plain]) and idle("iterations", [sgd]) is None
    at_once = sgd.model_copy(update={"warmup_iterations": 0, "short_side": None})
    for entry in NEEDED:
        assert idle(entry, [at_once]).startswith(f"{entry} ") and idle(entry, [plain, at_once]) is None
    assert idle("schedule_every", [sgd]) is None and idle("long_side", [Recipe(stretch=True)])


@pytest.mark.parametrize("entry", READ_WITH)
def test_such_an_entry_changes_no_rate_under_the_other_choices(entry):
    """The table says what `learning_rate` and the optimisers read: any value gives the same under what it leaves out."""
    other, choices = READ_WITH[entry]
    values = {"betas": (0.1, 0.2), "momentum": 0.1, "decay_from": 3, "decay_every": 2}
    for choice in get_args(Recipe.model_fields[other].annotation):
        usual = Recipe(**{other: choice}, warmup_iterations=0)
        another = usual.model_copy(update={entry: values.get(entry, 0.01)})
        same = [learning_rate(recipe, step, 10, 1.0) for recipe in (usual, another) for step in range(10)]
        weights = [after_two_steps(recipe) for recipe in (usual, another)]
        equal = same[:10] == same[10:] and torch.equal(*weights)
        assert equal == (choice not in choices), (entry, choice)


def after_two_steps(recipe):
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = build_optimiser(recipe, [weight])
    for gradient in ([1.0, 2.0, 3.0], [-1.0, 0.5, 0.1]):
        weight.grad = torch.tensor(gradient)
        optimiser.step()
    return weight.detach()
