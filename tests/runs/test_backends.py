"""Where cells run: each device has one at a time, and a cluster's failing job is a failing cell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zsbench.errors import UserError
from zsbench.runs.asked import asked
from zsbench.runs.backends import Local, Slurm, optional
from zsbench.runs.grid import RUNS, Cell, run_grid
from zsbench.runs.request import Request

ROOT = Path(__file__).resolve().parents[2]


def test_each_device_has_one_cell_at_a_time(tmp_path, make_result, monkeypatch):
    given, busy = [], set()

    class Process:
        def __init__(self, cell, environment):
            self.cell, self.device = cell, environment["CUDA_VISIBLE_DEVICES"]
            assert self.device not in busy
            busy.add(self.device)
            given.append(self.device)

        def wait(self):
            self.cell.out.mkdir()
            make_result(request=asked(self.cell.request)).save(self.cell.outcome)
            busy.remove(self.device)
            return 0

    monkeypatch.setattr("zsbench.runs.backends.start_cell", Process)
    cells = [Cell(RUNS, "row", Request(seed=seed, out=tmp_path / str(seed))) for seed in range(6)]
    local = Local([3, 5])
    assert run_grid(cells, local, jobs=2).failed == [] and set(given) <= {"3", "5"} and len(given) == 6
    assert sorted(local.devices.get_nowait() for _ in range(2)) == [3, 5]


def test_an_absent_package_says_how_to_get_it():
    with pytest.raises(UserError, match=r"pip install 'zsbench\[sweep-ray\]'"):
        optional("no_such_package_anywhere", "sweep-ray")


@pytest.mark.slow
def test_submitit_runs_cells(tmp_path, monkeypatch):
    """In its local executor: one cell that ends well, and one that fails."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    requests = [Request(method=name, limit=2, out=tmp_path / name) for name in ("maskclip", "absent")]
    slurm = Slurm(tmp_path / "jobs", {"timeout_min": 5}, cluster="local")
    cells = [Cell(RUNS, request.method, request) for request in requests]
    assert run_grid(cells, slurm, jobs=2).failed == [cells[1]]
    assert "unknown method 'absent'" in cells[1].failure
