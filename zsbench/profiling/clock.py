"""How long one call takes, and which batch gives the most images in a second."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from zsbench.errors import out_of_memory
from zsbench.method import Method, predicting
from zsbench.profiling.energy import Gpu
from zsbench.utils.compiler import telling_compiler

GROUP, STEADY = 3, 0.05
"""Warm-up ends when the median of the last `GROUP` runs differs from that of the `GROUP` before by less than this share."""
MIN_RUNS, MAX_RUNS = 3, 500
GAIN = 1.03
"""A doubled batch is worth it if it gives more images in a second by this factor."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of single calls, after `warm_up` others. `steady`: whether these had become equally long.

    `joules`: energy of a call, if there is a meter.
    """

    times: list[float]
    warm_up: int
    steady: bool
    joules: float


@dataclass(frozen=True)
class Throughput:
    """Images in a second by batch size; `exhausted`: the first batch that did not fit into memory, if one was tried."""

    rates: dict[int, float]
    exhausted: int | None = None

    @property
    def best(self) -> int:
        return max(self.rates, key=lambda batch: self.rates[batch])


def milliseconds(call: Call, device: torch.device) -> float:
    """Time of one call on an idle device: between CUDA events where there are any, else on the clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - began)
    with torch.cuda.device(device):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize(device)
    return begin.elapsed_time(end)


def is_steady(times: list[float]) -> bool:
    if len(times) < 2 * GROUP:
        return False
    before, last = statistics.median(times[-2 * GROUP : -GROUP]), statistics.median(times[-GROUP:])
    return abs(last - before) < STEADY * before


def warm_up(call: Call, device: torch.device, seconds: float) -> tuple[int, bool]:
    """Run until the time of a call is steady, or for `seconds`, at least once: `(runs, steady)`."""
    times: list[float] = []
    while not is_steady(times):
        times.append(milliseconds(call, device))
        if sum(times) > 1000 * seconds:
            break
    return len(times), is_steady(times)


def latency(call: Call, device: torch.device, seconds: float, gpu: Gpu | None = None) -> Latency:
    """Times of single calls: as many as fit in `seconds`, between `MIN_RUNS` and `MAX_RUNS`."""
    runs, steady = warm_up(call, device, seconds)
    before = gpu.joules if gpu else None
    times: list[float] = []
    while len(times) < MIN_RUNS or (len(times) < MAX_RUNS and sum(times) < 1000 * seconds):
        times.append(milliseconds(call, device))
    after = gpu.joules if gpu else None
    joules = math.nan if before is None or after is None else (after - before) / len(times)
    return Latency(times, runs, steady, joules)


def rate(call: Call, batch: int, device: torch.device, seconds: float) -> float:
    """Images in a second: the median of the calls that fit in a quarter of `seconds`, at least one.

    They come after one to warm up, which is itself the measurement if it took longer than `seconds`.
    """
    times = [milliseconds(call, device)]
    if times[0] < 1000 * seconds:
        times.clear()
        while not times or sum(times) < 250 * seconds:
            times.append(milliseconds(call, device))
    return 1000 * batch / statistics.median(times)


def throughput(
    call_of: Callable[[int], Call], first: float, most: int, device: torch.device, seconds: float
) -> Throughput:
    """Double the batch from 1, which gives `first` images in a second, until that gains nothing more or memory is exhausted.

    `call_of`: what processes a batch of that size. `most`: the largest batch to try.
    """
    rates = {1: first}
    batch = 2
    while batch <= most:
        try:
            rates[batch] = rate(call_of(batch), batch, device, seconds)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            torch.cuda.empty_cache()  # does nothing where there is no CUDA
            return Throughput(rates, batch)
        if rates[batch] < GAIN * rates[batch // 2]:
            break
        batch *= 2
    return Throughput(rates)


@contextmanager
def compiled(method: Method, call: Callable[[], object]) -> Iterator[float]:
    """Within, predictions are compiled, and have been run by `call`; gives the seconds that the first call took.

    Raises `UserError` where torch cannot compile it. The method has been seen to work as it is, so that whatever fails is
    the compiler's doing.
    """
    name = predicting(method)
    setattr(method, name, torch.compile(getattr(method, name), dynamic=False))
    try:
        began = time.perf_counter()
        with telling_compiler(everything=True):
            call()
        yield time.perf_counter() - began
    finally:
        del method.__dict__[name]
