"""Rows are told apart by fields: what was measured, with what, and how it was trained; never by words or places."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsbench.reports.rows import StoredResult, by_row, choices, identity, row_labels
from zsbench.result import WordsInfo

FILE, OTHER = {"name": "w.pt", "sha256": "1" * 64}, {"name": "w.pt", "sha256": "2" * 64}


def changed(result, part, **changes):
    """A field of one part of a result replaced, such as `method.clip`."""
    return result.model_copy(update={part: getattr(result, part).model_copy(update=changes)})


def stored(result, name="r"):
    return StoredResult(result, Path(f"{name}.json"))


def labels(*results):
    return list(row_labels(by_row(map(stored, results))).values())


def test_seeds_machines_and_places_are_no_rows(make_result):
    result = make_result()
    request = {"seed": 3, "out": {"name": "o", "sha256": None}, "device": "cuda", "workers": 4, "eval_batch": 8}
    again = changed(make_result(60.0, seed=3, request=request), "environment", device="cuda", threads=8)
    assert stored(result).row == stored(again).row and not choices(again)


def test_weights_are_known_by_content_wherever_they_lie(make_result):
    def with_weights(sha256, name):
        weights = make_result().method.weights.model_copy(update={"sha256": sha256, "source": name})
        asked = {"weights": {"name": name, "sha256": sha256}}
        return changed(make_result(request=asked), "method", weights=weights)

    here, there = with_weights("1" * 64, "w.pt"), with_weights("1" * 64, "copy.pt")
    assert stored(here).row == stored(there).row
    assert labels(here, with_weights("2" * 64, "w.pt")) == [
        "--weights w.pt weights 11111111",
        "--weights w.pt weights 22222222",
    ]


def test_templates_are_known_by_content_and_may_look_like_anything(make_result):
    dashes = changed(make_result(request={"templates": "- a {}"}), "method", templates="- a {}")
    assert labels(dashes, make_result()) == ["--templates - a {}", ""]
    one, two = (changed(make_result(request={"templates": f}), "method", templates=f) for f in (FILE, OTHER))
    moved = changed(make_result(request={"templates": FILE}), "method", templates={**FILE, "name": "t.txt"})
    assert stored(one).row == stored(moved).row != stored(two).row


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("method", {"options": {"rd": False}}),
        ("method", {"variant": "v"}),
        ("method", {"oracle": True}),
        ("method", {"clip": "ViT-L-14"}),
        ("method", {"text_embeddings": FILE}),
        ("method", {"words": WordsInfo(source="w.vec", sha256="1" * 64)}),
        ("dataset", {"classes_sha256": "f" * 64}),
        ("dataset", {"labels_sha256": "f" * 64}),
        ("dataset", {"split": "test"}),
        ("shown", {"names": "all"}),
        ("environment", {"dtype": "bfloat16"}),
        ("training", {"recipe": {"learning_rate": 1.0}}),
        ("training", {"dataset": "e"}),
        ("training", {"request": {"limit": 8}}),
        ("training", {"request": {"variant": "v"}}),
    ],
)
def test_whatever_decides_a_number_makes_a_row(make_result, part, changes):
    result = make_result(training={"dataset": "d", "recipe": {}}, verb="eval")
    assert stored(changed(result, part, **changes)).row != stored(result).row


def test_what_a_run_says_outright_is_the_same_as_its_default(make_result):
    result = make_result(training={"dataset": "d", "recipe": {"learning_rate": 2e-4}})
    explicit = result.model_copy(update={"request": {"recipe": {"learning_rate": "0.0002"}}, "seed": 1})
    assert stored(result).row == stored(explicit).row and labels(result, explicit) == [""]
    with_defaults = result.training.model_copy(update={"recipe": {"learning_rate": 2e-4, "workers": 7, "flip": 0.5}})
    assert identity(result.model_copy(update={"training": with_defaults})) == identity(result)


def test_a_checkpoint_brings_the_choices_of_its_training(make_result):
    """As if it had been evaluated there; what the evaluation chose stands in their place, and what it replaced is said."""
    asked = {"limit": 8, "options": {"rd": "off", "prompts": "4"}, "recipe": {"learning_rate": "1"}, "dtype": "float32"}
    training = {"dataset": "d", "recipe": {"learning_rate": 1.0}}
    evaluated = make_result(
        verb="eval", training={**training, "request": asked}, request={"checkpoint": FILE, "options": {"prompts": "2"}}
    )
    assert choices(evaluated) == [
        *("--limit 8", "-o rd=off", "-o prompts=2", "-r learning_rate=1"),
        "trained with -o prompts=4",
    ]
    other = make_result(verb="eval", training={**training, "request": {"variant": "v"}})
    assert choices(other) == ["trained with --variant v"]
    run = make_result(training=training, request={"recipe": {"learning_rate": "1"}})
    same = make_result(verb="eval", training={**training, "request": run.request}, request={"checkpoint": FILE})
    assert stored(run).row == stored(same).row and choices(run) == choices(same) == ["-r learning_rate=1"]


def test_checkpoints_of_unknown_training_are_known_by_content(make_result):
    one, two = (changed(make_result(verb="eval"), "method", checkpoint_sha256=digit * 64) for digit in "12")
    assert labels(one, two) == ["checkpoint 11111111", "checkpoint 22222222"]


def test_a_name_says_the_choices(make_result):
    result = make_result(request={"clip": "miniworld", "options": {"rd": "off"}, "classes": "plain"}, seed=2)
    assert stored(result).name == "d-m-clip-miniworld-o-rd-off-names-plain-inductive-seed2"
