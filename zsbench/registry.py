"""Methods and datasets by name: decorators that give the names, a list that imports nothing, and loading.

A plugin is a class under `@register_method("name")` or `@register_dataset("name")`: in a built-in folder, in
a package with entry points of the group `zsbench.methods` or `zsbench.datasets` (`name = "module:Class"`), or
in a file given by the user. One class has one name; a file may hold several classes. What is listed is read from
the source; a module is imported only when something of it is loaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from zsbench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from zsbench.dataset import Dataset
    from zsbench.method import Method
    from zsbench.options import Options

Kind = Literal["method", "dataset"]
KINDS: tuple[Kind, ...] = ("method", "dataset")
SESSION = "this session"
"""In the place of a source: a class that was defined, or imported, where zsbench is used from."""
Origin = tuple[str, str]
"""A module, perhaps relative, and a name in it."""
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
    would be given: `some_package`, or `name @ git+https://...`. Raises `UserError` for a name that is taken.
    """
    return lambda cls: record("method", name, cls)


def register_dataset(name: str, needs: Iterable[str] = ()) -> Callable[[DatasetClass], DatasetClass]:
    """Class decorator: make a `Dataset` known as `name`; otherwise as `register_method`."""
    return lambda cls: record("dataset", name, cls)


def record(kind: Kind, name: str, cls: Class) -> Class:
    """Name a class and remember it. The same place may come again (a module imported anew, or once more by its path), no
    other may."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise UserError(f"{place(cls)}: {name!r} is no name for a {kind}; use lower-case letters, digits, - or _.")
    own = vars(cls).get("name", name)
    if own != name:
        raise UserError(f"{place(cls)} is registered as {own!r} and as {name!r}; write one class for each.")
    known = _classes.setdefault((kind, name), cls)
    if place(known) != place(cls) and not same_source(known, cls):
        raise UserError(f"two {kind}s are called {name!r}: {place(known)} and {place(cls)}. Rename one.")
    cls.name = name  # type: ignore[attr-defined]
    _classes[kind, name] = cls
    return cls


def place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def file_of(cls: type) -> Path | None:
    """The file that a class was defined in; None where there is none, as in a notebook."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file).resolve() if file else None


def same_source(one: type, other: type) -> bool:
    """Whether two classes are one class of one file, imported under two names."""
    return one.__qualname__ == other.__qualname__ and file_of(one) is not None and file_of(one) == file_of(other)


def named_class(kind: Kind, cls: type) -> str:
    """The name by which a class is known; one that was not registered is by its own name: `MyMethod` is `my-method`."""
    name = vars(cls).get("name")
    if isinstance(name, str) and (kind, name) in _classes:
        record(kind, name, cls)
        return name
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", cls.__name__)
    return str(record(kind, name or "-".join(words).lower(), cls).name)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Plugin:
    """A method or a dataset that can be loaded, known from its source text.

    `summary`: first line of the class docstring. `source`: `built-in`, `package <distribution>` or `file <path>`.
    `location`: the source file; None where a package does not show it without being imported. `needs`: packages beyond
    those of zsbench, as one would give them to pip. `options`: where a method's options are, if in a module of their own.
    """

    kind: Kind
    name: str
    summary: str
    source: str
    location: Path | None
    module: str
    class_name: str
    needs: tuple[str, ...] = ()
    options: Origin | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of `needs` that are not installed."""
        return tuple(need for need in self.needs if not is_installed(need))

    def __str__(self) -> str:
        return f"{self.class_name} in {self.location or self.module} ({self.source})"


def is_installed(need: str) -> bool:
    """Whether a requirement's project is installed (any version), or a module of its name can be imported."""
    name = re.split(r"[^\w.-]", need, maxsplit=1)[0]
    try:
        metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return importlib.util.find_spec(name.replace("-", "_").partition(".")[0]) is not None
    return True


