"""The course of a training that is looked at now and then: what was found, the best so far, and whether to go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from zsbench.checkpoint import trainable_state_dict
from zsbench.method import Method

Scores = Mapping[str, float]
"""Metrics in percent by name, the first of which decides."""


class Measure(Protocol):
    """Measures a method on what it does not learn from."""

    def __call__(self, method: Method, ends: Callable[[], bool]) -> Scores | None:
        """The scores of `method`, which may be changed; None as soon as `ends`."""


@dataclass
class Course:
    """What validations have found; kept with the state of a training.

    `history`: steps over all phases, and what was found after each. `best`: `step`, `value`, `phase` and `weights` of the
    best one; a phase begins anew, as only the last one leaves a method that has learnt all it shall. `waited`: validations
    since then. `ended`: the steps at which phases ended early.
    """

    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    waited: int = 0
    ended: list[int] = field(default_factory=list)

    @property
    def at(self) -> int:
        """The step of the latest validation; 0 before the first."""
        return self.history[-1][0] if self.history else 0

    def record(self, step: int, phase: int, scores: Scores, method: Method) -> bool:
        """Note what was found after a step of a phase; whether it is the best of the phase so far."""
        self.history.append((step, dict(scores)))
        value = next(iter(scores.values()))
        better = self.best is None or self.best["phase"] != phase or value > self.best["value"]
        self.waited = 0 if better else self.waited + 1
        if better:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in trainable_state_dict(method).items()}
            self.best = {"step": step, "phase": phase, "value": value, "weights": weights}
        return better

    def content(self) -> dict[str, Any]:
        """What `Course(**content)` is made of again."""
        return dict(vars(self))


@dataclass(frozen=True)
class Validation:
    """How a training is looked at: after `every` so many steps and after its last. `patience`: validations without a better
    one after which a phase ends. `on_best` is given the course whenever it has a new best, `on_found` after each."""

    measure: Measure
    every: int
    patience: int | None = None
    on_best: Callable[[Course], None] = lambda course: None
    on_found: Callable[[Course], None] = lambda course: None

    def due(self, step: int, last: int, course: Course) -> bool:
        return step > course.at and (step % self.every == 0 or step == last)

    def over(self, course: Course) -> bool:
        """Whether the present phase has gone on for long enough without a better validation."""
        return self.patience is not None and course.waited >= self.patience

    def look(self, method: Method, step: int, phase: int, course: Course, ends: Callable[[], bool]) -> bool:
        """Measure a copy of `method`, of which nothing changes, and note what was found; whether it `ends` meanwhile.

        Neither are numbers drawn: the training goes on to the same weights as without.
        """
        with undisturbed(next(method.parameters()).device):
            scores = self.measure(method.frozen_copy(), ends)
        if scores is None:
            return True
        if course.record(step, phase, scores, method):
            self.on_best(course)
        if self.over(course):
            course.ended.append(step)
        self.on_found(course)
        return False


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Within, random numbers may be drawn; afterwards the generators of the CPU and of `device` are as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
