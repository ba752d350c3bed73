"""Sweeps: which cells a file means, what happens to those that fail, and what the table says."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from zsbench.cli.main import app
from zsbench.errors import UserError
from zsbench.runs.backends import Local, Slurm, optional
from zsbench.runs.grid import Cell, run_grid
from zsbench.runs.request import Request
from zsbench.runs.sweep_file import read_sweep, sweep_rows

ROOT = Path(__file__).resolve().parents[2]
QUIET = Console(quiet=True)

FILE = """
out = "swept"

[run]
limit = 4

[[grid]]
method = "maskclip"
dataset = ["miniworld", "pascal-voc"]
seed = [0, 1]

[[grid]]
variant = ["", "baseline-fix"]
options.calibration = [0.0, 0.1]
options.prompts = 4
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_file(text):
        (tmp_path / "sweep.toml").write_text(text)
        return Path("sweep.toml")

    return write_file


def cells_of(text, write):
    path = write(text)
    return sweep_rows(read_sweep(path), path)


def test_lists_are_run_with_all_others(write):
    rows = cells_of(FILE, write)
    assert {name: [cell.out.name for cell in cells] for name, cells in rows.items()} == {
        "maskclip-miniworld": ["maskclip-miniworld-seed0", "maskclip-miniworld-seed1"],
        "maskclip-pascal-voc": ["maskclip-pascal-voc-seed0", "maskclip-pascal-voc-seed1"],
        **{
            f"zegclip-{variant}miniworld-calibration={value}": [f"zegclip-{variant}miniworld-calibration={value}-seed0"]
            for variant in ("", "baseline-fix-")
            for value in (0.0, 0.1)
        },
    }
    last = rows["zegclip-baseline-fix-miniworld-calibration=0.1"][0].request
    assert last.options == {"calibration": "0.1", "prompts": "4"} and last.limit == 4
    assert last.variant == "baseline-fix" and last.out == Path(
        "swept/zegclip-baseline-fix-miniworld-calibration=0.1-seed0"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[grid]]\nmetod = 'maskclip'", "unknown entry 'metod'. Did you mean 'method'?"),
        ("grids = 1\n[[grid]]", "unknown entry 'grids'. Did you mean 'grid'?"),
        ("jobs = 1", "grid: Field required"),
        ("jobs = 0\n[[grid]]", "jobs: Input should be greater than or equal to 1"),
        ("backend = 'cloud'\n[[grid]]", "backend: Input should be 'local', 'slurm' or 'ray'"),
        ("[[grid]]\nseed = ['a']", "seed: Input should be a valid integer"),
        ("[[grid]]\nout = 'x'", "'out' is the sweep's own business"),
        ("[[grid]]\n[[grid]]\nlimit = 3", "two different cells would be called zegclip-miniworld-seed0"),
        ("[[grid", "is no sweep file"),
    ],
)
def test_a_mistake_names_the_entry(write, text, expected):
    with pytest.raises(UserError, match=r"sweep\.toml") as error:
        cells_of(text, write)
    assert expected in str(error.value)


def test_the_documented_examples_are_sweeps(write):
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "sweep.md").read_text(), re.DOTALL)
    assert [sum(map(len, cells_of(text, write).values())) for text in examples] == [2 * 2 * 3 * 2 + 2, 9]


