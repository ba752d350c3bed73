"""What a user gives, checked against a pydantic model; a mistake is one sentence that names the entry.

What a file says is checked, too: it never decides which other file is opened or imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from zsbench.errors import UserError, did_you_mean, nearest

Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model],
    values: Mapping[str, Any],
    what: str,
    known: Collection[str] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> Model:
    """A `model` of `values`, whose names are among `known` (by default all of its fields).

    Raises `UserError` for the first that is unknown, with the nearest known one, or that has no fitting value. `what`: what
    a message calls an entry. `elsewhere`: names that may be meant, too, and how each is said.
    """
    known = model.model_fields if known is None else known
    for name in values:
        if name not in known:
            near, others = did_you_mean(name, known), elsewhere or {}
            meant = name if name in others else not near and nearest(name, list(others))
            near = f" Did you mean {others[meant]}?" if meant else near
            raise UserError(f"unknown {what}: {name!r}.{near} Known: {', '.join(known) or 'none'}.")
        if isinstance(values[name], bool) and not may_be_bool(model.model_fields[name].annotation):
            raise UserError(f"{what}: {name}={values[name]}: a yes or no says nothing here.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{what}: {explain(error)}") from error


def may_be_bool(annotation: Any) -> bool:
    """Whether a field of this type may be given True or False, which Python counts as 1 and 0."""
    return annotation in (bool, Any) or isinstance(annotation, bool) or any(map(may_be_bool, get_args(annotation)))


def from_file(word: Any, known: Collection[str], source: object, what: str, flag: str) -> str:
    """`word`, which the file `source` gives as its `what`, where it is one of the `known` names.

    Checkpoints and cards come from anywhere, so what they name is looked up and never taken for a path: anything else is a
    `UserError` that asks for `flag`.
    """
    if isinstance(word, str) and word in known:
        return word
    word = word.get("name") if isinstance(word, Mapping) else word  # of what was a file in training
    shown = PurePath(str(word)).name[:80]
    few = f" ({', '.join(known)})" if len(known) < 8 else ""
    raise UserError(
        f"{source} says {what} {shown!r}, which is no name that zsbench knows{few}. A file that it was made with is "
        f"not looked for: give it by {flag}."
    )


def named_path(value: Any) -> str | None:
    """The first text in a value of a file's that could be a path: with a folder in it, or the name of what lies here."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next(filter(None, map(named_path, value)), None)
    if not isinstance(value, str) or "{}" in value:
        return None
    return value if set(value) & {"/", "\\", "\0"} or os.path.lexists(value) else None


def holds_text(annotation: Any) -> bool:
    """Whether a field of that type takes any text or path, rather than one of a few words."""
    return annotation in (str, Path, Any) or any(map(holds_text, get_args(annotation)))


def explain(error: ValidationError) -> str:
    """The first thing that is wrong: `name=value: why.`, with the nearest word where one of a few was expected."""
    first = error.errors()[0]
    name, value, near = ".".join(map(str, first["loc"])), first["input"], ""
    if first["type"] == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall("'(.*?)'", first["ctx"]["expected"]))
    given = f"={value!r}" if value is None or isinstance(value, str | int | float) else ""
    why = first["msg"].removeprefix("Value error, ")
    return f"{name}{given}: {why}.{near}" if name else f"{why}."
