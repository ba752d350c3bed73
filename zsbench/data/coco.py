"""Labels read from COCO annotation files: JSON with polygons and run-length encoded regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsbench.data.layout import Lookup, check_id, fixed_folder
from zsbench.data.mask import Raw
from zsbench.data.rle import MAX_SIDE, decode_region
from zsbench.data.sources import Opened, Pair, Source
from zsbench.errors import UserError
from zsbench.utils.documents import read_json


@dataclass(frozen=True, kw_only=True)
class Annotations(Source):
    """A split whose labels are COCO annotations; the raw value of a pixel is its `category_id`, 0 where there is none.

    `image`: path below the root with `{id}`, the file name without its extension. `files`: annotation files
    below the root, painted one over the other (stuff first, then things); within a file crowds come first,
    then larger regions before smaller ones.
    """

    image: str
    files: tuple[str, ...]

    def needs(self) -> tuple[str, ...]:
        return (fixed_folder(self.image), *self.files)

    def open(self, home: Path) -> OpenedAnnotations:
        return OpenedAnnotations(self, home)


class Regions(NamedTuple):
    """The annotations of one image, each with the file it is from; `size` is (height, width)."""

    image_id: str
    size: tuple[int, int]
    annotations: tuple[tuple[Path, dict[str, Any]], ...]


class OpenedAnnotations(Opened):
    """Annotation files held in memory: sizes of all images, and regions by image."""

    def __init__(self, source: Annotations, home: Path) -> None:
        self._image, self._lookup = source.image, Lookup(home)
        self._paths = [home / name for name in source.files]
        self._sizes: dict[str, tuple[int, int]] = {}
        self._regions: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
        for path in self._paths:
            self._take_in(path)

    def ids(self) -> Sequence[str]:
        return sorted(self._sizes)

    def pair(self, image_id: str) -> Pair:
        self._sizes[image_id]
        return Pair(self._lookup.one(self._image, image_id), self._paths[0])

    def raw(self, image_id: str) -> Raw:
        return paint(self.regions(image_id))

    def regions(self, image_id: str) -> Regions:
        """What is annotated in an image, in painting order."""
        return Regions(image_id, self._sizes[image_id], tuple(self._regions.get(image_id, ())))

    def _take_in(self, path: Path) -> None:
        content = read_json(path, "file of annotations")
        try:
            names = {image["id"]: Path(str(image["file_name"])).stem for image in content["images"]}
            if len(names) < len(content["images"]):
                raise ValueError("two of its images have the same id")
            for image in content["images"]:
                self._sizes[names[image["id"]]] = image_size(image)
            for annotation in sorted(content["annotations"], key=painting_order):
                self._regions.setdefault(names[annotation["image_id"]], []).append((path, annotation))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: not a COCO annotation file ({type(error).__name__}: {error}).") from None
        for name, many in Counter(names.values()).items():
            check_id(name, path)
            if not name:
                raise UserError(f"{path}: an image has no file name.")
            if many > 1:
                raise UserError(
                    f"{path}: {many} images are called {name}, apart from folder and extension; rename them."
                )


def paint(regions: Regions) -> NDArray[np.int32]:
    """int32 (H, W): the category of the last region that covers a pixel, 0 where none does.

    Raises `UserError` naming the file and the annotation at fault.
    """
    raw = np.zeros(regions.size, dtype=np.int32)
    for path, annotation in regions.annotations:
        try:
            raw[decode_region(annotation["segmentation"], *regions.size)] = annotation["category_id"]
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            number = annotation.get("id", "without an id")
            wrong = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: annotation {number} of image {regions.image_id}: {wrong}.") from None
    return raw


def image_size(image: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of an image entry; raises `ValueError` for a size that no image has."""
    height, width = int(image["height"]), int(image["width"])
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"an image of {width}x{height} pixels")
    return height, width


def painting_order(annotation: dict[str, Any]) -> tuple[int, float]:
    """Crowds first, then from the largest to the smallest region."""
    return (-int(annotation.get("iscrowd") or 0), -float(annotation.get("area") or 0))
