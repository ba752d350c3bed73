"""Looks at what a method descends in each phase of its training, before and after: at the same images, with nothing moving.

A loss of one batch after the other would say little in a short run: no two have the same classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from statistics import fmean

import pytest
import torch
from torch import Tensor

from zsbench.method import Method, checked_losses
from zsbench.optimisation import TrainingBatch
from zsbench.settings import Phase
from zsbench.training.loop import PhaseLoop
from zsbench.training.rehearsal import rehearsal

BATCHES = 2
"""The last ones of a phase are looked at."""

Looks = dict[str, tuple[dict[str, float], dict[str, float]]]
"""By the name of a phase each loss before it, and after it."""


@dataclass
class Look:
    """A `zsbench.optimisation.Step` on a given batch. What each optimiser would descend is noted beside the losses."""

    method: Method
    phase: Phase
    number: int
    given: TrainingBatch
    noted: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def batch(self) -> TrainingBatch:
        return self.given

    def update(self, **losses: Tensor) -> None:
        for name, loss in losses.items():
            self.noted[f"of the {name}"].append(loss.item())

    def minimise(self) -> Mapping[str, Tensor]:
        return checked_losses(self.method, self.method.losses(self.given.images, self.given.labels)).values


def looked(method: Method, loop: PhaseLoop) -> dict[str, float]:
    """The mean of each loss over the last batches of a phase, with the same random numbers each time."""
    size, drawn = loop.phase.recipe.batch_size, loop.feed.drawn
    noted: dict[str, list[float]] = defaultdict(list)
    with rehearsal(method), torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for number, batch in enumerate(range(max(0, drawn - BATCHES), drawn)):
            samples = [loop.feed.stream[place] for place in range(size * batch, size * (batch + 1))]
            images, labels, ids = zip(*samples, strict=True)
            look = Look(method, loop.phase, number, TrainingBatch(torch.stack(images), torch.stack(labels), ids))
            for name, loss in method.train_step(look).items():
                noted[name].append(float(loss))
            for name, losses in look.noted.items():
                noted[name] += losses
    return {name: fmean(losses) for name, losses in noted.items()}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """What is found in the phases of a training that the test starts."""
    found: Looks = {}
    steps = PhaseLoop.run

    def run(loop: PhaseLoop) -> Iterator[tuple[int, dict[str, float]]]:
        before = deepcopy(loop.method)
        yield from steps(loop)
        found[loop.phase.name] = looked(before, loop), looked(loop.method, loop)

    monkeypatch.setattr(PhaseLoop, "run", run)
    return found


def told(phase: str, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """A line of the losses of a phase."""
    return f"{phase}:  " + ",  ".join(f"{name} {before[name]:.4g} > {after[name]:.4g}" for name in before)
