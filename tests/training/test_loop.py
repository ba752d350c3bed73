"""The training loop: deterministic, resumable after any death, stopping at a loss that is not finite."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from zsbench.checkpoint import trainable_state_dict
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.method import Losses, Method
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView
from zsbench.training.log import TrainingLog
from zsbench.training.loop import SampleStream, TrainingState, train


class PixelClassifier(Method):
    """A 1x1 convolution; dropout makes it depend on the random state."""

    trainable = True

    def __init__(self, classes=3):
        super().__init__(None, None)
        self.head = nn.Conv2d(3, classes, 1)
        self.dropout = nn.Dropout(0.2)

    def predict(self, images):
        return self.head(images)

    def losses(self, images, labels):
        loss = nn.functional.cross_entropy(self.head(self.dropout(images)), labels, ignore_index=IGNORE)
        return Losses({"ce": loss}, (labels != IGNORE).sum())


def fit(squares, recipe, state=None, method=None, log=None, on_step=lambda step, losses: None, seed=0):
    torch.manual_seed(seed)
    method = method or PixelClassifier()
    view = TrainingView(squares, "inductive")
    phases = ((Phase("inductive", recipe.iterations), view),)
    state = state or TrainingState(None, "")
    train(method, phases, lambda phase, view: None, recipe, seed, Accelerator(cpu=True), state, log, on_step)
    return trainable_state_dict(method)


@pytest.fixture
def recipe(squares):
    return Recipe(**{**squares.defaults.recipe, "iterations": 12, "learning_rate": 0.05, "warmup_iterations": 0})


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_loss_falls(squares, recipe):
    losses = []
    fit(
        squares,
        recipe.model_copy(update={"iterations": 60}),
        on_step=lambda step, values: losses.append(values["loss"]),
    )
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_equal_seeds_give_equal_weights_and_other_seeds_others(squares, recipe):
    assert same(fit(squares, recipe), fit(squares, recipe))
    assert not same(fit(squares, recipe), fit(squares, recipe, seed=1))


def test_worker_processes_change_nothing(squares, recipe):
    assert same(fit(squares, recipe), fit(squares, recipe.model_copy(update={"workers": 2})))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_killed_run_resumes_to_the_same_weights(squares, recipe, tmp_path, monkeypatch, at):
    monkeypatch.setattr("zsbench.training.loop.SAVE_EVERY_SECONDS", 0.0)
    log = tmp_path / "train.jsonl"

    def die(step, losses):
        if step == at + 1:
            raise Killed

    with pytest.raises(Killed):
        fit(squares, recipe, TrainingState(tmp_path / "state.pt", "f"), log=log, on_step=die)
    resumed = fit(squares, recipe, TrainingState(tmp_path / "state.pt", "f"), log=log)
    assert same(resumed, fit(squares, recipe))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(12))


def test_tensorboard_gets_the_curves_of_one_training_across_a_resume(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for done, loss in ((0, 5.0), (2, 1.0)):
        log = TrainingLog(tmp_path / "train.jsonl", done)
        for step in range(done, 4):
            log.write(step, {"loss": loss})
    curves = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in curves] == [(0, 5.0), (1, 5.0), (2, 1.0), (3, 1.0)]
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 4


def test_another_run_is_not_resumed(squares, recipe, tmp_path):
    fit(squares, recipe, TrainingState(tmp_path / "state.pt", "one"))
    with pytest.raises(UserError, match="other settings"):
        fit(squares, recipe, TrainingState(tmp_path / "state.pt", "two"))


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_accumulated_micro_batches_give_the_gradient_of_the_batch(squares, recipe, micro_batch):
    """Cross-entropy is a mean over labelled pixels, whose number differs between images: each counts by its own."""
    whole = recipe.model_copy(update={"batch_size": 4, "iterations": 3})
    found = []
    for share in (None, micro_batch):
        torch.manual_seed(0)
        method = PixelClassifier()
        method.dropout.p = 0.0
        found.append(fit(squares, whole.model_copy(update={"micro_batch": share}), method=method))
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], atol=1e-6)


def test_a_loss_that_is_not_finite_names_the_images(squares, recipe):
    method = PixelClassifier()
    nn.init.constant_(method.head.weight, float("nan"))
    with pytest.raises(UserError, match=r"the loss is nan on images train\d+, train\d+"):
        fit(squares, recipe, method=method)


def test_every_image_is_seen_once_per_pass(squares, recipe):
    stream = SampleStream(TrainingView(squares, "inductive"), recipe, 0)
    passes = [[stream[k][2] for k in range(12 * epoch, 12 * (epoch + 1))] for epoch in range(3)]
    assert all(sorted(ids) == sorted(passes[0]) for ids in passes)
    assert passes[0] != passes[1]
