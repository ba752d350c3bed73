"""What an import has found: classes, images, and a label map for each of them, whatever tool they are from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from zsbench.data.layout import is_picture, walk
from zsbench.errors import UserError
from zsbench.utils.colours import RGB

UNANNOTATED, EXCLUDED = -1, -2
"""Where a tool says nothing of a pixel, and where it says that nobody scores it."""
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What folders and files are called that hold a split, and what it is called here."""
ONLY = "val"
"""The split of images that are in none."""
UPLOADED = re.compile(r"^[0-9a-f]{8}-")


class Painted(NamedTuple):
    """`label`: int32 (H, W), a class index, `UNANNOTATED` or `EXCLUDED`.

    `overlap`: pixels that masks of several classes claim.
    """

    label: NDArray[np.int32]
    overlap: int = 0


@dataclass(frozen=True)
class Picture:
    """An image with the function that reads its label map; `id`: its name within the split, with / between folders."""

    split: str
    id: str
    image: Path
    read: Callable[[], Painted]


@dataclass(frozen=True)
class Found:
    """`tool`: whose layout it is. `classes`: as the tool calls them, in the order of the indices of label maps.

    `notes`: what a user should know of how it was read. `void`: classes that the layout itself says nobody scores.
    """

    tool: str
    classes: tuple[str, ...]
    pictures: Sequence[Picture]
    colours: tuple[RGB, ...] | None = None
    notes: Sequence[str] = ()
    void: frozenset[str] = field(default_factory=frozenset)


def pictures_below(folder: Path) -> list[Path]:
    """All images and masks below a folder, sorted."""
    return sorted(here / name for here, names in walk(folder) for name in names if is_picture(name))


def files_called(folder: Path, *names: str) -> list[Path]:
    """The files of these names below a folder, sorted."""
    return sorted(here / name for here, inner in walk(folder) for name in inner if name in names)


def files_ending(folder: Path, suffix: str) -> list[Path]:
    """The files whose names end so, in any case, sorted."""
    return sorted(here / name for here, inner in walk(folder) for name in inner if name.lower().endswith(suffix))


def split_of(path: PurePosixPath) -> str:
    """The split that a folder in the path is named after."""
    return said_split(path) or ONLY


def said_split(path: PurePosixPath) -> str | None:
    """The same; None where no folder is: `valid` and `val2017` are the split val."""
    words = (word for part in path.parts for word in (part.lower(), part.lower().rstrip("0123456789")))
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def paint(
    size: tuple[int, int], masks: Iterable[tuple[int, NDArray[np.bool_]]], order: Sequence[float] = ()
) -> Painted:
    """Masks, each with its class, one over the other: a smaller one lies on a larger one.

    `size`: (H, W), of each mask as well. `order`: of each mask, the highest on top; size decides among equal ones.
    """
    drawn = list(masks)
    areas = [int(mask.sum()) for _, mask in drawn]
    label, overlap = np.full(size, UNANNOTATED, np.int32), np.zeros(size, np.bool_)
    for index in sorted(range(len(drawn)), key=lambda i: ((order[i] if order else 0), -areas[i])):
        cls, mask = drawn[index]
        overlap |= mask & (label != UNANNOTATED) & (label != cls)
        label[mask] = cls
    return Painted(label, int(overlap.sum()))


class ByName:
    """Finds the images below a folder that an annotation file names: beside it or by path where that leads somewhere, else
    by file name.

    Label Studio writes names as in addresses, and gives uploads a prefix of eight digits.
    """

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self.folder = folder
        self._paths: dict[str, list[Path]] = {}
        for path in paths:
            self._paths.setdefault(path.name, []).append(path)

    def one(self, name: str, source: Path, split: str | None = None) -> Path:
        """The image `name`, which stands in `source`; `split`: what that is of, where it says so.

        Raises `UserError` where there is none, none but of another split, or more than one that it could be.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        plain = unquote(wanted.name)
        names = (wanted.name, plain, UPLOADED.sub("", plain))
        found = next((self._paths[each] for each in names if each in self._paths), [])
        fitting = [path for path in found if split is None or self.split(path) in (None, split)]
        for fits in (
            lambda path: path == source.parent / wanted,
            lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
            lambda path: self.split(path) == split,
        ):
            fitting = [path for path in fitting if fits(path)] or fitting
        if not fitting:
            other = f" ({found[0]} is of another split)" if found else ""
            raise UserError(
                f"{source} names the image {name!r}, which is not there{other}: export images, too, or put them beside."
            )
        if len(fitting) > 1:
            raise UserError(
                f"{source} names the image {name!r}, which may be {fitting[0]} or {fitting[1]}: put it beside that file, or "
                "its folder into the name."
            )
        return fitting[0]

    @staticmethod
    def check_different(images: Mapping[str, Path], source: Path) -> None:
        """Raise `UserError` where two names of `source` led to one image: one of them is not there."""
        names: dict[Path, str] = {}
        for name, image in images.items():
            if image in names:
                raise UserError(
                    f"{source} names the images {names[image]!r} and {name!r}, of which only {image} is there: export all "
                    "images, in their folders."
                )
            names[image] = name

    def split(self, path: Path) -> str | None:
        """What the folders say that an image is in."""
        return said_split(PurePosixPath(path.relative_to(self.folder).parent.as_posix()))