class Declared(NamedTuple):
    """What the source of a top-level class tells. `names`: kind, name and needs that each decorator gives it."""

    class_name: str
    summary: str
    names: tuple[tuple[Kind, str, tuple[str, ...]], ...]
    options: Origin | None


@cache  # the same text says the same, and a run asks more than once
def parse(text: bytes, path: Path) -> tuple[Declared, ...]:
    """The top-level classes of a source text, in order; `path` is for messages.

    Raises `SyntaxError` or `ValueError` where it is not Python, or a decorator's arguments are not literals.
    """
    body = ast.parse(text, str(path)).body
    imports = [(node, alias) for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
    imported = {alias.asname or alias.name: ("." * n.level + (n.module or ""), alias.name) for n, alias in imports}
    found = []
    for node in (node for node in body if isinstance(node, ast.ClassDef)):
        summary = (ast.get_docstring(node) or "").partition("\n")[0]
        found.append(Declared(node.name, summary, tuple(given_names(node, path)), options_home(node, imported)))
    return tuple(found)


def given_names(node: ast.ClassDef, path: Path) -> Iterator[tuple[Kind, str, tuple[str, ...]]]:
    """Kind, name and needs for each `@register_method(...)`, `@registry.register_dataset(...)` and so on of a class."""
    for decorator in node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        for kind in (kind for kind in KINDS if called == f"register_{kind}"):
            try:
                if not isinstance(decorator, ast.Call):
                    raise ValueError
                given = dict(zip(("name", "needs"), map(ast.literal_eval, decorator.args), strict=False))
                given |= {str(word.arg): ast.literal_eval(word.value) for word in decorator.keywords}
                name, needs = given["name"], given.get("needs", ())
                if not isinstance(name, str) or isinstance(needs, str) or not all(isinstance(n, str) for n in needs):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                message = f'class {node.name}: its decorator takes literals only: ("name", needs=("package", ...))'
                raise SyntaxError(message, (str(path), decorator.lineno, decorator.col_offset, None)) from None
            yield kind, name, tuple(needs)


def options_home(node: ast.ClassDef, imported: Mapping[str, Origin]) -> Origin | None:
    """From where a class imports its `Options`; None where its source does not tell."""
    for statement in node.body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == "Options" for target in targets):
            return imported.get(getattr(getattr(statement, "value", None), "id", ""))
    return None


