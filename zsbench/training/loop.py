"""The training loop: phases, schedule, checkpoints to resume from, a log of every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from zsbench.checkpoint import trainable_state_dict
from zsbench.method import Method, checked_optimisers
from zsbench.settings import Phase, TrainingView
from zsbench.training.course import Validation
from zsbench.training.feed import Feed, SampleStream
from zsbench.training.log import TrainingLog
from zsbench.training.state import Content, TrainingState, restore
from zsbench.training.step import LoopStep
from zsbench.utils.distributed import gather
from zsbench.utils.interruption import Told, postponed

Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Session:
    """Where a training runs, and what it leaves beside the weights.

    `dtype`: of autocast. `state`: what is needed to resume, kept every minute and at the end. `log`: receives one JSON line
    a step. `on_step` hears of each, `on_start` how many were done before, over all phases. `validation`: how the method is
    looked at meanwhile.
    """

    accelerator: Accelerator
    seed: int
    dtype: torch.dtype = torch.float32
    state: TrainingState = field(default_factory=TrainingState)
    log: Path | None = None
    on_step: Progress = lambda step, losses: None
    on_start: Callable[[int], None] = lambda done: None
    validation: Validation | None = None


def train(
    method: Method,
    phases: Sequence[tuple[Phase, TrainingView]],
    enter: Callable[[Phase, TrainingView], None],
    session: Session,
) -> None:
    """Train `method` in place, or go on where the session's state stands.

    `enter` tells the method the phase's vocabulary. Raises `UserError` where a loss is not finite, naming the images.
    Several processes share each batch and give the gradient of the whole, up to rounding; dropout differs.
    """
    accelerator, state = session.accelerator, session.state
    start, latest = state.load()
    torch.manual_seed(session.seed + 7_919 * accelerator.process_index)
    done = sum(phase.recipe.iterations for phase, _ in phases[: state.phase])
    total = sum(phase.recipe.iterations for phase, _ in phases)
    logged = session.log is not None and accelerator.is_main_process
    writer = TrainingLog(session.log, done + state.step) if logged and session.log else None
    session.on_start(done + state.step)
    method.to(accelerator.device)
    for number, (phase, view) in enumerate(phases[state.phase :], state.phase):
        if start is None:
            state.begin(number, method, accelerator)
        else:
            restore(start, method, accelerator, str(state.start))
        enter(phase, view)
        method.eval().begin_phase(phase, view)
        loop = PhaseLoop(method, phase, view, session)
        if latest is not None:
            loop.restore(latest)
        with postponed() as told:
            if loop.validate(done, total, told):  # what an earlier sitting had no time for
                told.give_way()
            for step, losses in loop.run():
                session.on_step(done + step + 1, losses)
                if writer is not None:
                    writer.write(done + step, losses)
                due, end = agree(accelerator, state.due(), bool(told))
                end = end or loop.validate(done, total, told)
                if due or end:
                    state.save(method, loop.optimisers, accelerator)
                if end:
                    told.give_way()
            state.save(method, loop.optimisers, accelerator)
        done += phase.recipe.iterations
        loop.close()
        start = latest = None
    for tensor in trainable_state_dict(method).values():
        broadcast(tensor)  # equal weights already, but buffers are each process's own


def agree(accelerator: Accelerator, due: bool, told: bool) -> tuple[bool, bool]:
    """Whether the state is due to be saved, by the main process's clock, and whether any process was told to end."""
    said = gather(accelerator, (due, told))
    return said[0][0], any(ends for _, ends in said)


class PhaseLoop:
    """Steps of one phase, each at the rates of the schedule."""

    def __init__(self, method: Method, phase: Phase, view: TrainingView, session: Session) -> None:
        self.method, self.phase, self.state, self.accelerator = method, phase, session.state, session.accelerator
        self.validation = session.validation if method.can_predict(phase) else None
        self.optimisers = checked_optimisers(method, method.optimisers(phase))
        self.peaks = {
            name: [group["lr"] for group in optimiser.param_groups] for name, optimiser in self.optimisers.items()
        }
        self.feed = Feed(
            SampleStream(view, phase.recipe, session.seed + 1_000_003 * self.state.phase), self.accelerator
        )
        every = phase.recipe.schedule_every
        self.every = max(1, len(view) // phase.recipe.batch_size) if every == "epoch" else every
        method.train()
        self.step = LoopStep(method, phase, self.optimisers, self.feed, self.accelerator, session.dtype)

    def restore(self, stored: Content) -> None:
        """Go on as `TrainingState.save` found it; the peaks are noted by now, for stored groups hold scheduled rates."""
        restore(stored, self.method, self.accelerator, str(self.state.path))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(stored["optimisers"][name])
        self.feed.drawn = self.state.drawn

    def close(self) -> None:
        """Take the distributed wrapper off, and with it what it hooked into the parameters."""
        self.accelerator.unwrap_model(self.step.wrapped)
        self.accelerator.free_memory()

    def run(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield `(step, losses)` after each step from the state's on; `losses` includes `lr` and `seconds`."""
        for number in range(self.state.step, self.phase.recipe.iterations):
            if self.validation is not None and self.validation.over(self.state.course):
                return
            began = time.perf_counter()
            rate = self.set_rates(number)
            losses = self.step.take(number)
            self.state.step, self.state.drawn = number + 1, self.feed.drawn
            yield number, {**losses, "lr": rate, "seconds": time.perf_counter() - began}

    def validate(self, done: int, total: int, told: Told) -> bool:
        """Look at the method if that is due after the present step; whether a process was told to end meanwhile.

        `done`: steps of the phases before, of `total` in all.
        """
        state, at = self.state, done + self.state.step
        if self.validation is None or not state.step or not self.validation.due(at, total, state.course):
            return False

        def ends() -> bool:
            return agree(self.accelerator, False, bool(told))[1]

        return self.validation.look(self.method, at, state.phase, state.course, ends)

    def set_rates(self, number: int) -> float:
        """Set the rates of a step; returns the first, for the log."""
        at = number - number % self.every
        for name, optimiser in self.optimisers.items():
            for group, peak in zip(optimiser.param_groups, self.peaks[name], strict=True):
                if group.get("scheduled", True):
                    group["lr"] = self.method.learning_rate(self.phase, name, at, peak)
        first = next(iter(self.optimisers.values()))
        return float(first.param_groups[0]["lr"])
