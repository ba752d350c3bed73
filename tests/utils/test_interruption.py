"""Processes that are told to end: when their work is kept, at once the second time, and with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zsbench.utils.interruption import LEASH, Interrupted, postponed

ROOT = Path(__file__).resolve().parents[2]
START = """
import signal, sys, time
from zsbench.utils.interruption import follow, leave_to_parent, listen, postponed
listen()
follow()
def say(text):
    print(text, flush=True)
"""
WORK = """
with postponed() as told:
    say("at work")
    while not told:
        time.sleep(0.01)
    say("told")
    time.sleep(float(sys.argv[1]))
    say("kept")
"""


@pytest.fixture
def start():
    """A process that does something after `START`."""
    started = []

    def run(script, *words, ignore=(), **environment):
        def prepare():
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignore else signal.SIG_DFL)

        started.append(
            subprocess.Popen(
                [sys.executable, "-c", START + script, *words],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=prepare,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_waits_until_the_work_is_kept(start, number):
    process = start(WORK, "0.2")
    assert process.stdout.readline() == "at work\n"
    for _ in range(3):  # of the terminal, of the launcher, of the scheduler: one and the same
        process.send_signal(number)
    said, error = process.communicate(timeout=30)
    assert said == "told\nkept\n" and "Interrupt" in error
    assert process.returncode != 0


def test_a_second_signal_ends_at_once_and_quietly(start):
    process = start(WORK, "30")
    assert [process.stdout.readline() for _ in range(1)] == ["at work\n"]
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "told\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("", "") and process.returncode == 2


def test_what_is_ignored_stays_ignored(start):
    """As `nohup` and background jobs of a shell have it."""
    process = start("say('here'); time.sleep(0.5); say('still here')", ignore=(signal.SIGHUP, signal.SIGINT))
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("still here\n", "")


def test_a_worker_leaves_signals_to_its_parent(start):
    process = start("leave_to_parent(); say('here'); time.sleep(0.5); say('still here')")
    assert process.stdout.readline() == "here\n"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    assert process.communicate(timeout=30) == ("still here\n", "")


def test_a_process_on_a_leash_ends_with_the_one_that_started_it(start):
    process = start(WORK, "0.2", **{LEASH: "stdin"})
    assert process.stdout.readline() == "at work\n"
    process.stdin.close()  # as the system does when a process is killed
    process.stdin = None
    assert process.communicate(timeout=30)[0] == "told\nkept\n" and process.returncode != 0


def test_without_a_command_line_signals_are_heard_only_while_there_is_something_to_keep():
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with pytest.raises(Interrupted, match="SIGTERM"), postponed() as told:
            assert not told
            os.kill(os.getpid(), signal.SIGTERM)
            assert told
        assert signal.getsignal(signal.SIGTERM) == before
    with postponed() as told:
        assert not told