class Scan:
    """A look at sources: the plugins found, and why some source could not be read."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.problems: list[str] = []

    def named(self, name: str) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.name == name]

    def read(self, path: Path) -> tuple[Declared, ...]:
        """The classes of a file; a file that cannot be read is a problem, not an error."""
        try:
            return parse(path.read_bytes(), path)
        except SyntaxError as error:
            self.problems.append(f"{path}, line {error.lineno}: {error.msg}")
        except (OSError, ValueError) as error:
            self.problems.append(f"{path}: {error}")
        return ()

    def add(self, plugin: Plugin) -> None:
        """Keep a plugin unless its class is there already (a built-in file given once more by its path)."""
        same = [(each.kind, each.location, each.class_name) for each in self.named(plugin.name)]
        if plugin.location is None or (plugin.kind, plugin.location, plugin.class_name) not in same:
            self.plugins.append(plugin)

    def file(self, path: Path, module: str, source: str) -> None:
        """Add what a file registers, of either kind."""
        path, taken = path.resolve(), set[tuple[Kind, str]]()
        for cls in self.read(path):
            for kind, name, needs in cls.names:
                if (kind, name) in taken:
                    self.problems.append(f"{path}: two {kind}s are called {name!r}: rename or remove one")
                taken.add((kind, name))
                self.add(Plugin(kind, name, cls.summary, source, path, module, cls.class_name, needs, cls.options))

    def session(self, kind: Kind) -> None:
        """Add the classes that the decorators named in this process, in a notebook or in a module of the user's, and that no
        source shows."""
        for (of, name), cls in _classes.items():
            if of == kind and not self.named(name):
                summary = (cls.__doc__ or "").strip().partition("\n")[0]
                self.add(Plugin(kind, name, summary, SESSION, file_of(cls), cls.__module__, cls.__qualname__))

    def entry_point(self, kind: Kind, entry: metadata.EntryPoint) -> None:
        """Add the class that an installed package names; if its source is not to be found, by its name alone."""
        source = f"package {entry.dist.name if entry.dist else '?'}"
        if not entry.attr:
            self.problems.append(f"{source}: entry point {entry.name} = {entry.value} must name module:Class")
            return
        file = source_file(entry.module)
        declared = {cls.class_name: cls for cls in self.read(file)} if file else {}
        cls = declared.get(entry.attr, Declared(entry.attr, "", (), None))
        needs = next((needs for *_, needs in cls.names), ())
        self.add(Plugin(kind, entry.name, cls.summary, source, file, entry.module, entry.attr, needs, cls.options))


def scan(kind: Kind) -> Scan:
    """Look at every source of plugins of a kind."""
    found = Scan()
    installed = scan_installed(kind)
    found.plugins, found.problems = list(installed.plugins), list(installed.problems)
    for file in _files:
        found.file(file, file_module(file), f"file {file}")
    found.session(kind)
    found.plugins = sorted((each for each in found.plugins if each.kind == kind), key=lambda plugin: plugin.name)
    return found


@cache  # what is installed stays as it is, and a run asks more than once
def scan_installed(kind: Kind) -> Scan:
    """Look at the built-in plugins of a kind, and at those of installed packages."""
    found = Scan()
    for folder in built_in_folders(kind):
        for file in plugin_files(folder):
            inside = file.relative_to(folder).with_suffix("").parts
            found.file(file, ".".join(part for part in (f"zsbench.{kind}s", *inside) if part != "__init__"), "built-in")
    for entry in entry_points().select(group=f"zsbench.{kind}s"):
        found.entry_point(kind, entry)
    return found


@cache
def entry_points() -> Any:
    """Those of all installed packages, whose files are read once."""
    return metadata.entry_points()


def built_in_folders(kind: Kind) -> list[Path]:
    """The folders behind `zsbench.methods` or `zsbench.datasets`, both without an `__init__.py`."""
    try:
        return [Path(folder) for folder in importlib.import_module(f"zsbench.{kind}s").__path__]
    except ModuleNotFoundError:
        raise UserError(
            f"zsbench/{kind}s is not a folder: it is a symbolic link to ../{kind}s that this checkout lacks "
            "(on Windows: git config core.symlinks true, then check out again)."
        ) from None


def plugin_files(folder: Path) -> Iterator[Path]:
    """The modules of a folder, and those files of its packages (folders with an `__init__.py`) that may register some."""
    for entry in sorted(folder.iterdir()):
        if entry.suffix == ".py" and entry.is_file():
            yield entry
        elif (entry / "__init__.py").is_file():
            yield from (file for file in sorted(entry.rglob("*.py")) if b"register_" in file.read_bytes())


def source_file(module: str) -> Path | None:
    """The file of a module, found without importing its parents (which `importlib.util.find_spec` would)."""
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(parts[0])
        for depth in range(2, len(parts) + 1):
            inside = spec.submodule_search_locations if spec else None
            spec = PathFinder.find_spec(".".join(parts[:depth]), inside) if inside else None
    except (ImportError, ValueError):
        return None
    file = Path(spec.origin).resolve() if spec and spec.origin else None
    return file if file and file.suffix == ".py" else None


def file_module(file: Path) -> str:
    """One module name for one file, however its path was spelt: imported once, it has one class."""
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    return f"zsbench_plugin_{re.sub(r'[^0-9a-zA-Z]', '_', file.stem)}_{digest}"


def add_file(path: Path | str) -> None:
    """Make the plugins of a Python file known. Raises `UserError` where it is absent, not Python, or registers nothing."""
    file, found = Path(path).resolve(), Scan()
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"plugin {path}: there is no such Python file.")
    found.file(file, file_module(file), f"file {file}")
    if found.problems:
        raise UserError(f"plugin {found.problems[0]}.")
    if not found.plugins:
        raise UserError(
            f"plugin {path} registers nothing: expected a class under @register_method or @register_dataset."
        )
    if file not in _files:
        _files.append(file)


def plugins(kind: Kind | None = None) -> list[Plugin]:
    """All plugins (of one kind), sorted by kind and name; a name found twice comes twice (see `problems`)."""
    return [plugin for each in KINDS if kind in (None, each) for plugin in scan(each).plugins]


def problems(kind: Kind | None = None) -> list[str]:
    """What stands in the way of some plugins, a line each: sources that cannot be read, names used twice."""
    lines: dict[str, None] = {}
    for found in (scan(each) for each in KINDS if kind in (None, each)):
        lines |= dict.fromkeys(found.problems)
        several = (found.named(name) for name in dict.fromkeys(plugin.name for plugin in found.plugins))
        lines |= dict.fromkeys(taken_twice(same) for same in several if len(same) > 1)
    return list(lines)


def load(kind: Kind, name: str) -> type:
    """Import one plugin and return its class.

    Raises `UserError` for a name that is unknown or taken twice, and for a plugin that cannot be imported.
    """
    found = scan(kind)
    match found.named(name):
        case []:
            raise UserError(unknown(kind, name, found))
        case [plugin]:
            return import_class(plugin)
        case several:
            raise UserError(taken_twice(several))


def load_method_class(name: str) -> type[Method]:
    """The method of that name; raises as `load`."""
    cls = load("method", name)
    from zsbench.method import Method  # here, because it imports torch

    return checked("method", cls, Method)


def load_dataset_class(name: str) -> type[Dataset]:
    """The dataset of that name; raises as `load`. `zsbench.data.dataset_class` also takes cards and files."""
    from zsbench.dataset import Dataset  # here, because it imports numpy

    return checked("dataset", load("dataset", name), Dataset)


def checked(kind: Kind, cls: type, base: Class) -> Class:
    if issubclass(cls, base):
        return cls  # type: ignore[return-value]  # mypy knows no class of a class that is a variable
    raise UserError(f"{kind} {vars(cls).get('name')!r}: {place(cls)} must be a subclass of {place(base)}.")


def load_options(name: str) -> type[Options]:
    """The options of the method of that name, with its variants, presets and tables; raises as `load`.

    Where the source of the method says from which module they are, that module alone is imported, and torch is not.
    """
    from zsbench.options import Options  # here, because it imports pydantic

    match scan("method").named(name):
        case [Plugin(options=(module, options_name)) as plugin]:
            inside = plugin.location is not None and plugin.location.name == "__init__.py"
            package = plugin.module if inside else plugin.module.rpartition(".")[0]
            with suppress(Exception):  # it is met again, and explained, where the class is imported
                options = getattr(importlib.import_module(module, package), options_name)
                if issubclass(options, Options):
                    return options
    return load_method_class(name).Options


def import_class(plugin: Plugin) -> type:
    """Import the module of a plugin and return its class, named."""
    if plugin.source == SESSION:
        return _classes[plugin.kind, plugin.name]
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
    if plugin.location is None or not plugin.source.startswith("file "):
        return importlib.import_module(plugin.module)
    return import_file(plugin.location)


def import_file(file: Path) -> ModuleType:
    """The module of a Python file of the user's, imported once."""
    name = file_module(file)
    if name in sys.modules:
        return sys.modules[name]
    if (known := imported_as(file)) is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, str(file))
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def imported_as(file: Path) -> ModuleType | None:
    """The module that a user has imported from that file, whatever its name; None for the script that is running."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and name != "__main__" and Path(path).name == file.name and Path(path).resolve() == file:
            whole = not getattr(getattr(module, "__spec__", None), "_initializing", False)
            return module if whole and isinstance(module, ModuleType) else None
    return None


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
