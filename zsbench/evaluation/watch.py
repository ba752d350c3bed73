"""What is measured beside predictions: seconds by stage, and what the method itself counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

import torch

from zsbench.method import Statistics

STAGES = ("data", "model", "post", "refine", "metrics")


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
