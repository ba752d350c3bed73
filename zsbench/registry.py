"""Methods and datasets by name: decorators that give the names, a list that imports nothing, and loading.

A plugin is a class under `@register_method("name")` or `@register_dataset("name")`: in a built-in folder, in
a package with entry points of the group `zsbench.methods` or `zsbench.datasets` (`name = "module:Class"`), or
in a file given by the user. One class has one name; a file may hold several classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from zsbench.declarations import Kind
from zsbench.discovery import Plugin, Scan, built_in_folders, file_module, scan, scan_file
from zsbench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from zsbench.dataset import Dataset
    from zsbench.method import Method

__all__ = [
    "Kind",
    "Plugin",
    "add_file",
    "load",
    "load_dataset_class",
    "load_method_class",
    "plugins",
    "problems",
    "register_dataset",
    "register_method",
]

KINDS: tuple[Kind, ...] = ("method", "dataset")
Class = TypeVar("Class", bound=type)
MethodClass = TypeVar("MethodClass", bound="type[Method]")
DatasetClass = TypeVar("DatasetClass", bound="type[Dataset]")

_classes: dict[tuple[Kind, str], type] = {}
"""What the decorators have recorded: the classes of the modules imported so far."""
_files: list[Path] = []
"""Files given by the user, resolved, in order."""


def register_method(name: str, needs: Iterable[str] = ()) -> Callable[[MethodClass], MethodClass]:
    """Class decorator: make a `Method` known as `name`. `needs`: packages that zsbench itself does not need.

    Both must be literals, for they are read from the source before anything is imported. A need is what pip
    would be given: `transformers`, or `name @ git+https://...`. Raises `UserError` for a name that is taken.
    """
    return lambda cls: record("method", name, cls)


def register_dataset(name: str, needs: Iterable[str] = ()) -> Callable[[DatasetClass], DatasetClass]:
    """Class decorator: make a `Dataset` known as `name`; otherwise as `register_method`."""
    return lambda cls: record("dataset", name, cls)


def record(kind: Kind, name: str, cls: Class) -> Class:
    """Name a class and remember it. The same place may come again (a module imported anew), no other may."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise UserError(f"{place(cls)}: {name!r} is no name for a {kind}; use lower-case letters, digits, - or _.")
    own = vars(cls).get("name", name)
    if own != name:
        raise UserError(f"{place(cls)} is registered as {own!r} and as {name!r}; write one class for each.")
    known = _classes.get((kind, name))
    if known is not None and place(known) != place(cls):
        raise UserError(f"two {kind}s are called {name!r}: {place(known)} and {place(cls)}. Rename one.")
    cls.name = name  # type: ignore[attr-defined]
    _classes[kind, name] = cls
    return cls


def place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def plugins(kind: Kind | None = None) -> list[Plugin]:
    """All plugins (of one kind), sorted by kind and name; a name found twice comes twice (see `problems`)."""
    return [plugin for each in KINDS if kind in (None, each) for plugin in scan(each, _files).plugins]


def problems(kind: Kind | None = None) -> list[str]:
    """What stands in the way of some plugins, a line each: sources that cannot be read, names used twice."""
    lines: list[str] = []
    for each in KINDS if kind is None else (kind,):
        found = scan(each, _files)
        names = dict.fromkeys(plugin.name for plugin in found.plugins)
        several = [same for name in names if len(same := found.named(each, name)) > 1]
        lines += [*found.problems, *map(taken_twice, several)]
    return list(dict.fromkeys(lines))


def load(kind: Kind, name: str) -> type:
    """Import one plugin and return its class.

    Raises `UserError` for a name that is unknown or taken twice, and for a plugin that cannot be imported.
    """
    found = scan(kind, _files)
    match found.named(kind, name):
        case []:
            raise UserError(unknown(kind, name, found))
        case [plugin]:
            return import_class(plugin)
        case several:
            raise UserError(taken_twice(several))


def load_method_class(name: str) -> type[Method]:
    """The method of that name; raises as `load`."""
    from zsbench.method import Method  # here, because it imports torch

    cls = load("method", name)
    if not issubclass(cls, Method):
        raise UserError(f"method {name!r}: {place(cls)} must be a subclass of {place(Method)}.")
    return cls


def load_dataset_class(name: str) -> type[Dataset]:
    """The dataset of that name, of a card (`my.toml`) or of a Python file with one (`my.py`); raises as `load`."""
    from zsbench.dataset import Dataset  # here, because it imports numpy

    if name.endswith((".toml", ".py")):
        from zsbench.readers.card import dataset_class

        return dataset_class(name)
    cls = load("dataset", name)
    if not issubclass(cls, Dataset):
        raise UserError(f"dataset {name!r}: {place(cls)} must be a subclass of {place(Dataset)}.")
    return cls


def add_file(path: Path | str) -> None:
    """Make the plugins of a Python file known.

    Raises `UserError` where the file is absent, is not Python or registers nothing.
    """
    file = Path(path).resolve()
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"plugin {path}: there is no such Python file.")
    found = Scan()
    scan_file(found, file, file_module(file), f"file {file}")
    if found.problems:
        raise UserError(f"plugin {found.problems[0]}.")
    if not found.plugins:
        raise UserError(
            f"plugin {path} registers nothing: expected a class under @register_method or @register_dataset."
        )
    if file not in _files:
        _files.append(file)


def import_class(plugin: Plugin) -> type:
    """Import the module of a plugin and return its class, named."""
    try:
        cls: type = getattr(import_module(plugin), plugin.class_name)
        return record(plugin.kind, plugin.name, cls)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way, and must not end the program
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        missing = " ".join(f"'{need}'" for need in plugin.missing)
        advice = f" What it needs is not installed: pip install {missing}" if missing else ""
        raise UserError(f"{plugin.kind} {plugin.name!r} cannot be used: {plugin}: {reason}.{advice}") from error


def import_module(plugin: Plugin) -> ModuleType:
    """The module of a plugin, imported once; a file goes by its own module name."""
    if plugin.module in sys.modules or not plugin.source.startswith("file "):
        return importlib.import_module(plugin.module)
    spec = importlib.util.spec_from_file_location(plugin.module, str(plugin.location))
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = sys.modules[plugin.module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[plugin.module]
        raise
    return module


def taken_twice(several: list[Plugin]) -> str:
    kind, name, places = several[0].kind, several[0].name, " and ".join(map(str, several))
    return f"{len(several)} {kind}s are called {name!r}: {places}. Rename or remove one."


def unknown(kind: Kind, name: str, found: Scan) -> str:
    """The message for a name nobody registers: the nearest, all of them, where was looked, what is broken."""
    names = [plugin.name for plugin in found.plugins]
    packages = f"installed packages (entry points zsbench.{kind}s)"
    searched = [*map(str, built_in_folders(kind)), packages, *map(str, _files)]
    lines = [
        f"unknown {kind} {name!r}.{did_you_mean(name, names)}",
        f"Known: {', '.join(names) or 'none'}.",
        f"Looked in: {', '.join(searched)}.",
        *(f"Could not be read: {problem}." for problem in found.problems),
    ]
    return "\n".join(lines)
