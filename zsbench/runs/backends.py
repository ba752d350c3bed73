"""Where the cells of a grid run: on this machine, on Slurm through submitit, or on Ray."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zsbench.errors import UserError
from zsbench.runs.grid import Cell
from zsbench.utils.extras import optional
from zsbench.utils.interruption import LEASH


def run_cell(cell: Cell[Any], environment: Mapping[str, str] | None = None) -> bool:
    """Run a cell in a process of its own and wait for it; True if it ended well."""
    return start_cell(cell, environment or {}).wait() == 0


def start_cell(cell: Cell[Any], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The process of a cell, which ends when this one does, however that ends (`zsbench.utils.interruption.follow`)."""
    cell.log.parent.mkdir(parents=True, exist_ok=True)
    with cell.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "zsbench", *cell.words],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            env={**os.environ, **environment, LEASH: "stdin"},
        )


class Local:
    """Processes on this machine; each of several CUDA devices, by number, is given to one of them at a time."""

    def __init__(self, devices: Sequence[int] = ()) -> None:
        self.devices: queue.SimpleQueue[int] | None = queue.SimpleQueue() if devices else None
        for device in devices:
            self.free(device)
        self.running: set[subprocess.Popen[bytes]] = set()

    def free(self, device: int) -> None:
        if self.devices is not None:
            self.devices.put(device)

    def run(self, cell: Cell[Any]) -> bool:
        device = self.devices.get() if self.devices is not None else None
        process = start_cell(cell, {} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)})
        self.running.add(process)
        try:
            return process.wait() == 0
        finally:
            self.running.discard(process)
            if device is not None:
                self.free(device)

    def stop(self) -> None:
        for process in list(self.running):
            process.terminate()


class Slurm:
    """Jobs of Slurm, through submitit. `parameters` are those of `submitit.AutoExecutor.update_parameters`."""

    def __init__(self, folder: Path, parameters: Mapping[str, Any], cluster: str = "slurm") -> None:
        submitit = optional("submitit", "sweep-slurm")
        self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        try:
            self.executor.update_parameters(**parameters)
        except (NameError, TypeError, AssertionError) as error:
            raise UserError(f"submitit refuses what stands under [slurm]: {error}") from error
        self.jobs: list[Any] = []
        self.lock = threading.Lock()

    def run(self, cell: Cell[Any]) -> bool:
        with self.lock:
            job = self.executor.submit(run_cell, cell)
            self.jobs.append(job)
        try:
            return bool(job.result())
        except Exception as error:  # whatever killed the job: a cell that fails harms no other
            with cell.log.open("a", encoding="utf-8") as log:
                log.write(f"error: job {job.job_id} failed, see {job.paths.stderr}: {error}\n")
            return False

    def stop(self) -> None:
        for job in self.jobs:
            if not job.done():
                job.cancel()


class Ray:
    """Tasks of the Ray cluster at `$RAY_ADDRESS`, else of one on this machine. `parameters`: those of `ray.remote`."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.ray = optional("ray", "sweep-ray")
        self.ray.init(ignore_reinit_error=True, log_to_driver=False)
        self.task = self.ray.remote(**parameters)(run_cell) if parameters else self.ray.remote(run_cell)
        self.tasks: list[Any] = []

    def run(self, cell: Cell[Any]) -> bool:
        task = self.task.remote(cell)
        self.tasks.append(task)
        try:
            return bool(self.ray.get(task))
        except Exception as error:  # as above
            with cell.log.open("a", encoding="utf-8") as log:
                log.write(f"error: the Ray task failed: {error}\n")
            return False

    def stop(self) -> None:
        for task in self.tasks:
            self.ray.cancel(task)
