"""The training loop: phases, schedule, checkpoints to resume from, a log of every step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.errors import UserError
from zsbench.method import Losses, Method
from zsbench.recipe import Recipe, learning_rate
from zsbench.settings import Phase, TrainingView
from zsbench.training.augment import augment
from zsbench.training.log import TrainingLog
from zsbench.utils.distributed import gather, on_main_then_broadcast
from zsbench.utils.files import write_atomically

SAVE_EVERY_SECONDS = 60.0
Progress = Callable[[int, dict[str, float]], None]


class SampleStream(Dataset[tuple[Tensor, Tensor, str]]):
    """Augmented training samples by running number: an endless sequence of shuffled passes over a view.

    Sample `k` is a function of `(seed, k)` alone, so a run resumes anywhere and any number of processes read the same.
    """

    def __init__(self, view: TrainingView, recipe: Recipe, seed: int) -> None:
        if not len(view):
            raise UserError("the training split is empty; check --data-root and --limit.")
        view.check_labels()
        self.view, self.recipe, self.seed = view, recipe, seed

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, str]:
        epoch, position = divmod(number, len(self.view))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.view))
        sample = self.view[int(order[position])]
        image, label = augment(sample, self.recipe, np.random.default_rng([self.seed, 1, number]))
        return image, label, sample.id


@dataclass
class TrainingState:
    """Where training stands; with the optimiser and random state it is what `--resume` continues from."""

    path: Path | None
    fingerprint: str
    dtype: torch.dtype = torch.float32
    phase: int = 0
    step: int = 0
    saved: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() - self.saved > SAVE_EVERY_SECONDS

    def save(self, method: nn.Module, optimiser: torch.optim.Optimizer, accelerator: Accelerator) -> None:
        """Called by all processes, whose random states differ; the main one writes."""
        if self.path is None:
            return
        self.saved = time.monotonic()
        random = gather(accelerator, random_state(accelerator.device))
        if not accelerator.is_main_process:
            return
        content = {
            "fingerprint": self.fingerprint,
            "phase": self.phase,
            "step": self.step,
            "method": trainable_state_dict(method),
            "optimiser": optimiser.state_dict(),
            "random": random,
        }
        write_atomically(self.path, lambda temporary: torch.save(content, temporary))

    def load(self) -> dict[str, Any] | None:
        """The stored content if there is one for this very run, else None."""
        if self.path is None or not self.path.exists():
            return None
        content: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
        if content["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{self.path} belongs to a run with other settings. Give the same settings to resume it, or another --out."
            )
        self.phase, self.step = content["phase"], content["step"]
        return content


def train(
    method: Method,
    phases: tuple[tuple[Phase, TrainingView], ...],
    enter_phase: Callable[[Phase, TrainingView], None],
    recipe: Recipe,
    seed: int,
    accelerator: Accelerator,
    state: TrainingState,
    log: Path | None = None,
    on_step: Progress = lambda step, losses: None,
) -> None:
    """Train `method` in place.

    `enter_phase` tells the method the phase's vocabulary. `state.path` receives what is needed to resume, every minute and
    at the end. `log` receives one JSON line a step. Raises `UserError` where the loss is not finite, naming the images.
    Several processes share each batch and give the gradient of the whole, up to rounding; dropout differs.
    """
    stored = state.load()
    torch.manual_seed(seed + 7_919 * accelerator.process_index)
    done = sum(phase.iterations for phase, _ in phases[: state.phase])
    writer = TrainingLog(log, done + state.step) if log is not None and accelerator.is_main_process else None
    for number, (phase, view) in enumerate(phases):
        if number < state.phase:
            continue
        enter_phase(phase, view)
        start = state.step if number == state.phase else 0
        state.phase = number
        optimiser = torch.optim.AdamW(method.parameter_groups(recipe), betas=recipe.betas)
        stream = SampleStream(view, recipe, seed + 1_000_003 * number)
        loop = PhaseLoop(method, optimiser, recipe, phase.iterations, accelerator, state.dtype)
        if stored is not None:  # after the loop has noted the peak rates: the stored groups hold scheduled ones
            restore(method, optimiser, stored, state, accelerator)
            stored = None
        for step, losses in loop.run(stream, start):
            state.step = step + 1
            on_step(done + step + 1, losses)
            if writer is not None:
                writer.write(done + step, losses)
            if on_main_then_broadcast(accelerator, state.due):
                state.save(method, optimiser, accelerator)
        done += phase.iterations
        state.step = phase.iterations
        state.save(method, optimiser, accelerator)
        loop.close()
    for tensor in trainable_state_dict(method).values():
        broadcast(tensor)  # equal weights already, but buffers are each process's own


def restore(
    method: Method,
    optimiser: torch.optim.Optimizer,
    stored: dict[str, Any],
    state: TrainingState,
    accelerator: Accelerator,
) -> None:
    """Put weights, moments and random state back as `TrainingState.save` found them.

    A process that the stored run did not have starts with a random state of its own.
    """
    load_trainable_state_dict(method, stored["method"], str(state.path))
    optimiser.load_state_dict(stored["optimiser"])
    if accelerator.process_index < len(stored["random"]):
        cpu, cuda = stored["random"][accelerator.process_index]
        torch.set_rng_state(cpu)
        if cuda is not None and accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, accelerator.device)


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The states of this process's generators, of the CPU and of its CUDA device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


class PhaseLoop:
    """Steps of one phase: micro-batches, backward, clip, schedule."""

    def __init__(
        self,
        method: Method,
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
        iterations: int,
        accelerator: Accelerator,
        dtype: torch.dtype,
    ) -> None:
        self.recipe, self.iterations, self.accelerator, self.dtype = recipe, iterations, accelerator, dtype
        self.peaks = [group["lr"] for group in optimiser.param_groups]
        method.train()
        self.method, self.optimiser = accelerator.prepare(method, optimiser)

    def close(self) -> None:
        """Take the distributed wrapper off, and with it what it hooked into the parameters."""
        self.method = self.accelerator.unwrap_model(self.method)
        self.accelerator.free_memory()

    def run(self, stream: SampleStream, start: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield `(step, losses)` after each optimiser step from `start` on; `losses` includes `lr` and `seconds`."""
        batches = iter(self.loader(stream, start))
        for step in range(start, self.iterations):
            began = time.perf_counter()
            rate = self.set_learning_rate(step)
            losses = self.optimise([next(batches) for _ in range(self.micro_steps)])
            yield step, {**losses, "lr": rate, "seconds": time.perf_counter() - began}

    @property
    def micro_batch(self) -> int:
        return min(self.recipe.micro_batch or self.local_batch, self.local_batch)

    @property
    def local_batch(self) -> int:
        share, rest = divmod(self.recipe.batch_size, self.accelerator.num_processes)
        if rest:
            raise UserError(
                f"--batch-size {self.recipe.batch_size} cannot be shared by {self.accelerator.num_processes} processes."
            )
        return share

    @property
    def micro_steps(self) -> int:
        return math.ceil(self.local_batch / self.micro_batch)

    def loader(self, stream: SampleStream, start: int) -> DataLoader[tuple[Tensor, Tensor, str]]:
        """Batches of this process from step `start` on: of each total batch it takes a contiguous share."""
        total, local, rank = self.recipe.batch_size, self.local_batch, self.accelerator.process_index
        batches = [
            list(
                range(
                    step * total + rank * local + at,
                    step * total + rank * local + min(at + self.micro_batch, local),
                )
            )
            for step in range(start, self.iterations)
            for at in range(0, local, self.micro_batch)
        ]
        workers = self.recipe.workers
        return DataLoader(
            stream,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # of its own, so that reading draws nothing from the random state of dropout
            prefetch_factor=4 if workers else None,
        )

    def set_learning_rate(self, step: int) -> float:
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = learning_rate(self.recipe, step, self.iterations, peak)
        return float(self.optimiser.param_groups[0]["lr"])

    def optimise(self, batches: list[tuple[Tensor, Tensor, list[str]]]) -> dict[str, float]:
        """One optimiser step; returns each loss and their sum, averaged over the micro-batches of all processes.

        Each micro-batch counts by the terms that its losses are means of, which makes the gradient that of the batch.
        """
        totals: dict[str, float] = {}
        counted, processes = 0.0, self.accelerator.num_processes
        whole = len(batches) * processes == 1
        self.optimiser.zero_grad(set_to_none=True)
        for number, (images, labels, ids) in enumerate(batches, 1):
            # gradients are exchanged once, with the last micro-batch
            with nullcontext() if number == len(batches) else self.accelerator.no_sync(self.method):
                losses = self.losses(images, labels, ids)
                loss, terms = losses.total, losses.terms
                count = 1.0 if whole else float(len(images) if terms is None else terms)
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
        if self.recipe.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.method.parameters(), self.recipe.gradient_clip)
        self.optimiser.step()
        return {name: total / counted for name, total in zip(totals, sums, strict=True)}

    def over_processes(self, values: list[float]) -> list[float]:
        """The sum of each over all processes."""
        mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        sums: list[float] = self.accelerator.reduce(mine, "sum").tolist()
        return sums

    def losses(self, images: Tensor, labels: Tensor, ids: list[str]) -> Losses:
        """The method's losses on a micro-batch; raises `UserError` naming its images where their sum is not finite."""
        device = self.accelerator.device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = Losses.of(self.method(images.to(device, non_blocking=True), labels.to(device, non_blocking=True)))
        total = losses.total
        if not torch.isfinite(total):
            raise UserError(
                f"the loss is {total.item()} on images {', '.join(ids)}. Lower the learning rate, or look at these "
                "images; the last good state is kept and --resume continues from it."
            )
        return losses
