"""What a trial is believed: its one-off costs are no part of a long run, and it never takes long itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zsbench.method import Method
from zsbench.recipe import Recipe
from zsbench.runs import estimate
from zsbench.runs.estimate import MANY, QUICK_SECONDS, SEGMENTS, seconds_for, training_seconds
from zsbench.settings import default_phases

CPU = torch.device("cpu")
SECONDS = st.integers(0, 64 * 100).map(lambda count: count / 64)  # sums of them are exact


class Work:
    """Takes `once` in its first call of each size, and `call` and `image` seconds in each for itself and for each image."""

    def __init__(self, once: float, call: float, image: float) -> None:
        self.once, self.call, self.image = once, call, image
        self.spent: list[float] = []
        self.sizes: set[int] = set()

    def __call__(self, count: int) -> None:
        self.spent.append(self.call + count * self.image + (0 if count in self.sizes else self.once))
        self.sizes.add(count)

    def perf_counter(self) -> float:
        return sum(self.spent)


@given(SECONDS, SECONDS, SECONDS, st.integers(1, 10_000), st.integers(1, 32))
def test_trials_are_fair_and_short(once, call, image, images, batch):
    work = Work(once, call, image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "time", SimpleNamespace(perf_counter=work.perf_counter))
        found = seconds_for(work, images, batch, CPU) / images
    warm, exact = call + image, {"rel": 1e-6, "abs": 1e-6}
    assert sum(work.spent) <= 2 * work.spent[0] + 2 * QUICK_SECONDS
    if warm * batch <= QUICK_SECONDS and (images >= MANY or once + warm <= QUICK_SECONDS):
        assert found == pytest.approx(call / batch + image, **exact)  # as the run will do it
    elif images >= MANY:
        assert found == pytest.approx(warm, **exact)
    if len(work.spent) == 1:
        assert images < MANY and found > QUICK_SECONDS


def test_made_up_labels_are_like_photographs():
    seen = []

    class Watching(Method):
        trainable = True

        def predict(self, images):
            raise NotImplementedError

        def losses(self, images, labels):
            seen.extend(labels)
            return {"none": images.sum().requires_grad_()}

    method = Watching(None, None)
    method.vocabulary = range(171)
    training_seconds(method, default_phases("transductive", Recipe(crop=50, batch_size=4, iterations=10)), CPU)
    assert {len(label) for label in seen} == {50} and len(seen) == 1 + 1 + 4 + 4
    assert all(1 < len(label.unique()) <= SEGMENTS**2 for label in seen)
