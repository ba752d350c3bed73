"""Words that others chose, in text that has a markup: they are shown as they are, and never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from tabulate import tabulate

SPECIAL = re.compile(r"[&|`<*~$\\]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")
"""What would begin an entity, end a cell, or begin code, HTML, emphasis, a formula, an escape, or the address of a link. An
underscore between letters begins nothing."""


def plain(text: object) -> str:
    """One line of printable characters: line breaks, control characters and halves of characters become spaces."""
    line = str(text)
    return " ".join((line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)).split())


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def cell(text: object) -> str:
    """A text in a Markdown table or heading."""
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain(text))


def code(text: object) -> str:
    """A text between backticks, which know no escape: its own become apostrophes."""
    return "`" + plain(text).replace("`", "'") + "`"


def link(text: object, address: str) -> str:
    return f"[{cell(text)}]({quote(address)})"


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of cells that hold Markdown."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def spreadsheet_value(value: Any) -> Any:
    """A word in one line that no spreadsheet takes for a formula; numbers as they are, nothing for an undefined one."""
    if isinstance(value, str):
        return f"'{plain(value)}" if plain(value)[:1] in tuple("=+-@") else plain(value)
    return "" if value is None else value
