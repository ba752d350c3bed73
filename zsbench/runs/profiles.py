"""Many profiles: every method x dataset x size x type x device, each in a process of its own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from zsbench.errors import UserError
from zsbench.result import Profile
from zsbench.runs.request import ProfileRequest


def cells(
    base: ProfileRequest,
    methods: Sequence[str],
    datasets: Sequence[str],
    sizes: Sequence[str],
    dtypes: Sequence[str],
    devices: Sequence[str],
) -> list[ProfileRequest]:
    """`base` for every combination; no sizes and no devices mean the default ones.

    Methods vary first: what is compared is measured one after the other. Raises `UserError` for a checkpoint, which is one
    method's, and several of them.
    """
    if base.checkpoint is not None and len(methods) > 1:
        raise UserError(f"--checkpoint holds what one method learnt: give one --method, not {', '.join(methods)}.")
    return [
        base.model_copy(update={"device": device, "dtype": dtype, "size": size, "dataset": dataset, "method": method})
        for device, dtype, size, dataset, method in itertools.product(
            devices or (None,), dtypes, sizes or (None,), datasets, methods
        )
    ]


def run_cells(
    requests: Sequence[ProfileRequest], folder: Path, say: Callable[[str], None]
) -> tuple[list[Profile], list[Path]]:
    """Measure every cell; each leaves NAME.json or, failing, NAME.log in `folder`: `(profiles, logs of failures)`."""
    profiles, failures = [], []
    for number, request in enumerate(requests, 1):
        say(f"[{number}/{len(requests)}] {request.name} ...")
        outcome, log = folder / f"{request.name}.json", folder / f"{request.name}.log"
        folder.mkdir(parents=True, exist_ok=True)
        outcome.unlink(missing_ok=True)
        words = [sys.executable, "-m", "zsbench", *request.model_copy(update={"out": folder}).profile_words()]
        with log.open("w", encoding="utf-8") as stream:
            finished = subprocess.run(words, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if finished.returncode == 0 and outcome.exists():
            profiles.append(Profile.load(outcome))
            log.unlink()
        else:
            say(f"    failed: {reason(log) or f'exit code {finished.returncode}'}")
            failures.append(log)
    return profiles, failures


def reason(log: Path) -> str:
    """The line of a log that says what went wrong: its first error, else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    return next((line for line in lines if line.startswith("error:")), lines[-1])
