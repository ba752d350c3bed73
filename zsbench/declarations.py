"""What a source file registers, read from its text: listing plugins must not run them or import torch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["method", "dataset"]
DECORATORS: dict[str, Kind] = {"register_method": "method", "register_dataset": "dataset"}


@dataclass(frozen=True)
class Declaration:
    """A top-level class and what its decorator says. `kind` and `name` are None for a class without one."""

    kind: Kind | None
    name: str | None
    class_name: str
    summary: str
    needs: tuple[str, ...]


def read_declarations(path: Path) -> list[Declaration]:
    """The top-level classes of a Python file, in order.

    Raises `SyntaxError` where the file is not Python or a decorator's arguments are not literals, `OSError`
    where it cannot be read.
    """
    return list(parse(path.read_bytes(), path))


@cache  # the same text says the same, and a run asks more than once
def parse(source: bytes, path: Path) -> tuple[Declaration, ...]:
    """The top-level classes of a source text; `path` is for messages."""
    classes = [node for node in ast.parse(source, str(path)).body if isinstance(node, ast.ClassDef)]
    return tuple(found for node in classes for found in declared(node, path))


def declared(node: ast.ClassDef, path: Path) -> list[Declaration]:
    """One declaration for each registering decorator of a class, or one without a name if there are none."""
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    calls = [(kind, call) for call in node.decorator_list if (kind := decorator_kind(call)) is not None]
    if not calls:
        return [Declaration(None, None, node.name, summary, ())]
    return [Declaration(kind, *arguments(call, node.name, summary, path)) for kind, call in calls]


def decorator_kind(call: ast.expr) -> Kind | None:
    """`method` for `@register_method(...)` or `@registry.register_method(...)`, and so on."""
    function = call.func if isinstance(call, ast.Call) else call
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return DECORATORS.get(name)


def arguments(call: ast.expr, class_name: str, summary: str, path: Path) -> tuple[str, str, str, tuple[str, ...]]:
    """Name, class name, summary and needs, as the decorator call spells them."""
    try:
        if not isinstance(call, ast.Call):
            raise ValueError
        given = dict(zip(("name", "needs"), map(ast.literal_eval, call.args), strict=False))
        given |= {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        name, needs = given["name"], given.get("needs", ())
        if not isinstance(name, str) or isinstance(needs, str) or not all(isinstance(n, str) for n in needs):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise SyntaxError(
            f'class {class_name}: its decorator takes literals only: ("name", needs=("package", ...))',
            (str(path), call.lineno, call.col_offset, None),
        ) from None
    return name, class_name, summary, tuple(needs)
