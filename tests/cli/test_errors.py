"""Commands that are told to end, with all that belongs to them: quietly, and after keeping what they have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zsbench.cli.errors import advice
from zsbench.training.state import unsealed

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("train", "--limit", "4", "--iterations", "2000", "-r", "workers=2", "--out", "t")


@pytest.fixture
def start(tmp_path):
    """Start a command in a process group of its own; what is left of the group at the end is killed."""
    started = []

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "zsbench", *words]
        reset = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # ignored by background jobs
        options = {"cwd": tmp_path, "env": environment, "stderr": subprocess.PIPE, "text": True, "preexec_fn": reset}
        started.append(subprocess.Popen(command, start_new_session=True, **options))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps_in(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_group_that_is_told_to_end_keeps_its_last_step_and_says_so_in_a_line(start, tmp_path, number, again):
    process, log = start(*TRAIN), tmp_path / "t" / "train.jsonl"
    wait_for(lambda: steps_in(log) > 2)
    os.killpg(process.pid, number)
    if again:
        time.sleep(1.2)
        if process.poll() is None:
            os.killpg(process.pid, number)
    error = process.communicate(timeout=120)[1]
    ended = (2, -number) if again else (2,)  # the second may come when Python has put its handlers away
    assert process.returncode in ended and "Traceback" not in error, error
    if not again:
        assert len(error.strip().splitlines()) == 1 and "kept" in error, error
        assert unsealed(tmp_path / "t" / "training.pt")["step"] == steps_in(log)
        assert not (tmp_path / "t" / "run.lock").exists()


@pytest.mark.slow
def test_a_killed_sweep_ends_its_cells_and_a_new_one_goes_on(start, tmp_path):
    (tmp_path / "s.toml").write_text("[[grid]]\nlimit = 4\niterations = 60\n")
    cell = tmp_path / "runs" / "s" / "zegclip-miniworld-seed0"
    first = start("sweep", "s.toml")
    wait_for(lambda: steps_in(cell / "train.jsonl") > 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = start("sweep", "s.toml")  # while the cell is still saving
    error = second.communicate(timeout=600)[1]
    assert second.returncode == 0, error + cell.with_name(f"{cell.name}.log").read_text()
    assert steps_in(cell / "train.jsonl") == 60 and (cell / "result.json").exists()
    assert (cell / "run.log").read_text().count("INFO zsbench run") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--limit", "4"], "to go on: zsbench run --limit 4 --resume"),
        (["train", "--resume"], "to go on: zsbench train --resume"),
        (["ablate", "zegclip", "--table", "5"], "to go on: zsbench ablate zegclip --table 5"),
        (["sweep", "my sweep.toml"], "to go on: zsbench sweep 'my sweep.toml'"),
        (["data", "check", "x"], "to begin again: zsbench data check x"),
    ],
)
def test_the_advice_is_the_command_that_goes_on(words, said):
    assert advice(words).endswith(said)


def test_of_several_processes_the_launcher_is_left_to_the_user(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert advice(["run"]).endswith("the same command with --resume goes on, on any number of processes.")