def finish(cell, make_result, value=50.0):
    """What a run leaves."""
    metric = {"value": value, "stderr": 1.0, "low": 48.0, "high": 52.0}
    metrics = {name: metric for name in ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")}
    cell.out.mkdir(parents=True, exist_ok=True)
    make_result(command=cell.request.command("run"), metrics=metrics).save(cell.result_path)


def test_a_sweep_skips_what_is_finished_and_lists_what_failed(write, make_result, monkeypatch):
    rows = cells_of(FILE, write)
    finish(rows["maskclip-miniworld"][0], make_result, 40.0)
    attempts = []

    def run(self, cell):
        attempts.append(cell.out.name)
        cell.log_path.write_text("error: the data are not there\n")
        if cell.request.dataset == "miniworld":
            finish(cell, make_result)
        return cell.request.dataset == "miniworld"

    monkeypatch.setattr(Local, "run", run)
    done = CliRunner().invoke(app, ["sweep", "sweep.toml"])
    assert done.exit_code == 1 and len(attempts) == 7 and "maskclip-miniworld-seed0" not in attempts
    assert done.stderr.splitlines() == [
        f"failed: maskclip-pascal-voc-seed{seed}: error: the data are not there (swept/maskclip-pascal-voc-seed{seed}.log)"
        for seed in (0, 1)
    ]
    table = Path("swept/table.md").read_text()
    assert table in done.stdout
    assert table.splitlines()[2].split("|")[1:4] == [
        " maskclip-miniworld                             ",
        " 2/2     ",
        f" {45:.1f} ± {math.sqrt(50):.1f} ",
    ]
    attempts.clear()
    monkeypatch.setattr(Local, "run", lambda self, cell: finish(cell, make_result) or True)
    assert CliRunner().invoke(app, ["sweep", "sweep.toml"]).exit_code == 0


def test_jobs_run_together(tmp_path, make_result):
    together = threading.Barrier(2, timeout=10)
    cells = [Cell(Request(seed=seed, out=tmp_path / str(seed))) for seed in range(4)]

    def run(cell):
        together.wait()
        finish(cell, make_result)
        return True

    assert run_grid(cells, QUIET, run, jobs=2) == []


def test_the_result_of_another_command_is_no_finished_cell(tmp_path, make_result):
    cell = Cell(Request(out=tmp_path / "cell"))
    finish(cell, make_result)
    with pytest.raises(UserError, match="not of `zsbench run --limit 3`"):
        run_grid([Cell(Request(out=tmp_path / "cell", limit=3))], QUIET, lambda cell: True)


def test_each_device_has_one_cell_at_a_time(tmp_path, make_result, monkeypatch):
    given, busy = [], set()

    class Process:
        def __init__(self, cell, environment):
            self.cell, self.device = cell, environment["CUDA_VISIBLE_DEVICES"]
            assert self.device not in busy
            busy.add(self.device)
            given.append(self.device)

        def wait(self):
            finish(self.cell, make_result)
            busy.remove(self.device)
            return 0

    monkeypatch.setattr("zsbench.runs.backends.start_cell", Process)
    cells = [Cell(Request(seed=seed, out=tmp_path / str(seed))) for seed in range(6)]
    local = Local([3, 5])
    assert run_grid(cells, QUIET, local.run, jobs=2) == [] and set(given) <= {"3", "5"} and len(given) == 6
    assert sorted(local.devices.get_nowait() for _ in range(2)) == [3, 5]


def test_when_told_to_end_nothing_more_is_started(tmp_path):
    started, stopped = [], []

    def run(cell):
        started.append(cell)
        raise KeyboardInterrupt

    cells = [Cell(Request(seed=seed, out=tmp_path / str(seed))) for seed in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run_grid(cells, QUIET, run, jobs=1, stop=lambda: stopped.append(True))
    assert stopped == [True] and len(started) < 5


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
    cells = [Cell(request) for request in requests]
    assert run_grid(cells, QUIET, slurm.run, jobs=2, stop=slurm.stop) == [cells[1]]
    assert "unknown method 'absent'" in cells[1].log_path.read_text()


@pytest.mark.slow
def test_a_sweep_in_processes(write):
    path = write("[run]\nlimit = 2\n[[grid]]\nmethod = ['maskclip', 'absent']\n")
    command = [sys.executable, "-m", "zsbench", "sweep", str(path), "--jobs", "2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1 and "unknown method 'absent'" in done.stderr
    assert "| maskclip-miniworld | 1/1 " in done.stdout
