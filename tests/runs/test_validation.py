"""Validation in a run: on training images that are not learnt from, among seen names, and never a word of the unseen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import Squares

from zsbench import registry
from zsbench.checkpoint import read_checkpoint
from zsbench.clip.text import Vocabulary
from zsbench.dataset import IGNORE, EvalProtocol
from zsbench.errors import UserError
from zsbench.method import Method, Options, Scoring
from zsbench.runs import execution
from zsbench.runs.calibration import plan_calibration
from zsbench.runs.execution import execute
from zsbench.runs.folder import BEST, CHECKPOINT, CURVES
from zsbench.runs.plan import make_plan
from zsbench.runs.request import CalibrationRequest, Request
from zsbench.runs.validation import HeldOut, seen_only
from zsbench.settings import Phase, TrainingView
from zsbench.utils.distributed import join


class Told(Options):
    calibration: float = 0.0


class Mapped(Method):
    """Learns a linear map from pixel to text embedding; remembers what it was shown and told."""

    name, trainable, Options = "mapped", True, Told
    shown: set[str] = set()
    told: set[tuple[str, ...]] = set()

    def __init__(self, clip, options):
        super().__init__(clip, options)
        self.map = nn.Conv2d(3, clip.dim, 1)

    def predict(self, images):
        return torch.einsum("bdhw,cd->bchw", self.map(images), self.vocabulary.embeddings)

    def train_step(self, step):
        found = super().train_step(step)
        self.shown.update(step.ids)
        return found

    def losses(self, images, labels):
        self.told.add(self.vocabulary.words)
        return {"ce": F.cross_entropy(self.predict(images), labels.clamp(min=-1), ignore_index=IGNORE)}


class Learnt(Squares):
    """Its unseen class and its test split may be looked at by the evaluation alone."""

    reads: list[tuple[str, str]] = []

    def read(self, split, image_id):
        self.reads.append((split, image_id))
        return super().read(split, image_id)


@pytest.fixture
def request_of(tmp_path, tiny_clip_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load_method_class", {"mapped": Mapped}.__getitem__)
    monkeypatch.setattr(registry, "load_options", lambda name: Told)
    monkeypatch.setattr(registry, "load_dataset_class", lambda name: Learnt)
    monkeypatch.setattr(execution, "evaluation_seconds", lambda *_: 0.0)
    monkeypatch.setattr(execution, "training_seconds", lambda *_: 0.0)
    Mapped.shown, Mapped.told, Learnt.reads = set(), set(), []
    common = {"method": "mapped", "dataset": "squares", "clip": tiny_clip_config, "weights": "random", "device": "cpu"}

    def make(verb, model=Request, recipe=None, **given):
        recipe = {"iterations": 6, "learning_rate": 0.05, "warmup_iterations": 0, **(recipe or {})}
        return model.of(verb, {**common, **({} if verb == "eval" else {"recipe": recipe}), **given})

    return make


@pytest.fixture
def run(request_of):
    def carry_out(verb="run", **given):
        return execute(make_plan(verb, request_of(verb, **given)), profile=False)

    return carry_out


def test_the_last_training_images_are_held_out_and_no_test_image_is_read(run):
    done = run("train", recipe={"validate_every": 2})
    trained_on = {f"train{number}" for number in range(10)}
    assert Mapped.shown <= trained_on
    assert {split for split, _ in Learnt.reads} == {"train"}
    assert ("train", "train11") in Learnt.reads
    info, last = read_checkpoint(done.out / CHECKPOINT)
    best, weights = read_checkpoint(done.out / BEST)
    assert (info.validation.weights, best.validation.weights) == ("last", "best")
    assert list(info.validation.history) == [2, 4, 6] and info.validation.images == 2
    assert info.validation.metric == "mIoU_S" and info.validation.best == max(info.validation.history.values())
    assert best.validation.best_step == max(best.validation.history, key=best.validation.history.get)
    assert weights.keys() == last.keys() and (done.out / CURVES).stat().st_size > 10_000


def test_no_validation_learns_from_all_and_validation_changes_no_weight_of_the_same_images(run, tmp_path):
    plain = run("train", out=tmp_path / "plain")
    assert {image for _, image in Learnt.reads} >= {"train10", "train11"}
    assert not (plain.out / BEST).exists()
    few = run("train", out=tmp_path / "few", recipe={"validate_every": 100}).out
    many = run("train", out=tmp_path / "many", recipe={"validate_every": 1}).out
    learnt = [read_checkpoint(out / CHECKPOINT)[1] for out in (few, many)]
    assert all(torch.equal(tensor, learnt[1][name]) for name, tensor in learnt[0].items())


@pytest.mark.parametrize("evaluated", ["last", "best"])
def test_the_result_says_which_weights_were_evaluated(run, tmp_path, evaluated, monkeypatch):
    found = iter([50.0, 40.0, 30.0])
    monkeypatch.setattr(HeldOut, "scores", lambda self, rows: {"mIoU_S": next(found)})
    result = run(out=tmp_path / "a", recipe={"validate_every": 2, "evaluated": evaluated}).result
    alone = {
        which: run("eval", checkpoint=tmp_path / "a" / name, out=tmp_path / which).result
        for which, name in (("last", CHECKPOINT), ("best", BEST))
    }
    assert result.training.validation.weights == evaluated and result.training.validation.best_step == 2
    assert result.method.checkpoint_sha256 == alone[evaluated].method.checkpoint_sha256
    assert result.records_sha256 == alone[evaluated].records_sha256
    assert alone["best"].training.validation.weights == "best"


def test_patience_is_said_and_recorded(run, monkeypatch, tmp_path):
    found = iter([50.0, 40.0, 30.0])
    monkeypatch.setattr(HeldOut, "scores", lambda self, rows: {"mIoU_S": next(found)})
    done = run(recipe={"validate_every": 1, "patience": 2})
    assert done.result.training.validation.ended_early == [3]
    assert [json.loads(line)["step"] for line in (done.out / "train.jsonl").read_text().splitlines()] == [0, 1, 2]
    assert "this phase ends at step 3" in (done.out / "run.log").read_text()


@pytest.mark.parametrize("entry", ["patience", "validate_images", "evaluated"])
def test_what_needs_validation_says_so(run, entry):
    value = "best" if entry == "evaluated" else 3
    with pytest.raises(UserError, match=f"{entry} says something of validation.*validate_every"):
        run(recipe={entry: value})


def test_holding_all_out_is_refused(run):
    with pytest.raises(UserError, match="-r validate_images 12: squares has 12 training images; leave some"):
        run(recipe={"validate_every": 1, "validate_images": 12})


@pytest.mark.parametrize("setting", ["inductive", "transductive", "supervised"])
def test_no_unseen_name_competes_and_no_unseen_pixel_counts(request_of, setting, tiny_clip):
    """Whatever the setting: a method that calls every pixel blue, which is unseen, is measured as if it had never heard of
    blue, and pixels that are blue are as if nobody had labelled them."""
    plan = make_plan("train", request_of("train", setting=setting, recipe={"validate_every": 1}))
    held = HeldOut.of(plan, tiny_clip, join(torch.device("cpu")))
    assert held.view.names == ("grey", "red", "green") and len(held.view) == 2

    class Blue(Method):
        Options, name = Options, "blue"
        palette = torch.tensor(Squares.palette) / 255

        def predict(self, images):
            distances = (images[:, None] - self.palette[None, :, :, None, None]).square().sum(2)
            return torch.cat([-distances[:, : len(self.vocabulary) - 1], torch.full_like(distances[:, :1], 9.0)], 1)

    method = Blue(None, None)
    method.set_vocabulary(Vocabulary(Squares.classes, torch.eye(4), torch.tensor([True, True, True, False])))
    assert held(method, lambda: False) == {"mIoU_S": 100.0}
    assert held(method, lambda: True) is None


def test_only_seen_words_compete_under_any_scores():
    class Own(Method):
        def predict(self, images):
            return images

        @property
        def scoring(self):
            return Scoring(sigmoid=True, class_bias=torch.tensor([0.1, 0.2, 0.3, 0.4]))

    class OwnScore(Own):
        def score(self, logits, classes):
            return logits * torch.arange(4.0)[classes, None, None]

    told = Vocabulary(("a", "b", "c", "d"), torch.eye(4), torch.tensor([True, False, True, False]))
    logits = torch.randn(1, 4, 2, 2)
    for kind in (Own, OwnScore):
        inner = kind(None, None)
        inner.set_vocabulary(told)
        outer = seen_only(inner)
        assert torch.equal(outer.predict(logits), logits[:, [0, 2]]) and outer.vocabulary.words == ("a", "c")
        whole = inner.score(logits, slice(0, 4))[:, [0, 2]]
        assert torch.equal(outer.score(logits[:, [0, 2]], slice(0, 2)), whole)
        assert torch.equal(outer.score(logits[:, [2]], slice(1, 2)), whole[:, [1]])


def test_stand_ins_of_a_calibration_are_looked_for_and_their_names_are_told_in_validation_alone(request_of):
    request = request_of("calibrate", CalibrationRequest, recipe={"validate_every": 3}, stand_ins="green", held_out=4)
    plan = plan_calibration(request)
    assert len(plan.eval_ids) == 4 and len(plan.validation_ids) == 1 and len(plan.train_ids) == 7
    assert not set(plan.validation_ids) & {*plan.eval_ids, *plan.train_ids}
    done = execute(plan, profile=False)
    assert Mapped.told == {("grey", "red")}
    found = done.result.training.validation
    assert found.metric in ("hIoU", "mIoU_S") and list(found.history) == [3, 6]


def test_sliding_windows_and_background_by_threshold_are_those_of_the_protocol(request_of, tiny_clip, monkeypatch):
    protocol = EvalProtocol(short_side=None, crop=16, stride=8)
    plan = make_plan("train", request_of("train", recipe={"validate_every": 1, "validate_images": 3}))
    held = HeldOut(
        TrainingView(plan.dataset, Phase("v", "inductive", "seen", plan.recipe), plan.validation_ids),
        protocol,
        join(torch.device("cpu")),
        torch.float32,
        2,
    )
    sizes = []

    class Watching(Mapped):
        def predict(self, images):
            sizes.append(tuple(images.shape[-2:]))
            return super().predict(images)

    method = Watching(tiny_clip, Told())
    method.set_vocabulary(
        Vocabulary(held.view.names, F.normalize(torch.randn(3, tiny_clip.dim)), torch.ones(3, dtype=bool))
    )
    found = held(method, lambda: False)
    assert set(sizes) == {(16, 16)} and 0 <= found["mIoU_S"] <= 100 and np.isfinite(found["mIoU_S"])
