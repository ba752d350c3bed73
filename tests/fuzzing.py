"""Fuzzing: valid inputs are damaged at random, and whatever reads them gives a right value or a `UserError`, soon.

Input number k of a fuzzer is a function of its seed and k, so that a failure can be repeated.
"""

from __future__ import annotations

import copy
import json
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from zsbench.errors import UserError

SEED = 20_261_126
SECONDS = 20.0
"""A fuzzer ends after so many, or after all of its rounds."""
PATIENCE = 60
"""Seconds after which one input counts as a hang."""

DEEP = "deep"
"""Stands for lists within lists, deeper than any parser goes."""
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 10**23, -(2**63), 2**63, 1e308, -1e308, float("nan"), float("inf"), 0.5, 255),
    *("", " ", "x" * 300, "²", "../../escaped", "/escaped", "a\0b", "\ud800", "nan", "[/red]", "é", "{id}", "con.toml"),
    *([], {}, [None], [[]], [{}], {"": None}, [1, "a"], ["a", "a"], {"a": {"b": []}}, DEEP),
)
"""Values that nobody expects; most of them stand in the place of any other."""


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with a few bits flipped, cut off, or with stretches overwritten, repeated, left out or swapped."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        first, second = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        match int(rng.integers(0, 8)):
            case 0 | 1 | 2 if data:
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            case 3:
                del data[first:]
            case 4:
                del data[first : min(second, first + 16)]
            case 5:
                data[first:first] = data[first : min(second, first + 64)]
            case 6:
                size = min(8, len(data) - first)
                data[first : first + size] = rng.choice(np.frombuffer(b"\0\xff\x7f\x80", np.uint8), size).tobytes()
            case _:
                data = data[second:] + data[first:second] + data[:first]
    return bytes(data)


def altered(content: Any, rng: np.random.Generator) -> Any:
    """A JSON document with a few of its entries replaced, left out, renamed, swapped or repeated."""
    root = [copy.deepcopy(content)]
    for _ in range(int(rng.integers(1, 4))):
        places = list(walk(root))
        place, key = places[int(rng.integers(len(places)))]
        if not (isinstance(place, dict) and key not in place) and not (isinstance(place, list) and key >= len(place)):
            alter(place, key, places, rng)
    return root[0]


def alter(place: Any, key: Any, places: Sequence[tuple[Any, Any]], rng: np.random.Generator) -> None:
    """Change one entry of a document."""
    match int(rng.integers(0, 8)):
        case 0 if isinstance(place, dict):
            del place[key]
        case 1 if isinstance(place, dict):
            place[str(rng.choice(["", "x", "name", key + " "]))] = place.pop(key)
        case 2 if isinstance(place, list):
            place.insert(key, copy.deepcopy(place[key]))
        case 3:
            other, there = places[int(rng.integers(len(places)))]
            with suppress(KeyError, IndexError):
                place[key] = copy.deepcopy(other[there])
        case 4 if isinstance(place[key], int | float):
            place[key] = place[key] + type(place[key])(rng.integers(-2, 3))
        case _:
            place[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])


def walk(node: Any) -> Any:
    """Every container of a document with each of its keys."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from walk(value)


def as_json(content: Any) -> bytes:
    """A document as a file has it, with what stands for endless nesting spelt out."""
    return json.dumps(content).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000).encode()


def fuzz(make: Callable[[np.random.Generator], Any], read: Callable[[Any], None], seconds: float = SECONDS) -> None:
    """Let `read` meet what `make` makes, round after round: it may raise `UserError`, and nothing else.

    Each kind of failure is told once, with the number of its first input.
    """
    end, number, failures = time.monotonic() + seconds, 0, dict[str, str]()
    while time.monotonic() < end:
        made = make(np.random.default_rng([SEED, number]))
        try:
            with patience():
                read(made)
        except UserError as error:
            if not str(error).strip():
                failures.setdefault("UserError", f"input {number}: an error without a word")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            failures.setdefault(f"{type(error)}{place}", f"input {number}: {error!r:.300}, {place}: {made!r:.500}")
        number += 1
    assert not failures, "\n".join(failures.values())
    assert number > 20, f"only {number} inputs in {seconds} seconds: the fuzzer says nothing"


@contextmanager
def patience() -> Any:
    """Raise `TimeoutError` in what takes too long."""

    def expire(number: int, frame: object) -> None:
        raise TimeoutError(f"no answer within {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def from_bytes(seeds: Sequence[bytes]) -> Callable[[np.random.Generator], bytes]:
    """Damaged copies of some files."""
    return lambda rng: damaged(seeds[int(rng.integers(len(seeds)))], rng)


def outside(folder: Path) -> list[str]:
    """All files beside a folder, to see whether something was written there."""
    return sorted(str(path) for path in folder.parent.rglob("*") if not path.is_relative_to(folder))
