"""Sources: the ways in which a split of a dataset lies on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zsbench.data.label_map import LabelMap
from zsbench.data.layout import Lookup, fixed_folder, listing, match_ids, read_ids
from zsbench.data.mask import RGB, Raw, read_mask
from zsbench.errors import UserError


class Pair(NamedTuple):
    """The files that hold an image and its label."""

    image: Path
    label: Path


@dataclass(frozen=True)
class Reference:
    """Published numbers of images that show each class, by which a copy of a split can be checked.

    `images`: class -> how many of the `total` images; it need not have all classes. `source`: who published them.
    `tolerance`: share by which right data may differ, since not all such numbers were made from the masks.
    """

    images: Mapping[str, int]
    total: int
    source: str
    tolerance: float = 0.05


class Opened(ABC):
    """A source found on disk: ids, the files behind each, and raw label values."""

    @abstractmethod
    def ids(self) -> Sequence[str]:
        """The image ids in a fixed order."""

    @abstractmethod
    def pair(self, image_id: str) -> Pair:
        """The files of an id; raises `KeyError` for an unknown one. They need not exist."""

    @abstractmethod
    def raw(self, image_id: str) -> Raw:
        """(H, W) label values as annotated; raises `UserError` naming the file at fault."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """One way in which a split lies on disk.

    `labels`: what the raw label values mean. `count`: how many images it has officially. `note`: what a user
    should be told when this is the source that was found.
    """

    labels: LabelMap
    count: int | None = None
    note: str = ""

    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """Paths below the root without which this source cannot be there."""

    @abstractmethod
    def open(self, home: Path) -> Opened:
        """Find the images. Raises `UserError` for unreadable lists."""

    def lacks(self, home: Path) -> str:
        """What of it is not there; empty where it is present."""
        return ", ".join(needed for needed in self.needs() if not (home / needed).exists())


@dataclass(frozen=True)
class Files:
    """Images and masks that go by the same id.

    `image`, `label`: paths below the root with `{id}` for the image's id; `.*` stands for the extension of any
    picture, and a picture's own is told in any case. `ids`: a list file below the root (`read_ids`); empty takes
    every label file that matches and whose id the regular expression `shape` matches, sorted. `without`: list
    files whose ids are left out. `more`: further masks of the same image, with wildcards, united by the larger
    value.
    """

    image: str
    label: str
    ids: str = ""
    without: tuple[str, ...] = ()
    more: str = ""
    shape: str = ".+"

    def find(self, home: Path) -> list[str]:
        """The ids, in the list's order or sorted."""
        left_out = {name for listed in self.without for name in read_ids(home / listed)}
        lookup = Lookup(home)
        if self.ids:
            found = read_ids(home / self.ids, lambda name: bool(lookup.all(self.label, name)))
        else:
            found = sorted(match_ids(home, self.label, self.shape))
        if self.ids and not found:
            raise UserError(f"{home / self.ids}: the list is empty; expected an image id on each line.")
        if len(found) != len(set(found)):
            twice = next(name for name in found if found.count(name) > 1)
            origin = home / self.ids if self.ids else " and ".join(map(str, lookup.all(self.label, twice)))
            raise UserError(f"{origin}: the id {twice!r} is given twice.")
        return [name for name in found if name not in left_out]


@dataclass(frozen=True, kw_only=True)
class Masks(Source):
    """A split of image files and mask files.

    `decode`: reads a mask file as (H, W) raw values. `colours`: that files with a palette have for the values 0, 1, ...
    """

    files: tuple[Files, ...]
    decode: Callable[[Path], Raw] = read_mask
    colours: tuple[RGB, ...] = ()

    def needs(self) -> tuple[str, ...]:
        patterns = [pattern for files in self.files for pattern in (files.image, files.label)]
        lists = [path for files in self.files for path in (files.ids, *files.without) if path]
        return tuple(dict.fromkeys([*map(fixed_folder, patterns), *lists]))

    def lacks(self, home: Path) -> str:
        """Lists and folders that are not there, and masks where there is no list."""
        empty = (
            files.label for files in self.files if not (files.ids or any(match_ids(home, files.label, files.shape)))
        )
        described = (f"masks like {label} (found {listing(home / fixed_folder(label))})" for label in empty)
        return super().lacks(home) or ", ".join(described)

    def open(self, home: Path) -> Opened:
        return OpenedMasks(self, home)


class OpenedMasks(Opened):
    """Image and mask files found on disk."""

    def __init__(self, source: Masks, home: Path) -> None:
        self._lookup, self._decode = Lookup(home), source.decode
        if source.decode is read_mask:
            listed = source.labels.values
            meant = {(value, value, value): value for value in listed if 0 < value < 255}
            meant |= {colour: value for value, colour in enumerate(source.colours) if value in listed}
            self._decode = partial(read_mask, meant=meant)
        self._files = {name: files for files in source.files for name in files.find(home)}

    def ids(self) -> Sequence[str]:
        return list(self._files)

    def pair(self, image_id: str) -> Pair:
        files = self._files[image_id]
        return Pair(self._lookup.one(files.image, image_id), self._lookup.one(files.label, image_id))

    def raw(self, image_id: str) -> Raw:
        files, first = self._files[image_id], self.pair(image_id).label
        raw = self._decode(first)
        for path in self._lookup.all(files.more, image_id) if files.more else ():
            further = self._decode(path)
            if further.shape != raw.shape:
                raise UserError(f"{path}: its size differs from that of {first}, a mask of the same image.")
            raw = np.maximum(raw, further)
        return raw
