"""What a training that was cut short goes on from, in whatever phase."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.utils.distributed import gather
from zsbench.utils.files import write_atomically

SAVE_EVERY_SECONDS = 60.0
Content = dict[str, Any]


@dataclass
class TrainingState:
    """Where training stands: steps done in a phase, and batches drawn for them.

    `path` receives what is needed to go on; a file beside it has what the present phase began with (`Method.begin_phase`).
    None keeps nothing. `fingerprint`: of all that decides the weights.
    """

    path: Path | None = None
    fingerprint: str = ""
    phase: int = 0
    step: int = 0
    drawn: int = 0
    saved: float = field(default_factory=time.monotonic)

    @property
    def start(self) -> Path | None:
        """The file of the present phase's beginning."""
        return self.path and self.path.with_stem(f"{self.path.stem}-phase")

    def due(self) -> bool:
        return time.monotonic() - self.saved > SAVE_EVERY_SECONDS

    def begin(self, phase: int, method: Method, accelerator: Accelerator) -> None:
        """A phase begins: keep what it begins with."""
        self.phase, self.step, self.drawn = phase, 0, 0
        self.write(self.start, method, accelerator, {})

    def save(self, method: Method, optimisers: Mapping[str, Optimizer], accelerator: Accelerator) -> None:
        self.saved = time.monotonic()
        moments = {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
        self.write(self.path, method, accelerator, {"optimisers": moments})

    def write(self, path: Path | None, method: Method, accelerator: Accelerator, more: Content) -> None:
        """Called by all processes, whose random states differ; the main one writes."""
        if path is None:
            return
        content = {
            "fingerprint": self.fingerprint,
            "phase": self.phase,
            "step": self.step,
            "drawn": self.drawn,
            "method": trainable_state_dict(method),
            "random": gather(accelerator, random_state(accelerator.device)),
            **more,
        }
        if accelerator.is_main_process:
            write_atomically(path, lambda temporary: torch.save(content, temporary))

    def load(self) -> tuple[Content | None, Content | None]:
        """What the phase began with, and how far it got: None where that is unknown."""
        start, latest = self.read(self.start), self.read(self.path)
        if start is None or latest is None or latest["phase"] != start["phase"]:
            latest = None  # of the phase before, whose end is this one's beginning
        if start is not None:
            self.phase = start["phase"]
        if latest is not None:
            self.step, self.drawn = latest["step"], latest["drawn"]
        return start, latest

    def read(self, path: Path | None) -> Content | None:
        """What a file holds, if it is there and of this very run. Raises `UserError` for another run's."""
        if path is None or not path.exists():
            return None
        content: Content = torch.load(path, weights_only=True, map_location="cpu")
        if content["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{path} belongs to a run with other settings. Give the same settings to resume it, or another --out."
            )
        return content


def restore(content: Content, method: Method, accelerator: Accelerator, source: str) -> None:
    """Put weights and random state back. A process that the stored run did not have starts with a state of its own."""
    load_trainable_state_dict(method, content["method"], source)
    if accelerator.process_index < len(content["random"]):
        cpu, cuda = content["random"][accelerator.process_index]
        torch.set_rng_state(cpu)
        if cuda is not None and accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, accelerator.device)


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The states of this process's generators, of the CPU and of its CUDA device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
