"""Training steps of which nothing is kept: how long one takes, and whether a method keeps to its contract."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError, out_of_memory
from zsbench.method import Method, checked_losses, named
from zsbench.optimisation import TrainingBatch
from zsbench.settings import Phase
from zsbench.utils.distributed import alone


@contextmanager
def rehearsal(method: Method) -> Iterator[None]:
    """Training steps on made-up images, of which nothing is kept: neither gradients nor running statistics.

    Each process of a run rehearses alone: as often as it likes, and for a profile only one of them.
    """
    training, buffers = method.training, {name: buffer.clone() for name, buffer in method.named_buffers()}
    method.train()
    try:
        with alone():
            yield
    finally:
        method.zero_grad(set_to_none=True)
        for name, buffer in method.named_buffers():
            buffer.copy_(buffers[name])
        method.train(training)


SEGMENTS = 3
"""Segments on each side of a made-up label: photographs show few classes, and losses may take time for each of them."""
HINTS = (
    (("before Module.__init__() call",), "Its __init__ begins with super().__init__(clip, options)."),
    (
        ("out of bounds", "device-side assert", "out of range"),
        f"Labels are indices into the words of the phase, {IGNORE} (zsbench.dataset.IGNORE) where nobody learns, "
        f"in transductive training also {UNLABELLED} (UNLABELLED): map that to {IGNORE}, and give "
        f"cross_entropy ignore_index={IGNORE}.",
    ),
    (("is not trainable",), "A method with trainable = True defines losses(images, labels), a dictionary of scalars."),
    (("does not require grad", "grad_fn"), "The losses follow from nothing that learns: compute them from parameters."),
    (("same device", "device"), "Tensors are made where the images are: device=images.device."),
    (("dtype", "scalar type", "same type"), "Images are float32 in 0..1, labels int64."),
    (("size", "shape"), "Images are (B, 3, H, W), labels (B, H, W), logits (B, words, h, w) at any stride."),
)
"""By what a message says, what the contract of a method says of it."""


def made_up(phase: Phase, words: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images float32 (B, 3, H, W) and labels int64 (B, H, W) of a phase in which every kind of label occurs: words, what is
    ignored, and in transductive training what is unlabelled."""
    size = phase.recipe.crop_size
    images = torch.rand(count, 3, *size).to(device)
    coarse = torch.randint(words, (count, 1, SEGMENTS, SEGMENTS)).float()
    coarse[:, :, 0, 0] = IGNORE
    if phase.pixels == "transductive":
        coarse[:, :, 0, 1] = UNLABELLED
    return images, F.interpolate(coarse, size, mode="nearest")[:, 0].long().to(device)


def check_learnable(method: Method) -> None:
    """Raise `UserError` where nothing of a method would learn."""
    if not any(each.requires_grad for each in method.parameters()):
        raise UserError(
            f"{named(method)} is trainable, but no parameter of it has requires_grad: make what it learns in __init__, as "
            "torch.nn.Parameter or in modules that are attributes."
        )


@contextmanager
def explained(method: Method | type[Method], what: str) -> Iterator[None]:
    """Within, what a method raises becomes a `UserError` that says what was tried, where it failed, and what is expected."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        text = str(error).strip().split("\n")[0]
        hint = next((advice for words, advice in HINTS if any(word in text for word in words)), "")
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise UserError(f"{named(method)}, {what}: {said} ({place(method, error)}). {hint}".rstrip()) from error


def place(method: Method | type[Method], error: Exception) -> str:
    """The line of a method's own file, else of any, in which an error arose."""
    own_class = method if isinstance(method, type) else type(method)
    own = {getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in own_class.__mro__[:-3]}
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((frame for frame in reversed(frames) if frame.filename in own), frames[-1])
    return f"{Path(inner.filename).name}, line {inner.lineno}, in {inner.name}"


class TrialStep:
    """A `zsbench.optimisation.Step` on made-up images, the first of a phase: updates leave gradients, and move nothing."""

    number = 0

    def __init__(self, method: Method, phase: Phase, images: Tensor, labels: Tensor) -> None:
        self.method, self.phase = method, phase
        self.made_up = TrainingBatch(images, labels, ["made up"] * len(images))

    def batch(self) -> TrainingBatch:
        return self.made_up

    def update(self, **losses: Tensor) -> None:
        checked_losses(self.method, losses).total.backward()

    def minimise(self) -> dict[str, float]:
        losses = checked_losses(self.method, self.method.losses(self.made_up.images, self.made_up.labels))
        losses.total.backward()
        return {"loss": losses.total.item()}


def trial_step(method: Method, phase: Phase, count: int, device: torch.device) -> None:
    """One step of a phase on made-up images, of whose words the method was told. Within `rehearsal`.

    Raises `UserError` for whatever the method raises.
    """
    images, labels = made_up(phase, len(method.vocabulary), count, device)
    with explained(method, f"a training step of the phase {phase.name} on made-up images"):
        method.train_step(TrialStep(method, phase, images, labels))


def can_begin_anywhere(method: Method) -> bool:
    """Whether a later phase may be tried before the first: nothing is prepared when one begins."""
    return type(method).begin_phase is Method.begin_phase
