"""Datasets that are folders: pairs of image and label files under one root, described by data alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsbench.dataset import Dataset, Sample
from zsbench.errors import UserError, did_you_mean
from zsbench.readers.image import read_image, turned_by_exif
from zsbench.readers.labels import UNKNOWN, LabelMap
from zsbench.readers.mask import read_mask


@dataclass(frozen=True)
class Files:
    """Images and masks that go by the same id.

    `image`, `label`: paths below the root with `{id}` for the image's id. `ids`: a list file below the root
    (the first word of each line is an id); empty takes every label file that matches, sorted. `without`: list
    files whose ids are left out.
    """

    image: str
    label: str
    ids: str = ""
    without: tuple[str, ...] = ()

    def find(self, home: Path) -> list[str]:
        """The ids, in the list's order or sorted."""
        left_out = {name for listing in self.without for name in read_ids(home / listing)}
        found = read_ids(home / self.ids) if self.ids else sorted(match_ids(home, self.label))
        return [name for name in found if name not in left_out]

    def needs(self) -> tuple[str, ...]:
        """The list files and fixed folders without which these files cannot be here."""
        folders = (fixed_folder(self.image), fixed_folder(self.label))
        return (*folders, *filter(None, (self.ids, *self.without)))


@dataclass(frozen=True)
class Source:
    """One way in which a split is found on disk.

    `labels`: what the raw values of its masks mean. `count`: how many images it has officially. `note`: what
    a user should be told when this source is the one that was found.
    """

    files: tuple[Files, ...]
    labels: LabelMap
    count: int | None = None
    note: str = ""

    def present(self, home: Path) -> bool:
        return all((home / needed).exists() for files in self.files for needed in files.needs())


class Pair(NamedTuple):
    """Where one image and its label are."""

    image: Path
    label: Path


class FolderDataset(Dataset):
    """A dataset as data: `splits` gives for each split its sources, of which the first one present is read.

    `inside`: where below the given root the dataset may lie, so that users may point at any of its outer
    folders. `expects`: what has to exist there for it to be recognised.
    """

    inside: tuple[str, ...] = ("",)
    expects: tuple[str, ...] = ()
    splits: Mapping[str, tuple[Source, ...]]

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self._home: Path | None = None
        self._sources: dict[str, Source] = {}
        self._index: dict[str, dict[str, Files]] = {}

    @property
    def home(self) -> Path:
        """The folder that all paths are relative to. Raises `UserError` for a root missing or of another
        layout.
        """
        if self._home is None:
            self._home = find_home(self.name, self.root, self.inside, self.expects, self.where)
        return self._home

    def source(self, split: str) -> Source:
        """The first source of the split that is present."""
        if split not in self._sources:
            self._sources[split] = self._find_source(split)
        return self._sources[split]

    def _find_source(self, split: str) -> Source:
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(
                f"dataset {self.name} has no split {split!r}: {known}.{did_you_mean(split, self.splits)}"
            )
        for source in self.splits[split]:
            if source.present(self.home):
                return source
        first = self.splits[split][-1]
        missing = [path for files in first.files for path in files.needs() if not (self.home / path).exists()]
        raise UserError(
            f"{self.home}: split {split!r} of {self.name} needs {', '.join(missing)}.\n{self.where}"
        )

    def ids(self, split: str) -> Sequence[str]:
        return list(self._entries(split))

    def pair(self, split: str, image_id: str) -> Pair:
        """The image file and the label file of an id; an unknown id is a `UserError`."""
        files = self._entries(split).get(image_id)
        if files is None:
            raise UserError(f"dataset {self.name}: split {split!r} has no image {image_id!r}.")
        return Pair(resolve(self.home, files.image, image_id), resolve(self.home, files.label, image_id))

    def read(self, split: str, image_id: str) -> Sample:
        pair = self.pair(split, image_id)
        image = read_image(pair.image)
        if not pair.label.exists():
            raise UserError(f"{pair.image}: its mask is missing: expected {pair.label}.")
        label = self.decode(split, read_mask(pair.label), pair.label)
        if image.shape[:2] != label.shape:
            raise UserError(different_sizes(pair, image.shape[:2], label.shape))
        return Sample(image_id, image, label)

    def decode(self, split: str, raw: NDArray[np.int32], path: Path) -> NDArray[np.int32]:
        """int32 (H, W) class indices of raw values from the mask at `path`; an unknown one is a
        `UserError`.
        """
        labels = self.source(split).labels
        label = labels(raw)
        if (label == UNKNOWN).any():
            raise UserError(f"{path}: {labels.explain(raw, self.palette)}")
        return label

    def verify(self, split: str, ids: Sequence[str]) -> None:
        for image_id in ids:
            pair = self.pair(split, image_id)
            if not pair.image.exists():
                raise UserError(
                    f"{pair.image}: no such image, but {self.name} {split} lists it.\n{self.where}"
                )
            if not pair.label.exists():
                raise UserError(f"{pair.image}: its mask is missing: expected {pair.label}.\n{self.where}")

    def note(self, split: str) -> str:
        source, count = self.source(split), len(self._entries(split))
        partial = (
            f"{count} images where the full split has {source.count:,}."
            if source.count not in (None, count)
            else ""
        )
        return " ".join(filter(None, (partial, source.note)))

    def _entries(self, split: str) -> dict[str, Files]:
        if split not in self._index:
            source = self.source(split)
            entries = {name: files for files in source.files for name in files.find(self.home)}
            if not entries:
                raise UserError(f"{self.home}: split {split!r} of {self.name} has no images.\n{self.where}")
            self._index[split] = entries
        return self._index[split]


