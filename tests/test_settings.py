"""The setting-aware views: what a method cannot see, it cannot learn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView, parse_setting, phases


def values(view):
    return set(np.unique(np.concatenate([view[i].label.ravel() for i in range(len(view))])))


def test_inductive_view_holds_no_unseen_name_and_no_unseen_label(squares):
    view = TrainingView(squares, "inductive")
    assert view.names == ("grey", "red", "green")
    assert view.seen.all()
    assert values(view) == {IGNORE, 0, 1, 2}
    for i in range(len(view)):
        truth = squares.read("train", view[i].id).label
        assert (view[i].label[truth == squares.classes.index("blue")] == IGNORE).all()


def test_inductive_labels_index_the_shown_names(squares):
    squares.unseen = ("red",)  # an unseen class in the middle shifts the later ones
    view = TrainingView(squares, "inductive")
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert view.names == ("grey", "green", "blue")
    for index, name in enumerate(view.names):
        assert ((shown == index) == (truth == squares.classes.index(name))).all()


def test_transductive_view_names_all_and_marks_unseen_pixels_unlabelled(squares):
    view = TrainingView(squares, "transductive")
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert view.names == squares.classes
    assert view.seen.tolist() == [True, True, True, False]
    assert ((shown == UNLABELLED) == (truth == 3)).all()
    assert ((shown == IGNORE) == (truth == IGNORE)).all()


def test_transductive_view_can_leave_all_void_to_pseudo_labels(squares):
    view = TrainingView(squares, "transductive", pseudo_labels="all")
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert ((shown == UNLABELLED) == ((truth == 3) | (truth == IGNORE))).all()


def test_supervised_view_shows_everything(squares):
    view = TrainingView(squares, "supervised")
    assert view.names == squares.classes
    assert (view[0].label == squares.read("train", "train0").label).all()


def test_training_free_has_no_view(squares):
    with pytest.raises(UserError, match="training-free"):
        TrainingView(squares, "training-free")


@given(st.integers(0, 1000), st.floats(0, 1))
def test_transductive_phases_share_the_iterations(iterations, share):
    recipe = Recipe(iterations=iterations, self_training_from=share)
    found = phases("transductive", recipe)
    assert sum(phase.iterations for phase in found) == iterations
    assert [phase.setting for phase in found] in (
        [],
        ["inductive"],
        ["transductive"],
        ["inductive", "transductive"],
    )


def test_other_settings_have_one_phase():
    assert phases("inductive", Recipe(iterations=7)) == (Phase("inductive", 7),)


def test_unknown_setting_is_explained():
    with pytest.raises(UserError, match="Did you mean 'inductive'"):
        parse_setting("inductiv")
