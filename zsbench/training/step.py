"""One step of training: micro-batches, finite checks, backward, exchange over processes, clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from zsbench.errors import UserError
from zsbench.method import Method, checked_losses, described, named
from zsbench.optimisation import MAIN, Losses, TrainingBatch
from zsbench.settings import Phase
from zsbench.training.feed import Feed
from zsbench.utils.distributed import gather


class LoopStep:
    """The present step of a loop: what `zsbench.optimisation.Step` promises.

    `wrapped`: the method as accelerate runs it. `dtype`: of autocast.
    """

    def __init__(
        self,
        method: Method,
        phase: Phase,
        optimisers: Mapping[str, Optimizer],
        feed: Feed,
        accelerator: Accelerator,
        dtype: torch.dtype,
    ) -> None:
        self.method, self.phase, self.optimisers, self.feed = method, phase, optimisers, feed
        self.accelerator, self.dtype = accelerator, dtype
        self.wrapped = accelerator.prepare(method)
        self.number = 0
        self.ids: Sequence[str] = ()

    def take(self, number: int) -> dict[str, float]:
        """Take a step: numbers for the log, with the `loss`."""
        self.number, self.ids = number, ()
        usual = type(self.method).train_step is Method.train_step
        with nullcontext() if usual else self.autocast(cache=False):  # weights move within
            found = self.method.train_step(self)
        while self.accelerator.num_processes > 1 and not usual and self.exchange(()):
            pass  # others are not done
        try:
            values = {name: as_number(value) for name, value in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{named(self.method)}: train_step: expected a dictionary of numbers for the log ({error})."
            ) from None
        return {**values, "loss": values.get("loss", sum(values.values()))}

    def autocast(self, cache: bool = True) -> torch.autocast:
        active = self.dtype != torch.float32
        return torch.autocast(self.accelerator.device.type, self.dtype, enabled=active, cache_enabled=cache)

    def batch(self) -> TrainingBatch:
        parts = [self.on_device(part) for part in self.feed.draw()]
        images, labels = (torch.cat(tensors) for tensors in list(zip(*parts, strict=True))[:2])
        self.ids = [image_id for part in parts for image_id in part.ids]
        return TrainingBatch(images, labels, list(self.ids))

    def on_device(self, batch: TrainingBatch) -> TrainingBatch:
        images, labels = (
            tensor.to(self.accelerator.device, non_blocking=True) for tensor in (batch.images, batch.labels)
        )
        return TrainingBatch(images, labels, batch.ids)

    def update(self, **losses: Tensor) -> None:
        *_, last = checked_losses(self.method, losses).values
        with torch.autocast(self.accelerator.device.type, enabled=False):
            for name, loss in losses.items():
                self.check(loss, self.ids)
                learnt = self.learnt(name)
                self.optimisers[name].zero_grad(set_to_none=True)
                self.accelerator.backward(loss, inputs=learnt, retain_graph=name != last)
        self.exchange(tuple(losses))

    def exchange(self, names: tuple[str, ...]) -> bool:
        """Average gradients over the processes that make this update (no names: not this one), and let optimisers step.

        False where no process makes one any more. Raises `UserError` where processes make different ones.
        """
        said = [names] if self.accelerator.num_processes == 1 else gather(self.accelerator, names)
        making = [each for each in said if each]
        if len(set(making)) > 1:
            raise UserError(f"{named(self.method)}: processes make different updates at once: {set(making)}.")
        for name in making[0] if making else ():
            if not names:
                self.optimisers[name].zero_grad(set_to_none=True)
            if len(said) > 1:
                average_gradients(self.learnt(name), self.accelerator, len(making))
            self.descend(name)
        return bool(making)

    def descend(self, name: str) -> None:
        """Clip the gradient of what an optimiser holds, and let it step."""
        if self.phase.recipe.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.learnt(name), self.phase.recipe.gradient_clip)
        self.optimisers[name].step()

    def learnt(self, name: str) -> list[nn.Parameter]:
        """What the optimiser of that name holds, in the order of the method."""
        if name not in self.optimisers:
            known = ", ".join(self.optimisers) or "none"
            raise UserError(f"{named(self.method)} has no optimiser {name!r} in phase {self.phase.name}: {known}.")
        held = {id(each) for group in self.optimisers[name].param_groups for each in group["params"]}
        return [each for each in self.method.parameters() if id(each) in held]

    def minimise(self) -> dict[str, float]:
        """Each loss and their sum, averaged over the micro-batches of all processes.

        Each micro-batch counts by the terms that its losses are means of, which makes the gradient that of the batch.
        """
        batches, totals = self.feed.draw(), dict[str, float]()
        counted, processes = 0.0, self.accelerator.num_processes
        whole = len(batches) * processes == 1
        self.optimisers[MAIN].zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, 1):
            # gradients are exchanged once, with the last micro-batch
            with nullcontext() if number == len(batches) else self.accelerator.no_sync(self.wrapped):
                losses = self.losses(self.on_device(batch))
                loss, terms = losses.total, losses.terms
                count = 1.0 if whole else float(len(batch.images) if terms is None else terms)
                weight = max(count, 1.0)  # losses of no terms are sums: the batch as a whole divides them
                self.accelerator.backward(loss * weight)
            counted += count
            for name, value in {**losses.values, "loss": loss}.items():
                totals[name] = totals.get(name, 0.0) + value.item() * weight
        counted, *sums = self.over_processes([counted, *totals.values()])
        counted = max(counted, 1.0)
        if not whole:
            for parameter in self.method.parameters():
                if parameter.grad is not None:
                    parameter.grad /= counted / processes  # their exchange took the mean over processes
        self.descend(MAIN)
        return {name: total / counted for name, total in zip(totals, sums, strict=True)}

    def over_processes(self, values: list[float]) -> list[float]:
        """The sum of each over all processes."""
        mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        sums: list[float] = self.accelerator.reduce(mine, "sum").tolist()
        return sums

    def losses(self, batch: TrainingBatch) -> Losses:
        """The method's losses on a micro-batch; raises `UserError` naming its images where their sum is not finite."""
        with self.autocast():
            losses = checked_losses(self.method, self.wrapped(batch.images, batch.labels))
        self.check(losses.total, batch.ids)
        return losses

    def check(self, loss: Tensor, ids: Sequence[str]) -> None:
        if not loss.requires_grad:
            raise UserError(f"{named(self.method)}: its loss does not depend on anything that it learns.")
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} on images {', '.join(ids) or 'made by the method'}. Lower the learning rate, or "
                "look at these images; the last good state is kept and --resume continues from it."
            )


def as_number(value: Tensor | float) -> float:
    """A number for the log; raises `ValueError` or `TypeError` for anything else."""
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() != 1:
        raise ValueError(described(value))
    return float(value.item())


def average_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator, among: int) -> None:
    """Give every process the mean of the gradients over `among` of them; what no process has a gradient for keeps none."""
    mine = torch.tensor([each.grad is not None for each in parameters], device=accelerator.device)
    held = accelerator.reduce(mine.int(), "sum").tolist()
    for parameter, holders in zip(parameters, held, strict=True):
        if holders:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = accelerator.reduce(gradient, "sum") / among
