"""Sweep files: which cells a file means, and what is said where one is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zsbench.errors import UserError
from zsbench.runs.sweep_file import read_sweep, sweep_cells

ROOT = Path(__file__).resolve().parents[2]

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
    return sweep_cells(read_sweep(path), path)


def test_lists_are_run_with_all_others(write):
    cells = cells_of(FILE, write)
    zegclip = [f"zegclip-{name}miniworld-calibration={value}" for name in ("", "baseline-fix-") for value in (0.0, 0.1)]
    first = ["maskclip-miniworld", "maskclip-pascal-voc", *zegclip]
    assert [cell.out.name for cell in cells] == [f"{row}-seed0" for row in first] + [
        "maskclip-miniworld-seed1",
        "maskclip-pascal-voc-seed1",
    ]
    last = cells[5].request
    assert last.options == {"calibration": 0.1, "prompts": 4} and last.limit == 4
    assert last.variant == "baseline-fix" and last.out == Path(f"swept/{zegclip[-1]}-seed0")
    assert cells[5].words == [
        *("run", "--variant", "baseline-fix", "--limit", "4", "--out", str(last.out)),
        *("-o", "calibration=0.1", "-o", "prompts=4", "--resume"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[grid]]\nmetod = 'maskclip'", "unknown option of `zsbench run`: 'metod'. Did you mean 'method'?"),
        ("[[grid]]\nmethod = 'maskclp'", "Did you mean 'maskclip'?"),
        ("[[grid]]\noptions.rdd = 'off'", "unknown option of zegclip: 'rdd'. Did you mean 'rd'?"),
        ("[[grid]]\nlimit = -3", "limit=-3: Input should be greater than or equal to 1"),
        ("grids = 1\n[[grid]]", "'grids'. Did you mean 'grid'?"),
        ("jobs = 1", "grid: Field required"),
        ("jobs = 0\n[[grid]]", "jobs=0: Input should be greater than or equal to 1"),
        ("backend = 'clurm'\n[[grid]]", "Did you mean 'slurm'?"),
        ("[[grid]]\nseed = ['a']", "seed='a': Input should be a valid integer"),
        ("[[grid]]\nout = 'x'", "'out' is the sweep's own business"),
        ("[[grid]]\n[[grid]]\nlimit = 3", "two different cells would be called zegclip-miniworld-seed0"),
        ("[[grid", "not a readable sweep file"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(write, text, expected):
    with pytest.raises(UserError, match=r"sweep\.toml") as error:
        cells_of(text, write)
    assert expected in str(error.value)


def test_the_documented_examples_are_sweeps(write):
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "sweep.md").read_text(), re.DOTALL)
    assert [len(cells_of(text, write)) for text in examples] == [2 * 2 * 3 * 2 + 2, 9]


@pytest.mark.slow
def test_a_sweep_in_processes(write, tmp_path):
    (tmp_path / "damaged.safetensors").write_text("no weights")
    path = write(
        "[run]\nlimit = 2\n[[grid]]\nmethod = 'maskclip'\n[[grid]]\nmethod = 'zegclip'\n"
        f"weights = '{tmp_path / 'damaged.safetensors'}'"
    )
    command = [sys.executable, "-m", "zsbench", "sweep", str(path), "--jobs", "2"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1 and "failed: zegclip-miniworld-seed0: error: " in done.stderr, done.stderr
    assert "| maskclip-miniworld | 1/1 " in done.stdout
