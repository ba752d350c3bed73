"""Output in whatever encoding a terminal, a pipe or a file has."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

ASCII = {"±": "+-", "…": "...", "━": "-", "█": "#"}
"""What stands for a character that a terminal, or a file of its output, cannot show."""


def show_what_it_can(*streams: TextIO) -> None:
    """Let streams of any encoding take any text: what they cannot show is drawn in ASCII."""
    codecs.register_error("drawn", draw)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="drawn")


def draw(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(ASCII.get(letter, "?") for letter in error.object[error.start : error.end]), error.end
