"""JSON and TOML documents, whatever is in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsbench.errors import UserError
from zsbench.utils.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_json(path: Path, what: str, advice: str = "") -> Any:
    """The content of a JSON file, which messages call `what`; a `UserError`, with `advice`, where it is absent or none."""
    complaint = f"{path}: not a readable {what} in JSON"
    return parsed(read_text(path, what), json.loads, f"{complaint}, {advice}" if advice else complaint)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file, which messages call `what`; raises `UserError` where it is absent or none."""
    content: dict[str, Any] = parsed(read_text(path, what), tomllib.loads, f"{path}: not a readable {what} in TOML")
    return content


def parsed(text: str, parse: Callable[[str], Any], complaint: str) -> Any:
    """What `parse` makes of a text; a `UserError` that begins with `complaint` where it is damaged or nested endlessly."""
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{complaint} ({error}).") from None
