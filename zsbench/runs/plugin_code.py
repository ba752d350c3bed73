"""Which code a plugin is: its file or package, version, hash and commit. Two versions of a plugin are two methods."""

from __future__ import annotations

import hashlib
import inspect
from importlib import metadata
from pathlib import Path

from zsbench.registry import file_of
from zsbench.result import Code
from zsbench.runs.software import revision_of
from zsbench.utils.files import printable, sha256


def code_of(cls: type) -> Code | None:
    """The code of a plugin's class; None for what zsbench brings.

    Of a package all its Python files count, of another file that file alone, of a notebook the class.
    """
    if cls.__module__.startswith("zsbench."):  # known by zsbench's own commit
        return None
    file, top = file_of(cls), cls.__module__.partition(".")[0]
    if file is None:
        return Code(name=f"{cls.__qualname__}, in a session", sha256=source_hash(cls))
    commit, dirty = revision_of(file)
    if "." not in cls.__module__ and file.name != "__init__.py":
        return Code(name=printable(file.name), version=version_of(top), sha256=sha256(file), commit=commit, dirty=dirty)
    folder = file.parents[cls.__module__.count(".") - (file.name != "__init__.py")]
    return Code(name=top, version=version_of(top), sha256=folder_hash(folder), commit=commit, dirty=dirty)


def source_hash(cls: type) -> str | None:
    """Hash of a class as it was typed; None where that is not known."""
    try:
        return hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def folder_hash(folder: Path) -> str:
    """Hash of the names and contents of all Python files of a package."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return found.hexdigest()


def version_of(module: str) -> str | None:
    """Of the distribution that a module is of; None where it was not installed."""
    names = metadata.packages_distributions().get(module)
    return metadata.version(names[0]) if names else None
