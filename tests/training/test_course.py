"""Looking at a training changes nothing of it, remembers the best, and ends it where nothing gets better."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from toys import Phased, PixelClassifier

from zsbench.checkpoint import trainable_state_dict
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView
from zsbench.training import state as states
from zsbench.training.course import Course, Validation
from zsbench.training.loop import Session, train
from zsbench.training.state import TrainingState
from zsbench.utils.distributed import join


class Measured:
    """Gives scores in turn, after it has drawn numbers and spoilt what it was given."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def __call__(self, method, ends):
        if ends():
            return None
        random.random(), np.random.rand(), torch.rand(1)
        assert not method.training
        self.seen.append(method.state_dict()["head.weight"].clone())
        for tensor in method.state_dict().values():
            tensor.fill_(9)
        method.vocabulary = None
        return {"mIoU_S": self.scores.pop(0)}


@pytest.fixture
def fit(squares, tmp_path):
    def fit(validation=None, kind=PixelClassifier, state=None, on_step=lambda step, losses: None, started=None):
        recipe = Recipe(**{**squares.defaults.recipe, "iterations": 6, "learning_rate": 0.05, "warmup_iterations": 0})
        torch.manual_seed(0)
        method = kind()
        phases = method.phases("inductive", recipe, None)
        views = [(phase, TrainingView(squares, phase, folder=tmp_path / phase.name)) for phase in phases]
        session = Session(
            join(torch.device("cpu")),
            0,
            state=state or TrainingState(),
            on_step=on_step,
            on_start=(started if started is not None else []).append,
            validation=validation,
        )
        train(method, views, lambda phase, view: None, session)
        return trainable_state_dict(method)

    return fit


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", [PixelClassifier, Phased])
def test_looking_changes_no_weight_and_no_random_number(fit, kind):
    """Dropout, noise and generated images draw from the very generators that a validation may use."""
    plain = fit(kind=kind)
    drawn = random.getstate()[1], np.random.get_state()[1].tolist()
    looked_at = fit(Validation(Measured(*range(20)), every=1), kind=kind)
    assert same(plain, looked_at)
    assert drawn == (random.getstate()[1], np.random.get_state()[1].tolist())


def test_the_best_is_kept_and_the_last_is_looked_at(fit):
    state, best = TrainingState(), []
    keep = lambda course: best.append((course.best["step"], course.best["value"]))  # noqa: E731
    measured = Measured(3.0, 5.0, 4.0, 5.0)
    last = fit(Validation(measured, every=2, on_best=keep), state=state)
    assert [step for step, _ in state.course.history] == [2, 4, 6] and best == [(2, 3.0), (4, 5.0)]
    assert torch.equal(state.course.best["weights"]["head.weight"], measured.seen[1])
    assert torch.equal(last["head.weight"], measured.seen[2])


def test_patience_ends_a_phase_and_the_next_begins_anew(fit):
    state, steps = TrainingState(), []
    found = Measured(5.0, 4.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0)
    validation = Validation(found, every=2, patience=1)
    fit(validation, Phased, state, on_step=lambda step, losses: steps.append(step))
    assert state.course.ended == [4, 12, 16]
    assert steps == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert (state.course.best["step"], state.course.best["value"]) == (14, 1.0)  # 5.0 was of a method half trained


def test_a_phase_that_cannot_predict_is_not_looked_at(fit):
    class Late(Phased):
        def can_predict(self, phase):
            return phase.name == "imitate"

    state = TrainingState()
    fit(Validation(Measured(1.0, 2.0, 3.0), every=2, patience=1), Late, state)
    assert [step for step, _ in state.course.history] == [14, 16, 18] and not state.course.ended


class Killed(BaseException):
    pass


class Twice(PixelClassifier):
    @classmethod
    def phases(cls, setting, recipe, options):
        return tuple(Phase(name, "inductive", "seen", recipe) for name in ("first", "second"))


@pytest.mark.parametrize(("moment", "saved"), [(1, False), (5, True), (6, True), (9, False), (12, True)])
def test_a_training_killed_at_any_step_has_the_course_of_a_whole_one(fit, tmp_path, monkeypatch, moment, saved):
    monkeypatch.setattr(states, "SAVE_EVERY_SECONDS", 0.0 if saved else 3600.0)

    class Weighed(Measured):  # what is found depends on the weights alone
        def __call__(self, method, ends):
            self.scores = [100 * torch.frac(100 * method.state_dict()["head.weight"].abs().sum()).item()]
            return super().__call__(method, ends)

    def validation():
        return Validation(Weighed(), every=2, patience=2)

    whole = TrainingState()
    weights = fit(validation(), Twice, whole)

    def kill(step, losses):
        if step == moment:
            raise Killed

    files, started = tmp_path / "training.pt", []
    try:
        fit(validation(), Twice, TrainingState(files), kill)
    except Killed:
        join(torch.device("cpu")).free_memory()
    cut = TrainingState(files)
    assert same(weights, fit(validation(), Twice, cut, started=started))
    assert cut.course.history == whole.course.history and cut.course.ended == whole.course.ended
    assert same(cut.course.best["weights"], whole.course.best["weights"])
    assert started[0] <= moment


def test_told_to_end_in_a_validation_it_keeps_the_step_and_looks_when_resumed(fit, tmp_path):
    from zsbench.utils import interruption

    class Interrupting(Measured):
        def __call__(self, method, ends):
            interruption._told.receive(15, None)
            assert ends()
            return super().__call__(method, ends)

    path = tmp_path / "training.pt"
    with pytest.raises(interruption.Interrupted):
        fit(Validation(Interrupting(), every=4), state=TrainingState(path))
    assert states.unsealed(path)["step"] == 4
    state, started = TrainingState(path), []
    weights = fit(Validation(Measured(1.0, 2.0), every=4), state=state, started=started)
    assert started == [4] and [step for step, _ in state.course.history] == [4, 6]
    assert same(weights, fit())


def test_a_course_is_stored_as_it_is():
    course = Course([(2, {"mIoU_S": 1.0})], {"step": 2, "phase": 0, "value": 1.0, "weights": {}}, 1, [4])
    assert Course(**course.content()) == course and course.at == 2
