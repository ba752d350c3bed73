"""What was measured: for every image, how many pixels of which class were predicted as which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts, ImageConvention, Ints
from zsbench.utils.extras import optional
from zsbench.utils.files import write_atomically

SCHEMA = "zsbench-records-2"
COLUMNS = ("image", "truth", "prediction", "pixels")
COUNTS_SCHEMA = "zsbench-records-1"
COUNTS_COLUMNS = ("image", "cls", "tp", "pred", "gt")


@dataclass(frozen=True, eq=False)
class Records:
    """The sparse confusion of N images: R rows, which are the columns of `table`.

    `ids`: unicode (N,), unique; an image without a labelled pixel is here and has no row. `table`: int64 (4, R):
    `image`, index into `ids`; `truth`, class index; `prediction`, class index or -1 where the method abstained;
    `pixels` > 0; no two rows alike in the first three. Records of earlier versions of zsbench are counts without
    confusion, int64 (5, R): `image`, `cls`, `tp`, `pred`, `gt`, one row per image and class; all follows from them but
    the confusion. Construction raises `UserError` where this does not hold, so whatever is a `Records` is consistent.
    """

    ids: NDArray[np.str_]
    table: Ints

    def __post_init__(self) -> None:
        names = self.ids.tolist()
        if len(set(names)) < len(names):
            ordered = np.sort(self.ids)
            twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
            raise UserError(
                f"image id recorded twice: {str(twice[0])!r}"
                + (f" (and {len(twice) - 1} more)." if len(twice) > 1 else ".")
            )
        if self.table.dtype != np.int64 or self.table.ndim != 2 or len(self.table) not in (4, 5):
            raise UserError(f"records need the columns {', '.join(COLUMNS)}, all int64 and of one length.")
        _check_rows(self.table)
        place = np.sort(_places(len(self.ids), self.table))
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
        columns = np.concatenate([np.empty((0, 3), np.int64), *rows]).T
        image = np.repeat(np.arange(len(ids)), np.array([len(of_image) for of_image in rows], dtype=np.int64))
        return cls(np.array(ids, dtype=np.str_), np.stack([image, *columns]).astype(np.int64, copy=False))

    @classmethod
    def merge(cls, parts: Iterable[Records]) -> Records:
        """Union of disjoint parts, such as the shares of processes; an image in two is a `UserError`.

        So is a part with confusion beside one without.
        """
        parts = list(parts) or [cls.empty()]
        if len({part.has_confusion for part in parts}) > 1:
            raise UserError(f"only some of the records hold confusion. {EVALUATE_AGAIN}")
        table = np.concatenate([part.table for part in parts], axis=1)
        offsets = np.cumsum([0, *(len(part.ids) for part in parts[:-1])])
        table[0] += np.repeat(offsets, [part.table.shape[1] for part in parts])
        return cls(np.concatenate([part.ids for part in parts]), table)

    @property
    def has_confusion(self) -> bool:
        """Whether it is known what each class was taken for; not so in records of earlier versions."""
        return len(self.table) == len(COLUMNS)

    @property
    def image(self) -> Ints:
        """int64 (R,): index into `ids`."""
        return self.table[0]

    def select(self, ids: Iterable[str]) -> Records:
        """These images only, in the order given; raises `UserError` naming an id that is not recorded."""
        wanted = list(ids)
        place = {image_id: index for index, image_id in enumerate(self.ids.tolist())}
        missing = [image_id for image_id in wanted if image_id not in place]
        if missing:
            raise UserError(f"no record of image {missing[0]!r} ({len(missing)} of {len(wanted)} are missing).")
        index = np.full(len(self.ids), -1, dtype=np.int64)
        index[[place[image_id] for image_id in wanted]] = np.arange(len(wanted))
        image = index[self.image]
        table = np.stack([image, *self.table[1:]])[:, image >= 0]
        return Records(np.array(wanted, dtype=np.str_), table)

    def sorted(self) -> Records:
        """Canonical order: images by id (code points), rows by image, then the classes."""
        order = np.argsort(self.ids)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        table = np.stack([rank[self.image], *self.table[1:]])
        return Records(self.ids[order], table[:, np.argsort(_places(len(order), table))])

    def class_counts(self) -> ClassCounts:
        """Pixels that are right, predicted and true, by image (in the order of `ids`) and class."""
        if self.has_confusion:
            return ClassCounts.of_confusion(len(self.ids), *self.table)
        return ClassCounts(len(self.ids), *self.table[:, np.argsort(_places(len(self.ids), self.table))])

    def confusion(self, num_classes: int) -> Ints:
        """int64 (C, C + 1): pixels of class i that were predicted as class j, over all images.

        The last column holds those on which the method abstained. Raises `UserError` for records without confusion, and
        for a class outside 0..C-1.
        """
        if not self.has_confusion:
            raise UserError(f"these records hold the counts of each class, but no confusion. {EVALUATE_AGAIN}")
        self.class_counts().check(num_classes)
        table = np.zeros((num_classes, num_classes + 1), np.int64)
        np.add.at(table, (self.table[1], self.table[2]), self.table[3])
        return table

    def sha256(self) -> str:
        """Hex digest of the canonical order: the same for equal records, in whatever order they came."""
        ordered = self.sorted()
        schema = SCHEMA if self.has_confusion else COUNTS_SCHEMA
        digest = hashlib.sha256(json.dumps([schema, ordered.ids.tolist()]).encode())
        digest.update(ordered.table.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` in canonical order, whole or not at all; `UserError` where that fails.

        Equal records give equal files. The digest inside lets `load` refuse a damaged one.
        """
        if not self.has_confusion:
            raise ValueError("records of an earlier version are read, never written")
        ordered = self.sorted()
        arrays: dict[str, Any] = {"schema": np.array(SCHEMA), "sha256": np.array(self.sha256()), "ids": ordered.ids}
        arrays["rows"] = _narrow(np.bincount(ordered.image, minlength=len(ordered.ids)))
        arrays.update(zip(COLUMNS[1:], map(_narrow, ordered.table[1:]), strict=True))

        def write(temporary: Path) -> None:
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **arrays)

        write_atomically(path, write, lasting=True)

    @classmethod
    def load(cls, path: str | Path) -> Records:
        """Read what `save` of this or an earlier version wrote; `UserError` if the file is absent, foreign or damaged."""
        path = Path(path)
        try:
            with path.open("rb") as stream:
                arrays = _read_arrays(stream)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
        if arrays is None or str(arrays.get("schema")) not in (SCHEMA, COUNTS_SCHEMA):
            raise UserError(
                f"{path} is no records file of this version of zsbench, or it is truncated. Run the evaluation again."
            )
        try:
            records = cls(arrays["ids"], _table(arrays))
            intact = records.sha256() == str(arrays["sha256"])
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{path} is damaged: {error} Run the evaluation again.") from error
        if not intact:
            raise UserError(f"{path} is damaged: its counts do not match its checksum. Run the evaluation again.")
        return records

    def to_frame(self, classes: Sequence[str] | None = None) -> Any:
        """A pandas frame of the rows: `image` by id, then the other columns of the table, classes by name where `classes`
        gives theirs (None where the method abstained). Raises `UserError` where pandas is not installed."""
        pandas = optional("pandas", "frames")
        names = COLUMNS if self.has_confusion else COUNTS_COLUMNS
        columns: dict[str, Any] = dict(zip(names, self.table, strict=True))
        columns["image"] = self.ids[self.image]
        if classes is not None:
            self.class_counts().check(len(classes))
            named = np.array([*classes, None], dtype=object)  # -1 is the last
            columns |= {name: named[columns[name]] for name in ("truth", "prediction", "cls") if name in columns}
        return pandas.DataFrame(columns)

    def image_miou(self, convention: ImageConvention = "union") -> NDArray[np.float64]:
        """float64 (N,): `ClassCounts.image_miou`, in the order of `ids`."""
        return self.class_counts().image_miou(convention)

    def worst(self, most: int | None = None, convention: ImageConvention = "union") -> list[tuple[str, float]]:
        """The `most` images (all by default) with the lowest `image_miou` as (id, percent), worst first.

        Images without a labelled pixel are left out.
        """
        miou = self.image_miou(convention)
        order = np.lexsort((self.ids, miou))[: np.count_nonzero(~np.isnan(miou))]
        return [(str(self.ids[i]), float(miou[i])) for i in order[:most]]


