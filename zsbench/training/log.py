"""The log of a training: a line of JSON for every step, and curves for TensorBoard where that is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from zsbench.utils.files import telling, write_text


class TrainingLog:
    """Losses, learning rate and seconds of every step, appended to `path`.

    TensorBoard's event files go into the folder `tensorboard` beside it. What an earlier run logged of steps from `done` on
    is dropped: they will be done again.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:done]
            write_text(path, "".join(lines))
        self.curves = event_writer(path.with_name("tensorboard"), done)

    def write(self, step: int, values: dict[str, float]) -> None:
        with telling(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        if self.curves is not None:
            for name, value in values.items():
                self.curves.add_scalar(f"train/{name}", value, step)
            self.curves.flush()  # a training may die at any step


def final_loss(path: Path) -> float:
    """Mean loss over the last tenth of the logged steps."""
    losses = [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]
    return fmean(losses[-max(1, len(losses) // 10) :])


def event_writer(folder: Path, done: int) -> Any | None:
    """TensorBoard's writer, if the package is installed; `purge_step` makes it forget the steps from `done` on."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done)
