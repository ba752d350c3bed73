"""Where constants are chosen there is no unseen class and no test image."""

from __future__ import annotations

import numpy as np
import pytest
from toys import Squares

from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.runs.stand_ins import HELD_OUT, StandIns
from zsbench.settings import Phase, TrainingView


class OfTraining(Squares):
    """Lets nobody look at the test."""

    def read(self, split, image_id):
        assert split == "train"
        return super().read(split, image_id)


def test_unseen_classes_and_test_images_are_not_there():
    inner, made = OfTraining(), StandIns(OfTraining(), ["red"], 4)
    made.validate()
    assert (made.classes, made.unseen) == (("grey", "red", "green"), ("red",))
    assert made.names().synonyms == (("grey",), ("red",), ("green",)) and made.defaults.protocol.split == HELD_OUT
    assert [*made.ids("train"), *made.ids(HELD_OUT)] == inner.ids("train") and len(made.ids(HELD_OUT)) == 4
    for split in ("train", HELD_OUT):
        for image_id in made.ids(split):
            label, known = made.read(split, image_id).label, inner.read("train", image_id).label
            assert np.array_equal(label, np.where(known == 3, IGNORE, known))
            assert np.array_equal(made.label(split, image_id), label)
    assert made.full_size(HELD_OUT) != len(made.ids(HELD_OUT)), "never complete"


def test_training_is_without_the_stand_ins():
    made = StandIns(OfTraining(), ["red"], 4)
    view = TrainingView(made, Phase("train", "inductive", "seen", Recipe()))
    assert view.names == ("grey", "green") and len(view) == 8
    assert {int(value) for sample in view for value in np.unique(sample.label)} == {IGNORE, 0, 1}


def test_stand_ins_are_drawn_in_proportion_among_what_is_there():
    drawn = {StandIns(OfTraining(), None, None, seed).unseen for seed in range(20)}
    assert drawn == {("grey",), ("red",), ("green",)}
    assert StandIns(OfTraining(), None, None, 5).unseen == StandIns(OfTraining(), None, None, 5).unseen
    assert len(StandIns(OfTraining(), 2, None).unseen) == 2


@pytest.mark.parametrize(
    ("chosen", "held_out", "message"),
    [
        (["blue"], None, "blue is no seen class"),
        (["grey", "red", "green"], None, "not all"),
        (3, None, "--stand-ins 3"),
        (None, 12, "leave some to learn from"),
    ],
)
def test_what_leaves_nothing_is_refused(chosen, held_out, message):
    with pytest.raises(UserError, match=message):
        StandIns(OfTraining(), chosen, held_out)
