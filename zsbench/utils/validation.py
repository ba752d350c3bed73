"""What a user gives, checked against a pydantic model; a mistake is one sentence that names the entry."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from zsbench.errors import UserError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], what: str, known: Collection[str] | None = None) -> Model:
    """A `model` of `values`, whose names are among `known` (by default all of its fields).

    Raises `UserError` for the first that is unknown, with the nearest known one, or that has no fitting value. `what`: what
    a message calls an entry.
    """
    known = model.model_fields if known is None else known
    for name in values:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"unknown {what}: {name!r}.{near} Known: {', '.join(known) or 'none'}.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{what}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """The first thing that is wrong: `name=value: why.`, with the nearest word where one of a few was expected."""
    first = error.errors()[0]
    name, value, near = ".".join(map(str, first["loc"])), first["input"], ""
    if first["type"] == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall("'(.*?)'", first["ctx"]["expected"]))
    given = f"={value!r}" if value is None or isinstance(value, str | int | float) else ""
    why = first["msg"].removeprefix("Value error, ")
    return f"{name}{given}: {why}.{near}" if name else f"{why}."
