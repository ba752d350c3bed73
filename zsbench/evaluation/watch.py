"""What is measured beside predictions: seconds by stage, and what the method itself counts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import fsum
from statistics import fmean
from typing import Any

import torch

from zsbench.method import Statistics

STAGES = ("data", "model", "post", "refine", "metrics")
Lap = Mapping[str, Any]
"""`seconds` by stage, and what was `counted`: sum and number by name."""


class Watch:
    """What a method counts about its images; its time is not measured."""

    def __init__(self) -> None:
        self._noted: list[Statistics] = []
        self._values: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield

    def note(self, statistics: Statistics) -> None:
        """Remember numbers about some images, to be looked at later: the device may still be at work on them."""
        self._noted.append(statistics)

    def settle(self) -> None:
        """Look at what was noted; the device is done."""
        for statistics in self._noted:
            for name, values in statistics().items():
                self._values.setdefault(name, []).extend(values)
        self._noted.clear()

    def statistics(self) -> dict[str, float]:
        """The mean of each number over all images (windows, where these slide); empty where nothing was counted."""
        self.settle()
        return {name: fmean(values) for name, values in self._values.items()}

    def counted(self) -> dict[str, tuple[float, int]]:
        """Of each number its sum and how many they were, which are then forgotten."""
        self.settle()
        found = {name: (fsum(values), len(values)) for name, values in self._values.items()}
        self._values.clear()
        return found


class Stopwatch(Watch):
    """Seconds spent in each stage, too; on CUDA each boundary waits for the device, so that work is charged to its own."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self.now()
        try:
            yield
        finally:
            self.seconds[name] += self.now() - began

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def lap(self) -> Lap:
        """What was measured since the last lap, as a journal keeps it."""
        seconds, self.seconds = self.seconds, dict.fromkeys(STAGES, 0.0)
        return {"seconds": seconds, "counted": self.counted()}


def total(laps: Iterable[Lap]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by stage, and the mean of each number that a method counted, of laps in however many sittings."""
    seconds = dict.fromkeys(STAGES, 0.0)
    sums: dict[str, list[float]] = {}
    for lap in laps:
        for stage, spent in lap["seconds"].items():
            seconds[stage] += spent
        for name, (value, count) in lap["counted"].items():
            so_far = sums.setdefault(name, [0.0, 0])
            so_far[:] = so_far[0] + value, so_far[1] + count
    return seconds, {name: value / max(count, 1) for name, (value, count) in sums.items()}
