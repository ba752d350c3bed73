"""A request as a TOML file: what `--config` reads, and `--print-config` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from zsbench.errors import UserError, did_you_mean
from zsbench.runs.request import Request, Verb, pairs
from zsbench.runs.resolve import resolve
from zsbench.utils.documents import read_toml

TABLES = ("options", "recipe")
NO_IMAGES: tuple[Verb, ...] = ("run", "train", "eval", "profile", "calibrate")
"""Verbs whose request names a method and a dataset, so that all options can be shown with their values."""


def read_request(path: Path, known: Collection[str], command: str) -> dict[str, Any]:
    """What a file says, by field. Raises `UserError` for an entry that the command does not know, with the nearest one."""
    content = {name.replace("-", "_"): value for name, value in read_toml(path, "configuration").items()}
    for name in content:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"{path}: `zsbench {command}` has no option {name!r}.{near} Known: {', '.join(known)}.")
    return content


def overlaid(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, and what is given besides, which wins; options and recipe are overlaid entry by entry."""
    both = {**stored, **given}
    for name in TABLES:
        if name in stored and name in given:
            both[name] = {**pairs(stored[name]), **pairs(given[name])}
    return both


def request_text(
    model: type[Request], verb: Verb, given: Mapping[str, Any], own: Collection[str] = (), command: str = ""
) -> str:
    """A file that says the same again, to a command that is called as the verb, if not otherwise. What is at its default is
    there as a comment; of the method's options and of the recipe with the values they have. `own`: names that the command
    has besides."""
    fields = model.offered(verb)
    request = model.of(verb, {name: value for name, value in given.items() if name in fields and name not in own})
    lines = [f"# zsbench {command or verb} --config FILE: what is commented out is at its default"]
    lines += [f"{name} = {toml(given[name])}" for name in given if name in own]
    for name in fields:
        if name not in TABLES and name not in own:
            value = getattr(request, name)
            said = name in given
            lines.append(
                f"{name} = {toml(value)}" if said else f"# {name} = {toml(value) if value is not None else '...'}"
            )
    for name, values in tables(request, verb).items():
        asked = getattr(request, name)
        lines += ["", f"[{name}]"]
        lines += [f"{'' if key in asked else '# '}{key} = {toml(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def tables(request: Request, verb: Verb) -> dict[str, Mapping[str, Any]]:
    """Options and recipe with all their values, where they are known without looking at images."""
    if verb not in NO_IMAGES:
        return {name: getattr(request, name) for name in TABLES if getattr(request, name)}
    resolved = resolve(request)
    found: dict[str, Mapping[str, Any]] = {"options": resolved.options(resolved.learnt).model_dump(mode="json")}
    if "recipe" in type(request).offered(verb):
        found["recipe"] = resolved.recipe().model_dump(mode="json")
    return found


def toml(value: Any) -> str:
    """A value as TOML has it; None is the word `none`, which options and recipes read."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if isinstance(value, int) or math.isfinite(value) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return json.dumps("none" if value is None else str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
