"""What a step of training is made of: a batch, losses, and updates by the optimisers that a recipe describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from zsbench.recipe import Recipe
from zsbench.settings import Phase

MAIN = "main"
"""The optimiser of a method that has but one."""


class TrainingBatch(NamedTuple):
    """`images`: float32 (B, 3, H, W), RGB in 0..1. `labels`: int64 (B, H, W): an index into the present vocabulary,
    `zsbench.dataset.IGNORE` or `UNLABELLED`. `ids`: of the images."""

    images: Tensor
    labels: Tensor
    ids: list[str]


@dataclass(frozen=True, eq=False)
class Losses:
    """Named scalars, each the mean of `terms` things (pixels, segments): int64 (), None for the images themselves.

    Micro-batches are weighted by it, so that their accumulated gradient is that of the whole batch. Where there are 0, the
    scalars are sums, which the batch as a whole divides.
    """

    values: Mapping[str, Tensor]
    terms: Tensor | None = None

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.values.values())).sum()


class Step(Protocol):
    """One step of training, as the harness hands it to `Method.train_step`. `number`: from 0, within its phase."""

    phase: Phase
    number: int

    def batch(self) -> TrainingBatch:
        """The next batch, read when it is asked for: a step may take none, or several."""

    def update(self, **losses: Tensor) -> None:
        """Let each optimiser take a step down the loss of its name; as often as a step likes.

        Of each loss, only what its own optimiser holds gets a gradient. All gradients are computed before anything moves, so
        that losses may share what they were computed from. Gradients are averaged over the processes that make this update.
        Raises `UserError` naming the images where a loss is not finite.
        """

    def minimise(self) -> Mapping[str, float]:
        """The usual step: a batch, in micro-batches, through `Method.losses`, and an update of the optimiser `main`."""


def build_optimiser(recipe: Recipe, groups: Iterable[Any]) -> Optimizer:
    """The optimiser of a recipe for parameters, or groups of them: `params`, and what else is their own (`lr`, ...).

    The harness moves the rate of each by the schedule, except where a group says `scheduled=False`.
    """
    usual: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "sgd":
        return SGD(groups, momentum=recipe.momentum, **usual)
    kind = AdamW if recipe.optimiser == "adamw" else Adam
    return kind(groups, betas=recipe.betas, **usual)
