"""What a training that was cut short goes on from, in whatever phase."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
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
from zsbench.training.course import Course
from zsbench.utils.distributed import gather
from zsbench.utils.files import sync, write_atomically

SAVE_EVERY_SECONDS = 60.0
MAGIC = b"ZSTS1\n"
"""How a file of training state begins: then comes the SHA-256 of the rest, which `torch.save` wrote."""
Content = dict[str, Any]

log = logging.getLogger("zsbench")


@dataclass
class TrainingState:
    """Where training stands: steps done in a phase, and batches drawn for them.

    `path` receives what is needed to go on; a file beside it has what the present phase began with (`Method.begin_phase`).
    Of each the one before is kept, in case the newer is damaged. None keeps nothing. `fingerprint`: of all that decides the
    weights. `before`: seconds that earlier sittings took. `course`: what validations have found. `say` is told of a file
    that is damaged.
    """

    path: Path | None = None
    fingerprint: str = ""
    phase: int = 0
    step: int = 0
    drawn: int = 0
    before: float = 0.0
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    course: Course = field(default_factory=Course)
    say: Callable[[str], None] = log.warning

    @property
    def start(self) -> Path | None:
        """The file of the present phase's beginning."""
        return self.path and self.path.with_stem(f"{self.path.stem}-phase")

    @property
    def seconds(self) -> float:
        """How long the training has taken, in all sittings."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        return time.monotonic() - self.saved > SAVE_EVERY_SECONDS

    def begin(self, phase: int, method: Method, accelerator: Accelerator) -> None:
        """A phase begins: keep what it begins with."""
        self.phase, self.step, self.drawn, self.course.waited = phase, 0, 0, 0
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
            "seconds": self.seconds,
            "course": self.course.content(),
            "method": trainable_state_dict(method),
            "random": gather(accelerator, random_state(accelerator.device)),
            **more,
        }
        if accelerator.is_main_process:
            write_atomically(path, lambda temporary: replace_safely(path, temporary, sealed(content)), lasting=True)

    def load(self) -> tuple[Content | None, Content | None]:
        """What the phase began with, and how far it got: None where that is unknown.

        A damaged file is told, and the one before it taken: the training then repeats some steps, to the same weights.
        Raises `UserError` where there is none, and for the files of another run.
        """
        if self.path is None or self.start is None:
            return None, None
        start = next(self.sound(self.start), None)
        if start is None:
            again = f"delete {self.start.parent} to begin again, or give another --out."
            if self.start.exists():
                raise UserError(f"{self.start} is damaged: {again}")
            if self.path.exists():
                raise UserError(
                    f"{self.start} is gone: what the phase in {self.path.name} began with, and its teacher, where it has "
                    f"one. Put it back, {again}"
                )
            return None, None
        self.phase, self.before = start["phase"], start["seconds"]
        # one of the phase before is passed over: its end is this one's beginning
        latest = next((found for found in self.sound(self.path) if found["phase"] == self.phase), None)
        if latest is not None:
            self.step, self.drawn, self.before = latest["step"], latest["drawn"], latest["seconds"]
        self.course = Course(**(latest or start)["course"])
        return start, latest

    def sound(self, path: Path) -> Iterator[Content]:
        """What a file and the one before it hold, where that is whole."""
        for each in (path, earlier(path)):
            if not each.exists():
                continue
            content = unsealed(each)
            if content is None:
                self.say(f"{each.name} is damaged: going on from what was kept before it.")
            elif content["fingerprint"] != self.fingerprint:
                raise UserError(
                    f"{each} belongs to a run with other settings. Give the same settings to resume it, or another --out."
                )
            else:
                yield content


def earlier(path: Path) -> Path:
    """Where the state before the present one is kept."""
    return path.with_stem(f"{path.stem}-before")


def replace_safely(path: Path, temporary: Path, content: bytes) -> None:
    """Write the file that will replace `path`; what is there becomes the one before as soon as the new one is safe."""
    temporary.write_bytes(content)
    sync(temporary)
    if path.exists():
        os.replace(path, earlier(path))


def sealed(content: Content) -> bytes:
    """A state as the bytes of its file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return MAGIC + hashlib.sha256(buffer.getbuffer()).digest() + buffer.getvalue()


def unsealed(path: Path) -> Content | None:
    """What `sealed` was given, or None where the file is any other."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    end = len(MAGIC) + hashlib.sha256().digest_size
    if data[:end] != MAGIC + hashlib.sha256(memoryview(data)[end:]).digest():
        return None
    content: Content = torch.load(io.BytesIO(data[end:]), weights_only=True, map_location="cpu")
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
