"""The training loop: deterministic, and for the built-in methods exactly the loop that is written out here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from toys import Phased, PixelClassifier

import zsbench
from zsbench.checkpoint import trainable_state_dict
from zsbench.clip.text import encode_vocabulary
from zsbench.method import checked_losses
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView, default_phases
from zsbench.training.augment import augment
from zsbench.training.log import TrainingLog
from zsbench.training.loop import Session, train
from zsbench.utils.distributed import join


def fit(squares, recipe, method=None, phases=None, log=None, on_step=lambda step, losses: None, seed=0):
    torch.manual_seed(seed)
    method = method or PixelClassifier()
    phases = phases or [Phase("train", "inductive", "seen", recipe)]
    views = [(phase, TrainingView(squares, phase)) for phase in phases]
    train(method, views, lambda phase, view: None, Session(join(torch.device("cpu")), seed, log=log, on_step=on_step))
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


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_accumulated_micro_batches_give_the_gradient_of_the_batch(squares, recipe, micro_batch):
    """Cross-entropy is a mean over labelled pixels, whose number differs between images: each counts by its own."""
    whole = recipe.model_copy(update={"batch_size": 4, "iterations": 3})
    found = []
    for share in (None, micro_batch):
        torch.manual_seed(0)
        changed = whole.model_copy(update={"micro_batch": share})
        found.append(fit(squares, changed, PixelClassifier(dropout=0.0)))
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], atol=1e-6)


def plain_training(method, views, enter, recipe, seed):
    """AdamW, poly schedule with warm-up, whole batches: the loop of the released ZegCLIP, written out."""
    torch.manual_seed(seed)
    floor, warm = recipe.min_learning_rate, recipe.warmup_iterations
    for number, (phase, view) in enumerate(views):
        enter(phase, view)
        method.begin_phase(phase, view)
        method.train()
        groups = method.parameter_groups(recipe)
        peaks = [group["lr"] for group in groups]
        optimiser = torch.optim.AdamW(groups, betas=recipe.betas)
        stream_seed, steps, size = seed + 1_000_003 * number, phase.recipe.iterations, recipe.batch_size
        whole = recipe.iterations if number < len(views) - 1 else steps  # self-training goes on from half a training
        for step in range(steps):
            samples = []
            for k in range(step * size, (step + 1) * size):
                order = np.random.default_rng([stream_seed, k // len(view)]).permutation(len(view))
                sample = view[int(order[k % len(view)])]
                samples.append(augment(sample, recipe, np.random.default_rng([stream_seed, 1, k])))
            images, labels = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                rate = (peak - floor) * (1 - step / whole) ** recipe.poly_power + floor
                group["lr"] = rate * (1 - (1 - min(step / warm, 1)) * (1 - recipe.warmup_ratio)) if warm else rate
            optimiser.zero_grad()
            losses = checked_losses(method, method.losses(images, labels)).values
            torch.stack(list(losses.values())).sum().backward()
            if recipe.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(method.parameters(), recipe.gradient_clip)
            optimiser.step()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("zegclip", "inductive"),
        ("zegclip", "transductive"),
        ("zegclip", "supervised"),
        ("zsseg", "transductive"),
        ("zegformer", "inductive"),
        ("zsseg-prompts", "inductive"),
    ],
)
def test_built_in_methods_learn_exactly_what_the_loop_in_full_gives(squares, name, setting):
    """Bit by bit, from the same start."""
    pytest.importorskip("transformers")
    few = {"prompt_length": 2} if name == "zsseg-prompts" else {}
    start = zsbench.load_method(name, "miniworld", options=few, device="cpu").method
    options = start.Options.preset("miniworld")
    recipe = Recipe(**{**options.recipe, **squares.defaults.recipe, "iterations": 5, "warmup_iterations": 2})
    found = []
    for way in (fitted, plain_training):
        torch.manual_seed(3)
        method = type(start)(start.clip, start.options)
        views = [(phase, TrainingView(squares, phase)) for phase in default_phases(setting, recipe)]

        def enter(phase, view, method=method):
            method.set_vocabulary(encode_vocabulary(method.clip, view.names, view.seen))

        way(method, views, enter, recipe, 3)
        found.append(trainable_state_dict(method))
    assert same(*found)
    assert not same(found[0], trainable_state_dict(start))


def fitted(method, views, enter, recipe, seed):
    train(method, views, enter, Session(join(torch.device("cpu")), seed))


def test_a_method_says_its_phases_its_optimisers_and_its_steps(squares, tmp_path):
    recipe = Recipe(**{**squares.defaults.recipe, "warmup_iterations": 0, "learning_rate": 0.1, "min_learning_rate": 0})
    torch.manual_seed(0)
    method, log = Phased(), tmp_path / "log.jsonl"
    before = trainable_state_dict(method)["generator.weight"].clone()
    phases = method.phases("inductive", recipe, None)
    views = [(phase, TrainingView(squares, phase, folder=tmp_path / phase.name)) for phase in phases]
    entered = []
    train(
        method,
        views,
        lambda phase, view: entered.append((phase.name, view.names)),
        Session(join(torch.device("cpu")), 0, log=log),
    )
    assert entered == [(name, squares.classes) for name in ("usual", "generate", "imitate")]
    assert not torch.equal(method.generator.weight, before)
    (teacher,) = method.teacher
    assert not teacher.training and not any(each.requires_grad for each in teacher.parameters())
    assert not any("teacher" in key for key in trainable_state_dict(method))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    named = [line.keys() - {"step", "seconds", "lr", "loss"} for line in lines]
    assert named == [{"ce"}] * 4 + [{"ce"}, {"fake"}] * 4
    poly = [0.1 * (1 - step / 4) ** 0.9 for step in range(4)]
    assert [line["lr"] for line in lines[:4]] == pytest.approx(poly)
    assert [line["lr"] for line in lines[4:8]] == pytest.approx([poly[0], poly[0], poly[2], poly[2]])


def test_a_group_may_keep_its_rate_and_a_schedule_wait_for_a_pass(squares, recipe):
    class Rates(PixelClassifier):
        def parameter_groups(self, recipe):
            return [
                {"params": [self.head.weight], "lr": 0.1},
                {"params": [self.head.bias], "lr": 0.3, "scheduled": False},
            ]

        def optimisers(self, phase):
            self.made = dict(super().optimisers(phase))
            return self.made

    method, rates = Rates(), []
    changed = recipe.model_copy(update={"schedule_every": "epoch", "batch_size": 4, "min_learning_rate": 0.0})
    fit(
        squares,
        changed,
        method,
        on_step=lambda step, losses: rates.append([group["lr"] for group in method.made["main"].param_groups]),
    )
    passes = [0.1 * (1 - 3 * epoch / 12) ** 0.9 for epoch in range(4) for _ in range(3)]  # 12 images in 3 steps
    assert [rate for rate, _ in rates] == pytest.approx(passes)
    assert {rate for _, rate in rates} == {0.3}


def test_a_log_is_that_of_one_training_across_a_resume_and_phases_that_ended_early(tmp_path):
    path = tmp_path / "train.jsonl"
    for done, steps in ((0, (0, 1, 6, 7)), (7, (7, 8))):  # the first phase of six steps ended after two
        log = TrainingLog(path, done)
        for step in steps:
            log.write(step, {"loss": float(step + done)})
        with path.open("a") as stream:
            stream.write('{"step": 9, "lo')  # cut off
    assert [json.loads(line) for line in path.read_text().splitlines()[:-1]] == [
        {"step": step, "loss": loss} for step, loss in ((0, 0.0), (1, 1.0), (6, 6.0), (7, 14.0), (8, 15.0))
    ]
