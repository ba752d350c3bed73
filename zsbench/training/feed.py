"""The training images of a phase, augmented, in batches of this process."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from zsbench.errors import UserError
from zsbench.optimisation import TrainingBatch
from zsbench.recipe import Recipe
from zsbench.settings import TrainingView
from zsbench.training.augment import augment
from zsbench.utils.interruption import leave_to_parent
from zsbench.utils.parallel import next_read


class SampleStream(Dataset[TrainingBatch]):
    """Augmented training samples by running number: an endless sequence of shuffled passes over a view.

    Sample `k` is a function of `(seed, k)` alone, so a run resumes anywhere and any number of processes read the same.
    """

    def __init__(self, view: TrainingView, recipe: Recipe, seed: int) -> None:
        if not len(view):
            raise UserError("the training split is empty; check --data-root and --limit.")
        view.check_labels()
        self.view, self.recipe, self.seed = view, recipe, seed

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, str]:  # type: ignore[override]  # batched later
        epoch, position = divmod(number, len(self.view))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.view))
        sample = self.view[int(order[position])]
        image, label = augment(sample, self.recipe, np.random.default_rng([self.seed, 1, number]))
        return image, label, sample.id


class Feed:
    """Batch after batch of a stream, in micro-batches. `drawn`: how many batches have been taken.

    Of each batch, which all processes share, this one takes a contiguous part. Raises `UserError` where it cannot be shared.
    """

    def __init__(self, stream: SampleStream, accelerator: Accelerator) -> None:
        recipe = stream.recipe
        self.stream, self.accelerator, self.total, self.drawn = stream, accelerator, recipe.batch_size, 0
        self.local, rest = divmod(recipe.batch_size, accelerator.num_processes)
        if rest:
            raise UserError(
                f"--batch-size {recipe.batch_size} cannot be shared by {accelerator.num_processes} processes."
            )
        self.micro_batch = min(recipe.micro_batch or self.local, self.local)
        self._parts: Iterator[tuple[torch.Tensor, torch.Tensor, list[str]]] | None = None

    def draw(self) -> list[TrainingBatch]:
        """The micro-batches of the next batch; the first call starts reading."""
        if self._parts is None:
            self._parts = iter(self.loader())
        self.drawn += 1
        return [TrainingBatch(*next_read(self._parts)) for _ in range(math.ceil(self.local / self.micro_batch))]

    def loader(self) -> DataLoader[TrainingBatch]:
        workers = self.stream.recipe.workers
        return DataLoader(
            self.stream,
            batch_sampler=self.numbers(self.drawn),
            num_workers=workers,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # of its own, so that reading draws nothing from the random state of dropout
            prefetch_factor=4 if workers else None,
            worker_init_fn=leave_to_parent,
        )

    def numbers(self, drawn: int) -> Iterator[list[int]]:
        """The samples of each micro-batch, from the first of batch `drawn` on."""
        for batch in itertools.count(drawn):
            begin = batch * self.total + self.accelerator.process_index * self.local
            for at in range(0, self.local, self.micro_batch):
                yield list(range(begin + at, begin + min(at + self.micro_batch, self.local)))
