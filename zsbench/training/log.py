"""The log of a training: a line of JSON for every step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean

from zsbench.utils.files import telling, write_text


class TrainingLog:
    """Losses, learning rate and seconds of every step, appended to `path`.

    What an earlier run logged of steps from `done` on is dropped: they will be done again.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = lines if done and lines[-1].endswith("\n") else lines[:-1]
            write_text(path, "".join(line for line in whole if json.loads(line)["step"] < done))

    def write(self, step: int, values: dict[str, float]) -> None:
        with telling(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")


def logged(path: Path) -> dict[str, list[float]]:
    """What a log has of each step, by name; NaN where a step has no such number."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [line.get(name, math.nan) for line in lines] for name in names}


def final_loss(path: Path) -> float:
    """Mean loss over the last tenth of the logged steps."""
    losses = logged(path)["loss"]
    return fmean(losses[-max(1, len(losses) // 10) :])
