"""Peak memory: of torch's allocator on CUDA, of the process on the CPU."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch


def memory_kind(device: torch.device) -> str:
    """What `peak_memory` means."""
    if device.type == "cuda":
        return "peak of torch's allocations on the GPU, model included"
    return "peak resident memory of the process, model and libraries included"


def reset_peak_memory(device: torch.device) -> None:
    """Forget earlier peaks: on CUDA always, on the CPU where the system lets a process do so (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes, since `reset_peak_memory`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # on Linux, where ru_maxrss also remembers the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
