"""A run's folder is its own while it runs, on network file systems as well: a file in it says whose."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zsbench.errors import UserError

if TYPE_CHECKING:  # commands that claim nothing answer sooner
    from filelock import LeaseCompromise, SoftFileLease

LOCK = "run.lock"
LEASE = 60.0
"""Seconds without a sign of life after which another machine's run counts as ended; here its process is looked for."""

log = logging.getLogger("zsbench")


class Held(UserError):
    """Another run has the folder."""


@dataclass(frozen=True)
class Claim:
    """A folder in which no other run writes until it is released. `note`: what to know about the run before, if anything."""

    folder: Path
    lease: SoftFileLease
    note: str = ""

    def release(self) -> None:
        with suppress(OSError):
            self.lease.release(force=True)


def claim(folder: Path, patient: bool = False) -> Claim:
    """Take a folder that exists. What a dead run left of its claim is taken over.

    Where the process cannot be looked for, because it ran on another machine, only one that is `patient` finds out, and
    waits for it up to `LEASE` seconds. Raises `Held` where another run is at it.
    """
    from filelock import SoftFileLease, Timeout

    path = folder.resolve() / LOCK  # its sign of life goes on in whatever folder the process works
    lease = SoftFileLease(path, lease_duration=LEASE, thread_local=False, on_compromise=give_up)
    holder = who(lease)
    began, seen = time.monotonic(), last_sign(path)
    while True:
        try:
            lease.acquire(timeout=min(1.0, LEASE / 4) if patient else 0, poll_interval=0.05)
            break
        except Timeout:
            sign = last_sign(path)
            if not sign and time.monotonic() - began < LEASE:
                continue  # what was left is gone: earlier filelocks only clear it away, and take it when asked again
            if not patient or sign != seen or time.monotonic() - began > 2 * LEASE:
                raise Held(
                    f"{folder} is in use: {who(lease)} writes in it. Wait for its end or choose another --out. If it ended "
                    f"long ago on another machine, --resume finds out, or delete {path}."
                ) from None
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}.") from error
    return Claim(
        folder, lease, f"{holder}, which had {folder}, has ended without saying so: taken over." if holder else ""
    )


def who(lease: SoftFileLease) -> str:
    """The process that has a claim, in words; empty where there is none."""
    owner = lease.owner
    if owner is None:
        return "another run" if Path(lease.lock_file).exists() else ""
    return f"process {owner.pid} on {owner.hostname.partition('?')[0]}"


def last_sign(path: Path) -> int:
    """When the holder of a claim last said that it lives; 0 where nobody has it."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def give_up(loss: LeaseCompromise) -> None:
    """End where another run has taken the folder: it thought this process dead, which had stood still for long."""
    if loss.reason in ("owner-changed", "evicted"):
        message = f"{loss.lock_file} was taken over by another run while this process stood still: ended."
        log.error(message)
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(2)
