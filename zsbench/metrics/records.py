"""What was measured: per image and class, the pixels that are right, predicted and true."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.utils.files import write_atomically

Ints = NDArray[np.int64]

COLUMNS = ("image", "cls", "tp", "pred", "gt")
SCHEMA = "zsbench-records-1"


@dataclass(frozen=True, eq=False)
class Records:
    """The counts of N images in R sparse rows, by column.

    `ids`: unicode (N,), unique; an image without a labelled pixel is here and has no row. `image`: int64 (R,)
    index into `ids`. `cls`: int64 (R,) class index. `tp`, `pred`, `gt`: int64 (R,) pixels of that image
    predicted rightly as the class, predicted as the class, and labelled as the class. At most one row per
    image and class. Construction raises `UserError` where this does not hold, so whatever is a `Records` is
    consistent.
    """

    ids: NDArray[np.str_]
    image: Ints
    cls: Ints
    tp: Ints
    pred: Ints
    gt: Ints

    def __post_init__(self) -> None:
        names = self.ids.tolist()
        if len(set(names)) < len(names):
            ordered = np.sort(self.ids)
            twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            raise UserError(
                f"image id recorded twice: {str(twice[0])!r}"
                + (f" (and {len(twice) - 1} more)." if len(twice) > 1 else ".")
            )
        columns = [getattr(self, name) for name in COLUMNS]
        if any(column.dtype != np.int64 or column.shape != (self.image.size,) for column in columns):
            raise UserError(f"records need the columns {', '.join(COLUMNS)}, all int64 and of one length.")
        if not self.image.size:
            return
        in_range = min(self.image.min(), self.cls.min(), self.tp.min()) >= 0 and self.image.max() < len(names)
        if not in_range or np.any(self.tp > np.minimum(self.pred, self.gt)) or np.any(self.pred + self.gt <= 0):
            raise UserError("records are inconsistent: expected 0 <= tp <= pred, gt and pred + gt > 0 in every row.")
        place = np.sort(self.image * (self.cls.max() + 1) + self.cls)
        if np.any(place[1:] == place[:-1]):
            raise UserError("records are inconsistent: two rows for one class of one image.")

    @classmethod
    def empty(cls) -> Records:
        """No images."""
        return cls.of([], [])

    @classmethod
    def of(cls, ids: Sequence[str], rows: Sequence[NDArray[np.integer[Any]]]) -> Records:
        """Records of images `ids` from the rows that `count` gave for each; one id twice is a `UserError`."""
        if len(ids) != len(rows):
            raise ValueError(f"{len(ids)} image ids, but rows of {len(rows)} images")
        if any("\0" in image_id for image_id in ids):
            raise UserError("an image id may not contain a NUL character.")
        table = np.concatenate([np.empty((0, 4), np.int64), *rows]).astype(np.int64, copy=False)
        image = np.repeat(np.arange(len(ids)), np.array([len(of_image) for of_image in rows], dtype=np.int64))
        # Contiguous columns: everything downstream reads one column at a time.
        return cls(np.array(ids, dtype=np.str_), image, *np.ascontiguousarray(table.T))

    @classmethod
    def merge(cls, parts: Iterable[Records]) -> Records:
        """Union of disjoint parts, such as the shares of processes; an image in two is a `UserError`."""
        parts = [cls.empty(), *parts]
        offsets = np.cumsum([0, *(len(part.ids) for part in parts)])
        image = np.concatenate([part.image + offset for part, offset in zip(parts, offsets, strict=False)])
        columns = [np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS[1:]]
        return cls(np.concatenate([part.ids for part in parts]), image, *columns)

    def select(self, ids: Iterable[str]) -> Records:
        """These images only, in the order given; raises `UserError` naming an id that is not recorded."""
        wanted = list(ids)
        place = {image_id: index for index, image_id in enumerate(self.ids.tolist())}
        missing = [image_id for image_id in wanted if image_id not in place]
        if missing:
            raise UserError(f"no record of image {missing[0]!r} ({len(missing)} of {len(wanted)} are missing).")
        index = np.full(len(self.ids), -1, dtype=np.int64)
        index[[place[image_id] for image_id in wanted]] = np.arange(len(wanted))
        kept = index[self.image] >= 0
        columns = (getattr(self, name)[kept] for name in COLUMNS[1:])
        return Records(np.array(wanted, dtype=np.str_), index[self.image[kept]], *columns)

    def sorted(self) -> Records:
        """Canonical order: images by id (code points), rows by image, then class."""
        order = np.argsort(self.ids)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        image = rank[self.image]
        rows = np.lexsort((self.cls, image))
        return Records(self.ids[order], image[rows], *(getattr(self, name)[rows] for name in COLUMNS[1:]))

    def sha256(self) -> str:
        """Hex digest of the canonical order: the same for equal records, in whatever order they came."""
        ordered = self.sorted()
        digest = hashlib.sha256(json.dumps([SCHEMA, ordered.ids.tolist()]).encode())
        for name in COLUMNS:
            digest.update(getattr(ordered, name).astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` in canonical order, whole or not at all; `UserError` where that fails.

        Equal records give equal files. The digest inside lets `load` refuse a damaged one.
        """
        ordered = self.sorted()
        arrays = {name: getattr(ordered, name) for name in ("ids", *COLUMNS)}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, schema=np.array(SCHEMA), sha256=np.array(self.sha256()), **arrays)
                stream.flush()
                os.fsync(stream.fileno())

        try:
            write_atomically(path, write)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read what `save` wrote; `UserError` if the file is absent, foreign, truncated or damaged."""
        try:
            with path.open("rb") as stream:
                arrays = _read_arrays(stream)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
        if arrays is None or str(arrays.get("schema")) != SCHEMA:
            raise UserError(
                f"{path} is no records file of this version of zsbench, or it is truncated. Run the evaluation again."
            )
        try:
            records = cls(*(arrays[name] for name in ("ids", *COLUMNS)))
            intact = records.sha256() == str(arrays["sha256"])
        except (KeyError, TypeError, UserError) as error:
            raise UserError(f"{path} is damaged: {error} Run the evaluation again.") from error
        if not intact:
            raise UserError(f"{path} is damaged: its counts do not match its checksum. Run the evaluation again.")
        return records

    def dense(self, num_classes: int) -> Ints:
        """int64 (N, C, 3): tp, pred, gt of every image and class, zero where there is no row."""
        check_classes(self, num_classes)
        table = np.zeros((len(self.ids), num_classes, 3), dtype=np.int64)
        table[self.image, self.cls] = np.stack([self.tp, self.pred, self.gt], axis=1)
        return table

    def image_miou(self) -> NDArray[np.float64]:
        """float64 (N,): mean IoU in percent over the classes present or predicted in an image, NaN for none.

        For finding images, not for reporting: the mean of these is not the mIoU of the dataset.
        """
        iou = 100.0 * self.tp / (self.gt + self.pred - self.tp)
        classes = np.bincount(self.image, minlength=len(self.ids))
        total = np.bincount(self.image, weights=iou, minlength=len(self.ids))
        mean = np.full(len(self.ids), np.nan)
        np.divide(total, classes, out=mean, where=classes > 0)
        return mean

    def worst(self, most: int | None = None) -> list[tuple[str, float]]:
        """The `most` images (all by default) with the lowest `image_miou` as (id, percent), worst first.

        Images without a labelled pixel are left out.
        """
        miou = self.image_miou()
        order = np.lexsort((self.ids, miou))[: np.count_nonzero(~np.isnan(miou))]
        return [(str(self.ids[i]), float(miou[i])) for i in order[:most]]


def check_classes(records: Records, num_classes: int) -> None:
    """Raise `UserError` where a row's class is not in 0..num_classes-1."""
    if records.cls.size and records.cls.max() >= num_classes:
        raise UserError(
            f"the records hold class {records.cls.max()}, but there are {num_classes} classes: "
            "they belong to another dataset."
        )


def _read_arrays(stream: Any) -> dict[str, NDArray[Any]] | None:
    """The arrays of an npz file, or None where it is something else."""
    try:
        with np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # foreign bytes make the zip, zlib and npy parsers raise a dozen unrelated types
        return None
