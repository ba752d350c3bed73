"""Packages that only some need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from zsbench.errors import UserError


def optional(module: str, extra: str) -> ModuleType:
    """The package `module`, which the extra `extra` of zsbench brings; raises `UserError` saying how to get it."""
    try:
        found = import_module(module)
        if found.__file__ is None:  # a folder of that name where the command was given, such as `datasets`
            raise ImportError
    except ImportError as error:
        raise UserError(f"{module.partition('.')[0]} is not installed: pip install 'zsbench[{extra}]'.") from error
    return found


def lacking(module: str, extra: str) -> str:
    """How to get a package that is not there, as a sentence; empty where it is there."""
    try:
        optional(module, extra)
    except UserError as error:
        return str(error)
    return ""