EVALUATE_AGAIN = "They were written by an earlier version of zsbench: evaluate again to know what was taken for what."


def _check_rows(table: Ints) -> None:
    """Raise `UserError` for a row that no image can give."""
    if len(table) == len(COLUMNS):
        _, truth, prediction, pixels = table
        if np.any(truth < 0) or np.any(prediction < -1) or np.any(pixels <= 0):
            raise UserError("records are inconsistent: expected truth >= 0, prediction >= -1, pixels > 0 in every row.")
        return
    _, _, tp, pred, gt = table
    if np.any(tp < 0) or np.any(tp > np.minimum(pred, gt)) or np.any(pred + gt <= 0):
        raise UserError("records are inconsistent: expected 0 <= tp <= pred, gt and pred + gt > 0 in every row.")


def _places(images: int, table: Ints) -> Ints:
    """A number for each row, int64 (R,): ascending in the canonical order. `UserError` for indices out of range."""
    classes = [table[1]] if len(table) == len(COUNTS_COLUMNS) else [table[1], table[2] + 1]
    shape = (max(images, 1), *(int(column.max(initial=0)) + 1 for column in classes))
    try:
        return np.ravel_multi_index((table[0], *classes), shape)
    except ValueError:
        raise UserError("records are inconsistent: an image or class is out of range.") from None


def _narrow(column: Ints) -> NDArray[np.integer[Any]]:
    """`column` in the least type that holds it."""
    low, high = column.min(initial=0), column.max(initial=0)
    return column.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))


def _table(arrays: dict[str, NDArray[Any]]) -> Ints:
    """`Records.table` of what a file holds."""
    if str(arrays["schema"]) == COUNTS_SCHEMA:
        return np.stack([arrays[name] for name in COUNTS_COLUMNS])
    image = np.repeat(np.arange(len(arrays["ids"])), arrays["rows"])
    return np.stack([image, *(arrays[name].astype(np.int64) for name in COLUMNS[1:])])


def _read_arrays(stream: Any) -> dict[str, NDArray[Any]] | None:
    """The arrays of an npz file, or None where it is something else."""
    try:
        with np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # foreign bytes make the zip, zlib and npy parsers raise a dozen unrelated types
        return None
