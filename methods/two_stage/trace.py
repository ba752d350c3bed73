"""What one image costs a two-stage method: the time of each stage, and the crops that CLIP was shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

STAGES = ("proposals", "regions", "fusion")


@dataclass
class Trace:
    """Of one image. On CUDA a stage lies between two events, compared when it is asked for: nothing has to wait."""

    crops: int = 0
    spans: list[tuple[str, Callable[[], float]]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, device: torch.device) -> Iterator[None]:
        if device.type == "cuda":
            stream = torch.cuda.current_stream(device)
            first = stream.record_event(torch.cuda.Event(enable_timing=True))
            yield
            last = stream.record_event(torch.cuda.Event(enable_timing=True))
            self.spans.append((name, lambda: first.elapsed_time(last) / 1000))
        else:
            began = time.perf_counter()
            yield
            spent = time.perf_counter() - began
            self.spans.append((name, lambda: spent))

    def shares(self) -> dict[str, float]:
        """The share of each stage in the time of all of them; the device has to be done with the image."""
        seconds = dict.fromkeys(STAGES, 0.0)
        for name, spent in self.spans:
            seconds[name] += spent()
        total = sum(seconds.values()) or 1.0
        return {name: share / total for name, share in seconds.items()}


def statistics(traces: Sequence[Trace]) -> Mapping[str, list[float]]:
    """Numbers of each image that belong into a result."""
    shares = [trace.shares() for trace in traces]
    return {
        "clip_crops_per_image": [float(trace.crops) for trace in traces],
        **{f"share_{stage}": [share[stage] for share in shares] for stage in STAGES},
    }
