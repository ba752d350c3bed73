"""A folder is one run's: of two at once, of a dead one, of one on another machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from zsbench.runs import claim as claims
from zsbench.runs.claim import LOCK, Held, claim
from zsbench.runs.folder import RESULT, open_folder
from zsbench.utils.files import PART

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = "filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=ab\nduration={}\n"

HOLDER = """
import sys, time
from pathlib import Path
from zsbench.runs.claim import claim
held = claim(Path(sys.argv[1]))
print("has it", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_told_who_has_the_folder(tmp_path):
    first = claim(tmp_path)
    with pytest.raises(Held, match=f"in use: process {os.getpid()} on .*choose another --out"):
        claim(tmp_path)
    first.release()
    assert not (tmp_path / LOCK).exists() and claim(tmp_path).note == ""


def test_what_a_killed_run_left_is_taken_over_and_told(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, env=environment)
    try:
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(Held, match=f"process {other.pid} "):
            claim(tmp_path)
    finally:
        other.kill()
        other.communicate()
    assert f"process {other.pid} " in claim(tmp_path).note


def test_a_run_of_another_machine_has_ended_when_it_gives_no_sign(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE", 0.6)
    (tmp_path / LOCK).write_text(ELSEWHERE.format(0.6))
    with pytest.raises(Held, match="process 1 on elsewhere"):
        claim(tmp_path)
    assert "process 1 on elsewhere" in claim(tmp_path, patient=True).note


def test_a_run_of_another_machine_that_lives_keeps_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE", 2.0)
    path = tmp_path / LOCK
    path.write_text(ELSEWHERE.format(2.0))
    ended = threading.Event()

    def live():
        while not ended.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(Held, match="process 1 on elsewhere"):
            claim(tmp_path, patient=True)
    finally:
        ended.set()
        thread.join()


def test_a_run_without_a_name_takes_the_next_and_one_with_a_name_is_refused(tmp_path):
    folder, said = tmp_path / "run", []
    first = open_folder(folder, True, False, folder, said.append)
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2" / RESULT).touch()
    second = open_folder(folder, True, False, folder, said.append)
    assert (first.folder.name, second.folder.name) == ("run", "run-3")
    assert f"process {os.getpid()}" in said[0] and said[0].endswith("run-3.")
    for resume in (False, True):
        started = time.monotonic()
        with pytest.raises(Held):
            claims_of(folder, resume)
        assert time.monotonic() - started < 10


def claims_of(folder, resume):
    """With a sign of life from the one that has it, which a patient one sees at once."""
    beat = threading.Timer(0.2, lambda: os.utime(folder / LOCK))
    beat.start()
    try:
        return open_folder(folder, True, resume)
    finally:
        beat.join()


def test_what_killed_processes_were_writing_is_removed(tmp_path):
    (tmp_path / f".{RESULT}.123{PART}").touch()
    open_folder(tmp_path, True, False).release()
    assert list(tmp_path.iterdir()) == []
