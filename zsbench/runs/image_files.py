"""Images of the user's own as files: which there are, and what is saved of each. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from zsbench.data.layout import is_picture, listing, walk
from zsbench.errors import UserError

Kind = Literal["labels", "overlay", "json"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be saved of an image, as `<name>-labels.png`, `<name>-overlay.png`, `<name>.json`."""


def image_files(given: Iterable[Path]) -> dict[Path, str]:
    """The images that files and folders stand for, sorted within a folder, and the name that each one's results go by.

    Raises `UserError` for what is not there, a folder without images, and two images whose results would go by one name.
    """
    found: dict[Path, str] = {}
    for each in given:
        if each.is_dir():
            inner = sorted(folder / name for folder, names in walk(each) for name in names if is_picture(name))
            if not inner:
                raise UserError(f"{each}: no image in this folder. It holds {listing(each)}.")
            found |= {path: str(path.relative_to(each).with_suffix("")) for path in inner}
        elif each.is_file():
            found[each] = each.stem
        else:
            raise UserError(f"image {each} does not exist.")
    first: dict[str, Path] = {}
    for path, name in found.items():
        if (other := first.setdefault(name, path)) != path:
            raise UserError(f"{other} and {path} would both be drawn as {name}-overlay.png: give each an --out.")
    return found
