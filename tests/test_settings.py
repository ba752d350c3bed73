"""The setting-aware views: what a method cannot see, it cannot learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import PixelClassifier

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.settings import SHOWN, Phase, TrainingView, check_phases, default_phases, parse_setting, shown

INDUCTIVE = Phase("train", "inductive", "seen", Recipe())


def values(view):
    return set(np.unique(np.concatenate([view[i].label.ravel() for i in range(len(view))])))


def test_inductive_view_holds_no_unseen_name_and_no_unseen_label(squares):
    view = TrainingView(squares, INDUCTIVE)
    assert view.names == ("grey", "red", "green")
    assert view.seen.all()
    assert values(view) == {IGNORE, 0, 1, 2}
    for i in range(len(view)):
        truth = squares.read("train", view[i].id).label
        assert (view[i].label[truth == squares.classes.index("blue")] == IGNORE).all()


def test_inductive_labels_index_the_shown_names(squares):
    squares.unseen = ("red",)  # an unseen class in the middle shifts the later ones
    view = TrainingView(squares, INDUCTIVE)
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert view.names == ("grey", "green", "blue")
    for index, name in enumerate(view.names):
        assert ((shown == index) == (truth == squares.classes.index(name))).all()


def test_transductive_view_names_all_and_marks_unseen_pixels_unlabelled(squares):
    view = TrainingView(squares, Phase("x", "transductive", "all", Recipe()))
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert view.names == squares.classes
    assert view.seen.tolist() == [True, True, True, False]
    assert ((shown == UNLABELLED) == (truth == 3)).all()
    assert ((shown == IGNORE) == (truth == IGNORE)).all()


def test_transductive_view_can_leave_all_void_to_pseudo_labels(squares):
    view = TrainingView(squares, Phase("x", "transductive", "all", Recipe(pseudo_labels="all")))
    truth, shown = squares.read("train", "train0").label, view[0].label
    assert ((shown == UNLABELLED) == ((truth == 3) | (truth == IGNORE))).all()


def test_supervised_view_shows_everything(squares):
    view = TrainingView(squares, Phase("x", "supervised", "all", Recipe()))
    assert view.names == squares.classes
    assert (view[0].label == squares.read("train", "train0").label).all()


def test_names_of_all_classes_may_be_told_without_their_pixels(squares):
    squares.unseen = ("red",)
    view = TrainingView(squares, Phase("x", "inductive", "all", Recipe()))
    truth, shown_label = squares.read("train", "train0").label, view[0].label
    assert view.names == squares.classes and view.seen.tolist() == [True, False, True, True]
    assert (shown_label == np.where(truth == 1, IGNORE, truth)).all()


@pytest.mark.parametrize("pixels", ["transductive", "supervised"])
def test_labels_of_unseen_pixels_need_their_names(pixels):
    with pytest.raises(ValueError, match="need the names of all classes"):
        Phase("x", pixels, "seen", Recipe())


@given(st.integers(0, 1000), st.floats(0, 1))
def test_transductive_phases_share_the_iterations(iterations, share):
    recipe = Recipe(iterations=iterations, self_training_from=share)
    found = default_phases("transductive", recipe)
    assert sum(phase.recipe.iterations for phase in found) == iterations
    assert [phase.pixels for phase in found] in (
        [],
        ["inductive"],
        ["transductive"],
        ["inductive", "transductive"],
    )


def test_what_self_training_begins_with_has_learnt_at_the_rates_of_an_inductive_training():
    """ZegCLIP's release goes on from the weights after 10,000 of 20,000 steps; rates as its builder gives them."""
    released = {"iterations": 20_000, "learning_rate": 2e-4, "min_learning_rate": 1e-6, "warmup_iterations": 1500}
    recipe = Recipe(**released, warmup_ratio=1e-6, self_training_from=0.5)
    first, second = default_phases("transductive", recipe)
    method = PixelClassifier()
    rates = [method.learning_rate(first, "main", step, 2e-4) for step in (0, 750, 1500, 9999)]
    assert rates == pytest.approx([2.0e-10, 9.664e-5, 1.8652e-4, 1.0765e-4], rel=1e-4)
    assert method.learning_rate(second, "main", 9999, 2e-4) < 2e-6


def test_other_settings_have_one_phase():
    recipe = Recipe(iterations=7)
    assert default_phases("inductive", recipe) == (Phase("train", "inductive", "seen", recipe),)
    assert default_phases("supervised", recipe) == (Phase("train", "supervised", "all", recipe),)


@given(st.sampled_from(["inductive", "transductive", "supervised"]), st.floats(0, 0.9))
def test_default_phases_show_what_the_setting_allows(setting, share):
    found = default_phases(setting, Recipe(self_training_from=share))
    check_phases(found, setting, "any")
    assert shown(found) == SHOWN[setting]


def test_a_phase_that_sees_more_than_the_setting_is_refused():
    peeking = (INDUCTIVE, Phase("peek", "supervised", "all", Recipe()))
    for setting in ("inductive", "transductive"):
        with pytest.raises(
            UserError, match=f"toy has no training in the {setting} setting: its phase peek is supervised"
        ):
            check_phases(peeking, setting, "toy")
    check_phases(peeking, "supervised", "toy")
    assert shown(peeking) == ("all", "all")
    assert shown((INDUCTIVE, Phase("names", "inductive", "all", Recipe()))) == ("seen", "all")
    assert shown(()) == SHOWN["training-free"]
    with pytest.raises(UserError, match="names of their own"):
        check_phases((INDUCTIVE, INDUCTIVE), "inductive", "toy")


def test_labels_made_anew_are_kept_and_made_once(squares, tmp_path):
    made = []

    def upside_down(sample):
        made.append(sample.id)
        return sample.label[::-1]

    for _ in range(2):  # the second time as a resumed run would
        view = TrainingView(squares, INDUCTIVE, folder=tmp_path / "labels")
        before = [view[index] for index in range(len(view))]
        view.relabel(upside_down)
        for index, sample in enumerate(before):
            assert (view[index].label == sample.label[::-1]).all() and view[index].label.dtype == np.int32
            assert (view[index].image == sample.image).all()
    assert sorted(made) == sorted(squares.ids("train"))
    with pytest.raises(UserError, match="in a run alone"):
        TrainingView(squares, INDUCTIVE).relabel(upside_down)


def test_unknown_setting_is_explained():
    with pytest.raises(UserError, match="Did you mean 'inductive'"):
        parse_setting("inductiv")


def test_nothing_to_learn_from_is_said_before_anything_starts(squares, monkeypatch):
    TrainingView(squares, INDUCTIVE).check_labels()
    read = squares.read

    def void(split, image_id):
        found = read(split, image_id)
        return replace(found, label=np.full_like(found.label, IGNORE))

    monkeypatch.setattr(squares, "read", void)
    with pytest.raises(UserError, match="no pixel of the 12 training images of squares has a class to learn from"):
        TrainingView(squares, INDUCTIVE).check_labels()


def test_all_classes_unseen_leaves_nothing_to_learn(squares):
    squares.unseen = squares.classes
    with pytest.raises(UserError, match="all classes of squares are unseen"):
        TrainingView(squares, INDUCTIVE)
