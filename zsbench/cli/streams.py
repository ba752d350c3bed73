"""Output in whatever encoding a terminal, a pipe or a file has."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

from rich.console import Console

ASCII = {"±": "+-", "…": "...", "━": "-", "█": "#"}
"""What stands for a character that a terminal, or a file of its output, cannot show."""


def text_console(stderr: bool = False, quiet: bool = False) -> Console:
    """A console that shows every text as it is: `[/red]` in a path is no markup, `:car:` no picture."""
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def show_what_it_can(*streams: TextIO) -> None:
    """Let streams of any encoding take any text: what they cannot show is drawn in ASCII."""
    codecs.register_error("drawn", draw)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="drawn")


def draw(error: UnicodeError) -> tuple[str, int]:
    """A handler of `codecs`: what has no drawing, such as the halves of characters in file names, is spelt `\\u65e5`."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(ASCII.get(each, each.encode("ascii", "backslashreplace").decode()) for each in letters), error.end