def find_home(
    name: str, root: Path | None, inside: Sequence[str], expects: Sequence[str], where: str
) -> Path:
    """The first of `root/inside` that has all that is expected; else a `UserError` that says what was
    found.
    """
    if root is None:
        raise UserError(f"dataset {name} needs its files: give --data-root or set ZSBENCH_DATA.\n{where}")
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"data root {root} {state}. Give --data-root or set ZSBENCH_DATA.\n{where}")
    for candidate in (root / part for part in inside):
        if candidate.is_dir() and all((candidate / expected).exists() for expected in expects):
            return candidate
    raise UserError(
        f"data root {root} is not laid out as {name}: expected {', '.join(expects)}; "
        f"found {listing(root)}.\n{where}"
    )


def listing(folder: Path, limit: int = 8) -> str:
    """The first entries of a folder, for an error message."""
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(folder))
    more = f", ... ({len(entries)} entries)" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more if entries else "nothing"


def read_ids(path: Path) -> list[str]:
    """The first word of each line. Raises `UserError` for a missing file or an id that leads out of the
    root.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such list of image ids.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable list of image ids ({error}).") from None
    ids = [line.split()[0] for line in text.splitlines() if line.strip()]
    for name in ids:
        if name.startswith("/") or ".." in Path(name).parts:
            raise UserError(f"{path}: the id {name!r} leads out of the data root.")
    return ids


def fixed_folder(pattern: str) -> str:
    """The part of a pattern before the folder in which `{id}` or a wildcard first stands."""
    folders = pattern.split("/")[:-1]
    fixed = [part for i, part in enumerate(folders) if not re.search(r"[{*]", "/".join(folders[: i + 1]))]
    return "/".join(fixed)


def match_ids(home: Path, pattern: str) -> Iterator[str]:
    """The ids of all files below `home` that match the pattern; an id may hold slashes."""
    base = home / fixed_folder(pattern)
    head, tail = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("{id}", 1))
    shape = re.compile(f"{head}(.+){tail}")
    for folder, _, names in os.walk(base):
        inner = Path(folder).relative_to(home).as_posix()
        for name in names:
            matched = shape.fullmatch(f"{inner}/{name}" if inner != "." else name)
            if matched:
                yield matched[1]


def resolve(home: Path, pattern: str, image_id: str) -> Path:
    """The file of an id; a wildcard in the pattern (an extension) is looked up, the first match counts."""
    path = pattern.replace("{id}", image_id)
    if "*" not in path:
        return home / path
    folder, name = os.path.split(path)
    shape = re.compile(re.escape(name).replace(r"\*", ".*"))
    found = sorted(entry.name for entry in os.scandir(home / folder) if shape.fullmatch(entry.name))
    return home / folder / (found[0] if found else name)


def different_sizes(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> str:
    """The message for an image and a mask that do not fit; sizes are (height, width)."""
    message = (
        f"{pair.label}: the mask is {label[1]}x{label[0]} pixels (width x height), "
        f"its image {pair.image} is {image[1]}x{image[0]}."
    )
    if image == label[::-1] and turned_by_exif(pair.image):
        return message + (
            " The image's EXIF orientation turns it: the mask was made on the turned image. Store the image "
            "turned, without the EXIF flag (for example with PIL's ImageOps.exif_transpose), or the mask unturned."
        )
    return message + " They must be equal: labels are never resized."
