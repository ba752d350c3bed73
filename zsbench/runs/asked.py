"""A request as a result keeps it: data that say what was asked for on any machine, whatever the folders there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsbench.result import File
from zsbench.runs.request import UNSAID, AnyRequest, Request
from zsbench.utils.files import printable, sha256


def asked(request: Request) -> dict[str, Any]:
    """Every field of a request, as JSON has it; in the place of a path stand the file's name and the hash of its content."""
    return {name: portable(value) for name, value in request}


def asked_of_training(request: Request) -> dict[str, Any]:
    """The fields of a request that say how a method is trained: equal trainings leave equal checkpoints."""
    decisive = request.offered("train").keys() - set(UNSAID)
    return {name: value for name, value in asked(request).items() if name in decisive}


def portable(value: Any) -> Any:
    """JSON of a value, in which `{"name": ..., "sha256": ...}` stands for every file (see `zsbench.result.File`).

    A text is a file's where it looks like a path, by a folder or a suffix, and there is such a file or folder.
    """
    if isinstance(value, Mapping):
        return {name: portable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(each) for each in value]
    path_like = isinstance(value, str) and (os.sep in value or "." in value) and os.path.exists(value)
    if isinstance(value, Path) or path_like:
        return as_file(Path(value)).model_dump()
    return printable(value) if isinstance(value, str) else value


def as_file(path: Path) -> File:
    """A file by name and hash; a folder, and what does not exist yet, by name."""
    return File(name=printable(path.name), sha256=sha256(path) if path.is_file() else None)


def as_named(request: AnyRequest) -> AnyRequest:
    """The request with bare names of files, as its command line is shown to people who have other folders."""
    return type(request).model_validate({name: bare(portable(value)) for name, value in request})


def bare(value: Any) -> Any:
    """What `portable` gives, with the name in the place of a file."""
    if isinstance(value, Mapping):
        return value["name"] if is_file(value) else {k: bare(v) for k, v in value.items()}
    return [bare(each) for each in value] if isinstance(value, list) else value


def differences(stored: Mapping[str, Any], request: Request) -> list[str]:
    """The fields in which a stored request is another than this one; what it does not hold was at its default."""
    now, default = asked(request), asked(type(request)())
    return [
        name for name in now if name not in UNSAID and identity(stored.get(name, default[name])) != identity(now[name])
    ]


def identity(value: Any) -> Any:
    """What tells a value from another: of each file the hash, where it is known."""
    if isinstance(value, (list, tuple)):
        return [identity(each) for each in value]
    if is_file(value):
        return value["sha256"] or value["name"]
    return {name: identity(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def is_file(value: Any) -> bool:
    """Whether it is what `portable` makes of a file."""
    return isinstance(value, Mapping) and value.keys() == File.model_fields.keys()
