"""What a conversion is: files that were downloaded become label files that are read."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.errors import UserError
from zsbench.utils.files import read_text, write_text


@dataclass(frozen=True)
class Item:
    """One file to write: its path below the folder, and what the converter needs for it (picklable)."""

    name: str
    content: Any


class Conversion(ABC):
    """A way from originals to label files. `title`: what it does; `folder`: where the files go, below the home.

    `count`: how many files there are in the end when the originals are complete.
    """

    title: str
    folder: str
    count: int | None = None

    @abstractmethod
    def missing(self, home: Path, source: Path | None) -> str:
        """What has to be there and is not; empty when it is all there. `source`: where a user keeps the originals."""

    @abstractmethod
    def items(self, home: Path, source: Path | None) -> Sequence[Item]:
        """All files to write, in a fixed order. Raises `UserError` naming an original that cannot be read."""

    @abstractmethod
    def convert(self, content: Any) -> bytes:
        """The bytes of one file; runs in a worker process. Raises `UserError` naming the original at fault."""

    def lists(self, items: Sequence[Item]) -> dict[str, list[str]]:
        """Lists of ids to write beside the files: path below the home -> ids; none by default."""
        return {}


def encode_png(values: NDArray[Any], palette: Sequence[tuple[int, int, int]] = ()) -> bytes:
    """A PNG of label values: 8 bits with `palette` (if given), or 16 bits grey where a value is beyond 255."""
    if values.max(initial=0) > 255 or values.dtype == np.uint16:
        picture = Image.fromarray(values.astype(np.uint16))
    else:
        picture = Image.fromarray(values.astype(np.uint8))
        if palette:
            picture.putpalette([channel for colour in palette for channel in colour])
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=False)
    return stream.getvalue()


def write_list(path: Path, ids: Sequence[str]) -> str:
    """Write a list of ids unless there is one already; a note where that differs."""
    text = "".join(f"{name}\n" for name in ids)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        return ""
    if sorted(read_text(path, "list of ids").split()) == sorted(ids):
        return ""
    return f"{path} is there already with other ids and was left as it is."


def first_folder(candidates: Sequence[Path], holding: str) -> Path | None:
    """The first of some folders that holds a file matching the pattern."""
    return next((folder for folder in candidates if folder.is_dir() and next(folder.glob(holding), None)), None)


def required(folder: Path | None, what: str) -> Path:
    """`folder`, which `Conversion.missing` has found before."""
    if folder is None:
        raise UserError(f"{what} is no longer there.")
    return folder
