"""What CLIP weights have seen: the data that the tags of open_clip were trained on, as far as it is known."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("trained_on.csv")
"""Columns: how the tags begin, the data, and who says so."""


@cache
def known_data() -> tuple[tuple[str, str, str], ...]:
    """(beginning of the tags, data, source), longest beginnings first."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        rows = [(row["tags"], row["data"], row["source"]) for row in csv.DictReader(stream)]
    return tuple(sorted(rows, key=lambda row: -len(row[0])))


def trained_on(tag: str) -> str | None:
    """The data behind a tag, with its source; None where nothing is known, which does not mean that it is clean."""
    return next((f"{data} ({source})" for beginning, data, source in known_data() if tag.startswith(beginning)), None)
