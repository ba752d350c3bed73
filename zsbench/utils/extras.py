"""Packages that only some need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from zsbench.errors import UserError


def optional(module: str, extra: str) -> ModuleType:
    """The package `module`, which the extra `extra` of zsbench brings; raises `UserError` saying how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{module.partition('.')[0]} is not installed: pip install 'zsbench[{extra}]'.") from error
