"""What a class's source says of its attributes, and those of its bases, without importing any of them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsbench.registry import Plugin, source_file

HARNESS = "zsbench.method"
"""Where the classes end that are read: what the base of all methods says is known."""
DEFAULTS: Mapping[str, Any] = {
    "trainable": False,
    "needs_clip": True,
    "settings": ("inductive", "transductive", "supervised"),
    "reads": (),
}
"""What `zsbench.method.Method` says of its class attributes."""


@dataclass
class Attributes:
    """Class attributes with literal values, by name; `whole`: every base was found down to that of the harness."""

    values: dict[str, Any] = field(default_factory=dict)
    whole: bool = True

    def get(self, name: str) -> Any:
        """The value of an attribute of methods, None where the sources do not tell."""
        return self.values.get(name, DEFAULTS[name] if self.whole else None)


def attributes(plugin: Plugin) -> Attributes:
    """What the sources of a method's class tell."""
    found = Attributes()
    if plugin.location is None:
        return Attributes(whole=False)
    collect(plugin.location, plugin.module, plugin.class_name, found, set())
    return found


def collect(file: Path, module: str, name: str, found: Attributes, visited: set[tuple[Path, str]]) -> None:
    """Add what the class `name` of a file says, nearest first, and then its bases in their order."""
    try:
        body = ast.parse(file.read_bytes()).body
        node = next(each for each in body if isinstance(each, ast.ClassDef) and each.name == name)
    except (OSError, SyntaxError, ValueError, StopIteration):
        found.whole = False
        return
    visited.add((file, name))
    for statement in node.body:
        for key, value in said(statement):
            found.values.setdefault(key, value)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    local = {each.name for each in body if isinstance(each, ast.ClassDef)}
    imported = imports(body, package)
    for base in node.bases:
        called = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        origin = (module, called) if called in local else imported.get(called, ("", ""))
        if origin[0] in (HARNESS, "zsbench", "abc") or called in ("ABC", "Method"):
            continue
        where = file if called in local else source_file(origin[0]) if origin[0] else None
        if where is None or (where, origin[1]) in visited:
            found.whole = found.whole and where is not None
        else:
            collect(where, origin[0], origin[1], found, visited)


def said(statement: ast.stmt) -> list[tuple[str, Any]]:
    """Names and values that a statement of a class gives; None for what is no literal."""
    if isinstance(statement, ast.FunctionDef):
        return [(statement.name, None)]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    value = getattr(statement, "value", None)
    if value is None:
        return []
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError):
        literal = None
    return [(target.id, literal) for target in targets if isinstance(target, ast.Name)]


def imports(body: list[ast.stmt], package: str) -> dict[str, tuple[str, str]]:
    """Module and name of everything that is imported by name."""
    found: dict[str, tuple[str, str]] = {}
    for node in (each for each in body if isinstance(each, ast.ImportFrom)):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        found |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    return found
