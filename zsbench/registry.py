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
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from zsbench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from zsbench.dataset import Dataset
    from zsbench.method import Method
    from zsbench.options import Options
import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from typing import Literal

Kind = Literal["method", "dataset"]
DECORATORS: dict[str, Kind] = {"register_method": "method", "register_dataset": "dataset"}


@dataclass(frozen=True)
class Declaration:
    """A top-level class and what its decorator says. `kind` and `name` are None for a class without one.

    `options`: module and name of its `Options`, where the class body says `Options = <what another module has>`.
    """

    kind: Kind | None
    name: str | None
    class_name: str
    summary: str
    needs: tuple[str, ...]
    options: tuple[str, str] | None


def read_declarations(path: Path) -> list[Declaration]:
    """The top-level classes of a Python file, in order.

    Raises `SyntaxError` where the file is not Python or a decorator's arguments are not literals, `OSError`
    where it cannot be read.
    """
    return list(parse(path.read_bytes(), path))


@cache  # the same text says the same, and a run asks more than once
def parse(source: bytes, path: Path) -> tuple[Declaration, ...]:
    """The top-level classes of a source text; `path` is for messages."""
    body = ast.parse(source, str(path)).body
    imported = {
        alias.asname or alias.name: ("." * node.level + (node.module or ""), alias.name)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return tuple(found for node in classes for found in declared(node, path, imported))


def declared(node: ast.ClassDef, path: Path, imported: Mapping[str, tuple[str, str]]) -> list[Declaration]:
    """One declaration for each registering decorator of a class, or one without a name if there are none."""
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    calls = [(kind, call) for call in node.decorator_list if (kind := decorator_kind(call)) is not None]
    options = options_home(node, imported)
    if not calls:
        return [Declaration(None, None, node.name, summary, (), options)]
    return [Declaration(kind, *arguments(call, node.name, summary, path), options) for kind, call in calls]


def options_home(node: ast.ClassDef, imported: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """From where a class imports its `Options`; None where its source does not tell."""
    given: dict[str, ast.expr | None] = {}
    for statement in node.body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        given |= {target.id: getattr(statement, "value", None) for target in targets if isinstance(target, ast.Name)}
    options = given.get("Options")
    return imported.get(options.id) if isinstance(options, ast.Name) else None


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


@dataclass(frozen=True)
class Plugin:
    """A method or a dataset that can be loaded, known from its source text."""

    kind: Kind
    name: str
    summary: str
    """First line of the class docstring."""
    source: str
    """`built-in`, `package <distribution>` or `file <path>`."""
    location: Path | None
    """The source file; None where a package does not show it without being imported."""
    module: str
    class_name: str
    needs: tuple[str, ...] = ()
    """Packages beyond those of zsbench, as one would give them to pip."""
    options: tuple[str, str] | None = None
    """Module (perhaps relative) and name of a method's options, where they are a module's of their own."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of `needs` that are not installed."""
        return tuple(need for need in self.needs if not is_installed(need))

    def __str__(self) -> str:
        return f"{self.class_name} in {self.location or self.module} ({self.source})"


@dataclass
class Scan:
    """What a look at all sources found: plugins, and why some source could not be read."""

    plugins: list[Plugin] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def named(self, kind: Kind, name: str) -> list[Plugin]:
        return [plugin for plugin in self.plugins if (plugin.kind, plugin.name) == (kind, name)]

    def add(self, plugin: Plugin) -> None:
        """Keep a plugin unless its class is there already (a built-in file given once more by its path)."""
        same = [p for p in self.named(plugin.kind, plugin.name) if p.class_name == plugin.class_name]
        if plugin.location is None or plugin.location not in [p.location for p in same]:
            self.plugins.append(plugin)

    def read(self, file: Path) -> list[Declaration]:
        """The classes of a file; a file that cannot be read is a problem, not an error."""
        try:
            return read_declarations(file)
        except SyntaxError as error:
            self.problems.append(f"{file}, line {error.lineno}: {error.msg}")
        except (OSError, ValueError) as error:
            self.problems.append(f"{file}: {error}")
        return []


def scan(kind: Kind, files: Sequence[Path] = ()) -> Scan:
    """Look at every source of plugins of a kind; they come sorted by name. `files`: given by the user."""
    found = Scan()
    for folder in built_in_folders(kind):
        for file in plugin_files(folder):
            inside = file.relative_to(folder).with_suffix("").parts
            module = ".".join(part for part in (f"zsbench.{kind}s", *inside) if part != "__init__")
            scan_file(found, file, module, "built-in")
    for entry in metadata.entry_points(group=f"zsbench.{kind}s"):
        scan_entry_point(found, kind, entry)
    for file in files:
        scan_file(found, file, file_module(file), f"file {file}")
    found.plugins = sorted((p for p in found.plugins if p.kind == kind), key=lambda p: p.name)
    return found


def built_in_folders(kind: Kind) -> list[Path]:
    """The folders behind `zsbench.methods` or `zsbench.datasets`, both without an `__init__.py`."""
    try:
        package = importlib.import_module(f"zsbench.{kind}s")
    except ModuleNotFoundError:
        raise UserError(
            f"zsbench/{kind}s is not a folder: it is a symbolic link to ../{kind}s that this checkout lacks "
            "(on Windows: git config core.symlinks true, then check out again)."
        ) from None
    return [Path(folder) for folder in package.__path__]


def plugin_files(folder: Path) -> Iterator[Path]:
    """The modules of a folder, and all files of its packages (folders with an `__init__.py`)."""
    for entry in sorted(folder.iterdir()):
        if entry.suffix == ".py" and entry.is_file():
            yield entry
        elif (entry / "__init__.py").is_file():
            yield from sorted(entry.rglob("*.py"))


def scan_file(found: Scan, file: Path, module: str, source: str) -> None:
    """Add what a file registers, of either kind."""
    for item in found.read(file.resolve()):
        if item.kind is not None and item.name is not None:
            described = (item.kind, item.name, item.summary, source, file.resolve(), module)
            found.add(Plugin(*described, item.class_name, item.needs, item.options))


def scan_entry_point(found: Scan, kind: Kind, entry: metadata.EntryPoint) -> None:
    """Add the class that an installed package names; if its source is not to be found, by its name alone."""
    source = f"package {entry.dist.name if entry.dist else '?'}"
    if not entry.attr:
        found.problems.append(f"{source}: entry point {entry.name} = {entry.value} must name module:Class")
        return
    file = source_file(entry.module)
    declarations = found.read(file) if file else []
    item = next((each for each in declarations if each.class_name == entry.attr), None)
    summary, needs, options = (item.summary, item.needs, item.options) if item else ("", (), None)
    found.add(Plugin(kind, entry.name, summary, source, file, entry.module, entry.attr, needs, options))


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


def is_installed(need: str) -> bool:
    """Whether a requirement's project is installed (any version), or a module of its name can be imported."""
    name = re.split(r"[^\w.-]", need, maxsplit=1)[0]
    try:
        metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return importlib.util.find_spec(name.replace("-", "_").partition(".")[0]) is not None
    return True


__all__ = [
    "Kind",
    "Plugin",
    "add_file",
    "load",
    "load_dataset_class",
    "load_method_class",
    "load_options",
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
    cls = load("method", name)
    from zsbench.method import Method  # here, because it imports torch

    if not issubclass(cls, Method):
        raise UserError(f"method {name!r}: {place(cls)} must be a subclass of {place(Method)}.")
    return cls


def load_options(name: str) -> type[Options]:
    """The options of the method of that name, with its variants, presets and tables; raises as `load`.

    Where the source of the method says from which module they are, that module alone is imported, and torch is not.
    """
    from zsbench.options import Options  # here, because it imports pydantic

    match scan("method", _files).named("method", name):
        case [Plugin(options=(module, options_name)) as plugin]:
            inside = plugin.location is not None and plugin.location.name == "__init__.py"
            package = plugin.module if inside else plugin.module.rpartition(".")[0]
            with suppress(Exception):  # it is met again, and explained, where the class is imported
                options = getattr(importlib.import_module(module, package), options_name)
                if issubclass(options, Options):
                    return options
    return load_method_class(name).Options


def load_dataset_class(name: str) -> type[Dataset]:
    """The dataset of that name; raises as `load`. `zsbench.data.dataset_class` also takes cards and files."""
    from zsbench.dataset import Dataset  # here, because it imports numpy

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
