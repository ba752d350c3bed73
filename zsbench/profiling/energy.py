"""What NVIDIA's management library says about a GPU: driver, clocks, energy. Empty where it is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

CLOCKS = ("SM", "MEM")


class Gpu:
    """One CUDA device, found by its UUID: CUDA may number devices otherwise than NVML does."""

    def __init__(self, library: Any, device: torch.device) -> None:
        self.library = library
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        self.handle = library.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")

    @property
    def driver(self) -> str:
        version = self.library.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)

    @property
    def clocks(self) -> dict[str, int]:
        """Clocks as found, and the highest there are, in MHz."""
        found = {}
        for name in CLOCKS:
            kind = getattr(self.library, f"NVML_CLOCK_{name}")
            found[name] = int(self.library.nvmlDeviceGetClockInfo(self.handle, kind))
            found[f"{name} max"] = int(self.library.nvmlDeviceGetMaxClockInfo(self.handle, kind))
        return found

    @property
    def joules(self) -> float | None:
        """Energy since the driver was loaded; None for a GPU that does not count it (before Volta)."""
        try:
            return self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000
        except self.library.NVMLError:
            return None


def find_gpu(device: torch.device) -> Gpu | None:
    """The device, if it is a CUDA device and NVML (`pip install nvidia-ml-py`) knows it."""
    if device.type != "cuda":
        return None
    try:
        library = import_module("pynvml")
        library.nvmlInit()
        gpu = Gpu(library, device)
        gpu.driver, gpu.clocks  # noqa: B018  # what it will be asked: a container may forbid it
        return gpu
    except Exception:  # no package, no driver, no permission: all mean that it says nothing
        return None
