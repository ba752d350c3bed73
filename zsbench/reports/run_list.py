"""The runs of a folder, with what distinguishes them: what was changed first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from zsbench.checkpoint import CheckpointInfo, read_info
from zsbench.errors import UserError
from zsbench.reports.rows import changes, trained_request
from zsbench.result import Result
from zsbench.runs.folder import CHECKPOINT, IDENTITY, RESULT
from zsbench.runs.request import as_word

ALWAYS, NEVER = ("method", "dataset"), ("date",)
NUMBERS = ("hIoU", "mIoU")


@dataclass(frozen=True)
class Listed:
    """A run: its folder below the one that was asked for, whether it is finished, what was changed in it by flag, what it
    is besides, and its numbers."""

    folder: str
    state: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


def list_runs(folder: Path) -> list[Listed]:
    """Every run below a folder, in the order of names. Raises `UserError` where there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; runs are in `runs` unless --out says otherwise.")
    names = (RESULT, IDENTITY, CHECKPOINT)
    found = {path.parent for name in names for path in folder.rglob(name)}
    return [listed(each, each.relative_to(folder).as_posix()) for each in sorted(found)]


def listed(folder: Path, name: str) -> Listed:
    """One run, whatever it left so far."""
    try:
        if (folder / RESULT).exists():
            return finished(Result.load(folder / RESULT), name)
        if (folder / IDENTITY).exists():
            return begun(json.loads((folder / IDENTITY).read_text(encoding="utf-8")), name)
        return trained(read_info(folder / CHECKPOINT), name)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        return Listed(name, shorten(f"unreadable: {str(error).splitlines()[0]}", 80, placeholder=" ..."))


def trained(info: CheckpointInfo, name: str) -> Listed:
    changed = values(changes(info.request or {}))
    about = {"method": info.method, "dataset": info.dataset, "names": info.names or "", "setting": info.setting or ""}
    return Listed(name, "trained", changed, {**about, "verb": "train", "seed": info.seed})


def finished(result: Result, name: str) -> Listed:
    changed = values({**changes(trained_request(result)), **changes(result.request)})
    about = {
        "method": result.method.name,
        "variant": result.method.variant or "",
        "dataset": result.dataset.name,
        "names": result.dataset.names,
        "setting": result.setting,
        "verb": result.verb,
        "images": result.dataset.images,
        "seed": result.seed,
    }
    measured = {each: result.metrics[each].value for each in NUMBERS if each in result.metrics}
    numbers = {each: value for each, value in measured.items() if not math.isnan(value)}
    return Listed(name, "finished", changed, {**about, "date": result.date[:16]}, numbers)


def values(changed: Mapping[str, str]) -> dict[str, str]:
    """Of `-o prompts=20` and of `--limit 8` the value; of a flag alone, that it is on."""
    return {flag: word.removeprefix(flag).lstrip(" =") or "yes" for flag, word in changed.items()}


def begun(stored: Mapping[str, Any], name: str) -> Listed:
    identity, request = stored["identity"], stored.get("request", {})
    about = {each: identity[each] for each in ("method", "dataset", "setting", "seed")}
    return Listed(name, "unfinished", values(changes(request)), {**about, "variant": request.get("variant") or ""})


def columns(runs: Sequence[Listed]) -> list[str]:
    """What is shown of the runs: what was changed in some and not in all, then what they are where that differs."""
    flags = list(dict.fromkeys(flag for run in runs for flag in run.changed))
    about = list(dict.fromkeys(name for run in runs for name in run.about))
    complete = [run for run in runs if run.about]
    several = len(complete) > 1
    changed = [flag for flag in flags if not several or len({str(run.changed.get(flag)) for run in complete}) > 1]
    differ = [
        name
        for name in about
        if name not in NEVER
        and (name in ALWAYS or len({str(run.about[name]) for run in complete if name in run.about}) > 1)
    ]
    numbers = [name for name in NUMBERS if any(name in run.numbers for run in runs)]
    states = ["state"] if any(run.state != "finished" for run in runs) else []
    return ["run", *changed, *differ, *numbers, *states]


def rows(runs: Sequence[Listed], chosen: Sequence[str]) -> Iterator[list[str]]:
    """The runs as words of a table with the columns that were `chosen`."""
    for run in runs:
        numbers = {name: f"{value:.2f}" for name, value in run.numbers.items()}
        known = {"run": run.folder, "state": run.state, **run.about, **run.changed, **numbers}
        yield [as_word(known[name]) if name in known else "" for name in chosen]
