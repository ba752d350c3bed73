"""Which plugins there are: a look at built-in folders, installed packages and given files, importing none."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from zsbench.declarations import Declaration, Kind, read_declarations
from zsbench.errors import UserError


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
            found.add(Plugin(*described, item.class_name, item.needs))


def scan_entry_point(found: Scan, kind: Kind, entry: metadata.EntryPoint) -> None:
    """Add the class that an installed package names; if its source is not to be found, by its name alone."""
    source = f"package {entry.dist.name if entry.dist else '?'}"
    if not entry.attr:
        found.problems.append(f"{source}: entry point {entry.name} = {entry.value} must name module:Class")
        return
    file = source_file(entry.module)
    declarations = found.read(file) if file else []
    item = next((each for each in declarations if each.class_name == entry.attr), None)
    summary, needs = (item.summary, item.needs) if item else ("", ())
    found.add(Plugin(kind, entry.name, summary, source, file, entry.module, entry.attr, needs))


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
