"""A training that is killed, wherever, goes on to the very weights that it would have had."""

from __future__ import annotations

import gc
import json

import pytest
import torch
from toys import Phased, PixelClassifier

from zsbench.checkpoint import trainable_state_dict
from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.settings import TrainingView
from zsbench.training.loop import Session, train
from zsbench.training.state import TrainingState, sealed, unsealed
from zsbench.utils.distributed import join


class Killed(BaseException):
    pass


@pytest.fixture
def fit(squares, tmp_path, monkeypatch):
    """Trains in a folder, until a step or until the phase of that name has begun; gives the weights."""
    monkeypatch.setattr("zsbench.training.state.SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # accelerate collects after each phase, which takes most of the time
    recipe = Recipe(**{**squares.defaults.recipe, "learning_rate": 0.05, "warmup_iterations": 0, "schedule_every": 3})

    def run(kind, folder, die_at=None, die_in=None, fingerprint="f", say=print):
        torch.manual_seed(0)
        method = kind()

        def on_step(step, losses):
            if step == die_at:
                raise Killed

        begin = method.begin_phase

        def begin_phase(phase, view):
            begin(phase, view)
            if phase.name == die_in:
                raise Killed

        method.begin_phase = begin_phase
        folder = tmp_path / folder
        folder.mkdir(exist_ok=True)
        state = TrainingState(folder / "training.pt", fingerprint, say=say)
        session = Session(join(torch.device("cpu")), 0, state=state, log=folder / "log.jsonl", on_step=on_step)
        phases = [
            (phase, TrainingView(squares, phase, folder=folder / phase.name))
            for phase in method.phases("inductive", recipe, None)
        ]
        train(method, phases, lambda phase, view: None, session)
        return trainable_state_dict(method)

    return run


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_killed_run_resumes_to_the_same_weights(fit, tmp_path, at):
    with pytest.raises(Killed):
        fit(PixelClassifier, "cut", at)
    assert same(fit(PixelClassifier, "cut"), fit(PixelClassifier, "whole"))
    assert [json.loads(line)["step"] for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()] == list(
        range(4)
    )


def test_a_run_killed_in_any_phase_resumes_to_the_same_weights(fit, tmp_path):
    """At every step of three phases, and as each begins: labels made anew, new layers, a teacher, two optimisers."""
    whole = fit(Phased, "whole")
    assert whole["drawn"] == 4
    for at in range(1, 13):
        with pytest.raises(Killed):
            fit(Phased, f"at {at}", die_at=at)
        assert same(fit(Phased, f"at {at}"), whole), at
        lines = (tmp_path / f"at {at}/log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(12))
    for name in ("usual", "generate", "imitate"):
        with pytest.raises(Killed):
            fit(Phased, name, die_in=name)
        assert same(fit(Phased, name), whole), name


def test_a_run_killed_twice_resumes_twice(fit):
    for at in (3, 7):
        with pytest.raises(Killed):
            fit(Phased, "cut", die_at=at)
    assert same(fit(Phased, "cut"), fit(Phased, "whole"))


def test_another_run_is_not_resumed(fit):
    fit(PixelClassifier, "cut", fingerprint="one")
    with pytest.raises(UserError, match="other settings"):
        fit(PixelClassifier, "cut", fingerprint="two")


def test_a_finished_training_is_there_again_without_a_step(fit):
    whole = fit(Phased, "whole")
    assert same(fit(Phased, "whole", die_at=12), whole)


DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :],
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["training.pt", "training-phase.pt"])
def test_a_damaged_state_gives_way_to_the_one_before(fit, tmp_path, name, how):
    """In the second phase, so that there is one before of either; the weights are those of a training without damage."""
    with pytest.raises(Killed):
        fit(Phased, "cut", die_at=7)
    path = tmp_path / "cut" / name
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    said = []
    assert same(fit(Phased, "cut", say=said.append), fit(Phased, "whole"))
    assert said == [f"{name} is damaged: going on from what was kept before it."]


def test_where_no_state_is_whole_the_message_says_what_to_do(fit, tmp_path):
    with pytest.raises(Killed):
        fit(PixelClassifier, "cut", die_at=2)
    for path in (tmp_path / "cut").glob("training-phase*.pt"):
        path.write_bytes(b"PK" + bytes(100))  # of an earlier version, for example
    with pytest.raises(UserError, match=r"training-phase\.pt is damaged: delete .*cut to begin again"):
        fit(PixelClassifier, "cut")


def test_where_the_beginning_of_a_phase_is_gone_nothing_is_learnt_from_another(fit, tmp_path):
    """A teacher is made of it: to begin again, unasked, would be another training than the one to be resumed."""
    with pytest.raises(Killed):
        fit(Phased, "cut", die_at=7)
    for path in (tmp_path / "cut").glob("training-phase*.pt"):
        path.unlink()
    with pytest.raises(UserError, match=r"training-phase\.pt is gone: .* in training\.pt began with, and its teacher"):
        fit(Phased, "cut")


def test_a_state_that_cannot_be_written_leaves_the_one_before(fit, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        fit(PixelClassifier, "cut", die_at=3)
    before = {path.name: path.read_bytes() for path in (tmp_path / "cut").glob("*.pt")}
    with monkeypatch.context() as patch, pytest.raises(UserError, match="the disk is full"):
        patch.setattr("zsbench.training.state.sync", fail)
        fit(PixelClassifier, "cut")
    assert {path.name: path.read_bytes() for path in (tmp_path / "cut").glob("*.pt")} == before
    assert not list((tmp_path / "cut").glob(".*.part"))
    assert same(fit(PixelClassifier, "cut"), fit(PixelClassifier, "whole"))


def fail(path):
    raise OSError(28, "No space left on device")


def test_seconds_are_those_of_all_sittings(fit, tmp_path):
    with pytest.raises(Killed):
        fit(PixelClassifier, "cut", die_at=3)
    path = tmp_path / "cut" / "training.pt"
    content = unsealed(path)
    path.write_bytes(sealed({**content, "seconds": 1000.0}))
    fit(PixelClassifier, "cut")
    assert 1000 < unsealed(path)["seconds"] < 1100
