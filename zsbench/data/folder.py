"""Datasets that are folders: images and labels under one root, described by data alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsbench.data.conversion import Conversion
from zsbench.data.image import read_image, turned_by_exif
from zsbench.data.label_map import UNKNOWN
from zsbench.data.layout import find_home
from zsbench.data.sources import Opened, Pair, Reference, Source
from zsbench.dataset import Dataset, Sample
from zsbench.errors import UserError, did_you_mean


class FolderDataset(Dataset):
    """A dataset as data: `splits` gives for each split its sources, of which the first one present is read.

    `inside`: where below the given root the dataset may lie, so that users may point at any of its outer
    folders. `expects`: what has to exist there for it to be recognised, alternatives separated by `|`.
    `licence`, `disk`: what a user should know before downloading it. `archives`: names of its downloads, and the folder
    below the root that each is unpacked into. `conversions`: what makes readable files of other originals.
    `references`: published statistics of the splits.
    """

    inside: tuple[str, ...] = ("",)
    expects: tuple[str, ...] = ()
    licence: str = ""
    disk: str = ""
    archives: Mapping[str, str] = {}
    conversions: tuple[Conversion, ...] = ()
    references: Mapping[str, Reference] = {}
    splits: Mapping[str, tuple[Source, ...]]

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self._home: Path | None = None
        self._sources: dict[str, Source] = {}
        self._opened: dict[str, Opened] = {}

    @property
    def home(self) -> Path:
        """The folder that all paths start from. Raises `UserError` for a root missing or of another layout."""
        if self._home is None:
            self._home = find_home(self.name, self.root, self.inside, self.expects, self.where)
        return self._home

    def source(self, split: str) -> Source:
        """The first source of the split that is present; a `UserError` where none is."""
        if split not in self._sources:
            self._sources[split] = self._find_source(split)
        return self._sources[split]

    def ids(self, split: str) -> Sequence[str]:
        found = self._open(split).ids()
        if not found:
            raise UserError(f"{self.home}: split {split!r} of {self.name} has no images.\n{self.where}")
        return found

    def pair(self, split: str, image_id: str) -> Pair:
        """The image file and the label file of an id; an unknown id is a `UserError`."""
        try:
            return self._open(split).pair(image_id)
        except KeyError:
            raise UserError(f"dataset {self.name}: split {split!r} has no image {image_id!r}.") from None

    def label(self, split: str, image_id: str) -> NDArray[np.int32]:
        """int32 (H, W): the label alone, a class index or `IGNORE`; a raw value not in the map is a `UserError`."""
        pair, labels = self.pair(split, image_id), self.source(split).labels
        if not os.path.exists(pair.label):
            raise UserError(f"{pair.image}: its mask is missing: expected {pair.label}.")
        raw = self._open(split).raw(image_id)
        label = labels(raw)
        if label.min(initial=0) == UNKNOWN:
            raise UserError(f"{pair.label}: {labels.explain(raw, self.palette)}")
        return label

    def read(self, split: str, image_id: str) -> Sample:
        pair = self.pair(split, image_id)
        image = read_image(pair.image)
        label = self.label(split, image_id)
        if image.shape[:2] != label.shape:
            raise UserError(different_sizes(pair, image.shape[:2], label.shape))
        return Sample(image_id, image, label)

    def verify(self, split: str, ids: Sequence[str]) -> None:
        for image_id in ids:
            pair = self.pair(split, image_id)
            if not os.path.exists(pair.image):
                raise UserError(f"{pair.image}: no such image, but {self.name} {split} lists it.\n{self.where}")
            if not os.path.exists(pair.label):
                raise UserError(f"{pair.image}: its mask is missing: expected {pair.label}.\n{self.where}")

    def full_size(self, split: str) -> int | None:
        return self.source(split).count

    def note(self, split: str) -> str:
        source, count = self.source(split), len(self.ids(split))
        partial = source.count is not None and source.count != count
        missing = f"{count:,} images where the full split has {source.count:,}." if partial else ""
        return " ".join(filter(None, (missing, source.note)))

    def _find_source(self, split: str) -> Source:
        if split not in self.splits:
            known = ", ".join(self.splits)
            hint = did_you_mean(split, self.splits)
            raise UserError(f"dataset {self.name} has no split {split!r}: {known}.{hint}")
        ways = []
        for source in self.splits[split]:
            lacking = source.lacks(self.home)
            if not lacking:
                return source
            ways.append(lacking)
        raise UserError(f"{self.home}: split {split!r} of {self.name} lacks {' (or) '.join(ways)}.\n{self.where}")

    def _open(self, split: str) -> Opened:
        if split not in self._opened:
            self._opened[split] = self.source(split).open(self.home)
        return self._opened[split]


def different_sizes(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> str:
    """The message for an image and a mask that do not fit; sizes are (height, width)."""
    message = (
        f"{pair.label}: the mask is {label[1]}x{label[0]} pixels (width x height), "
        f"its image {pair.image} is {image[1]}x{image[0]}."
    )
    if image == label[::-1] and turned_by_exif(pair.image):
        return message + (
            " The image's EXIF orientation turns it, and the mask was made on the turned image: store the "
            "image turned and without the flag (PIL's ImageOps.exif_transpose), or the mask unturned."
        )
    return message + " They must be equal: labels are never resized."
