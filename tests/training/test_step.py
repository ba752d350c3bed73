"""One step: gradients of the whole batch, of each optimiser its own, and never one that is not finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toys import PixelClassifier

from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.optimisation import build_optimiser
from zsbench.recipe import Recipe
from zsbench.settings import Phase, TrainingView
from zsbench.training.feed import Feed, SampleStream
from zsbench.training.step import LoopStep
from zsbench.utils.distributed import join


class Pair(Method):
    """Two layers, one on the other, each with an optimiser of its own."""

    trainable = True

    def __init__(self, train_step):
        super().__init__(None, None)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.work = train_step

    def predict(self, images):
        return self.second(self.first(images))

    def optimisers(self, phase):
        sgd = Recipe(optimiser="sgd", momentum=0, weight_decay=0, learning_rate=0.5)
        return {
            name: build_optimiser(sgd, [{"params": getattr(self, name).parameters()}]) for name in ("first", "second")
        }

    def train_step(self, step):
        return self.work(self, step)


def loop_step(squares, method, **changes):
    recipe = Recipe(**{**squares.defaults.recipe, **changes})
    phase = Phase("train", "inductive", "seen", recipe)
    accelerator = join(torch.device("cpu"))
    feed = Feed(SampleStream(TrainingView(squares, phase), recipe, 0), accelerator)
    return LoopStep(method, phase, dict(method.optimisers(phase)), feed, accelerator, torch.float32)


def losses_of(method, data):
    hidden = method.first(data)
    return hidden.square().mean(), (method.second(hidden) - 1).square().mean()


def test_updates_at_once_give_each_optimiser_the_gradient_of_its_own_loss_alone(squares):
    """Both losses come from one pass, and the second one's gradient is taken before the first moved anything."""
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    def together(method, step):
        first, second = losses_of(method, data)
        step.update(first=first, second=second)
        return {"first": first, "second": second}

    method = Pair(together)
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    first, second = losses_of(method, data)
    gradients = [
        *torch.autograd.grad(first, list(method.first.parameters()), retain_graph=True),
        *torch.autograd.grad(second, list(method.second.parameters())),
    ]
    expected = dict(zip(before, gradients, strict=True))
    logged = loop_step(squares, method).take(0)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - 0.5 * expected[name])
    assert logged == pytest.approx({"first": first.item(), "second": second.item(), "loss": (first + second).item()})


def test_an_update_as_often_as_a_step_likes(squares):
    def often(method, step):
        for _ in range(5):
            loss = losses_of(method, torch.zeros(1, 3))[1]
            step.update(second=0.2 * loss)
        return {"last": loss}

    method = Pair(often)
    frozen = method.first.weight.clone()
    loss = losses_of(method, torch.zeros(1, 3))[1].item()
    assert loop_step(squares, method).take(0)["last"] < 0.5 * loss
    assert torch.equal(method.first.weight, frozen)


def test_each_optimiser_is_clipped_on_its_own(squares):
    def together(method, step):
        first, second = losses_of(method, 100 * torch.ones(1, 3))
        step.update(first=first, second=second)
        return {}

    method = Pair(together)
    before = {name: getattr(method, name).weight.detach().clone() for name in ("first", "second")}
    loop_step(squares, method, gradient_clip=0.1).take(0)
    for name, weight in before.items():
        moved = torch.cat([(getattr(method, name).weight - weight).flatten()]).norm().item()
        assert 0.9 * 0.05 < moved <= 0.05 * 1.01  # rate times bound


def test_an_unknown_optimiser_is_named(squares):
    def wrong(method, step):
        step.update(third=method.first.weight.sum())

    with pytest.raises(UserError, match="method 'Pair' has no optimiser 'third' in phase train: first, second"):
        loop_step(squares, Pair(wrong)).take(0)


def test_a_batch_is_that_of_all_micro_batches(squares):
    found = []

    def look(method, step):
        found.append(step.batch())
        return {}

    for micro_batch in (None, 3):
        loop_step(squares, Pair(look), batch_size=4, micro_batch=micro_batch).take(0)
    whole, parts = found
    assert torch.equal(whole.images, parts.images) and torch.equal(whole.labels, parts.labels)
    assert whole.ids == parts.ids and whole.images.shape == (4, 3, 32, 32)


def not_finite(method, step):
    step.batch()
    step.update(first=method.first.weight.sum() * float("nan"))


def test_a_loss_that_is_not_finite_names_the_images_and_moves_nothing(squares):
    usual = PixelClassifier()
    nn.init.constant_(usual.head.weight, float("nan"))
    with pytest.raises(UserError, match=r"the loss is nan on images train\d+, train\d+"):
        loop_step(squares, usual).take(0)
    method = Pair(not_finite)
    before = method.first.weight.clone()
    with pytest.raises(UserError, match=r"the loss is nan on images train\d+, train\d+"):
        loop_step(squares, method).take(0)
    assert torch.equal(method.first.weight, before)
