"""What machine and which software produced a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from zsbench import __version__
from zsbench.evaluation.prediction import fused_labels_on
from zsbench.profiling.energy import find_gpu
from zsbench.result import Environment
from zsbench.runs.software import cpu_name, revision, versions


def device_name(device: torch.device) -> str:
    """The processor's or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


def flags(device: torch.device) -> dict[str, bool]:
    """The switches of torch that trade precision or repeatability for speed; on CUDA, whether labels are fused."""
    fused = {"fused_labels": fused_labels_on(device) is not None} if device.type == "cuda" else {}
    return {
        **fused,
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
    }


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Multiply and convolve float32 in TF32 on CUDA, or surely not: torch's default allows it for convolutions alone."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = enabled
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def environment(device: torch.device, dtype: torch.dtype, processes: int = 1, compiled: bool = False) -> Environment:
    """Everything about the machine and the software that a result has to tell."""
    commit, dirty = revision()
    gpu = find_gpu(device)
    return Environment(
        zsbench=__version__,
        commit=commit,
        dirty=dirty,
        versions=versions(),
        device=device.type,
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        processes=processes,
        dtype=str(dtype).removeprefix("torch."),
        driver=gpu.driver if gpu else None,
        clocks_mhz=gpu.clocks if gpu else {},
        flags=flags(device) | ({"compiled": True} if compiled else {}),
    )
