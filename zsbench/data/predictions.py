"""Predictions made elsewhere: the label maps in a folder, or in a file of COCO results, found by the ids of images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import commonpath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.coco_results import read_results
from zsbench.data.label_map import UNKNOWN, LabelMap
from zsbench.data.layout import check_id, walk
from zsbench.data.mask import RGB, Raw, read_mask
from zsbench.data.rle import decode_region
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.utils.arrays import read_arrays
from zsbench.utils.files import make_folder, sha256, write_atomically

PICTURES, ARRAYS = (".png", ".tif", ".tiff"), (".npy", ".npz")
NAMED = 5
"""Ids and files that a message names before it counts the rest."""


@dataclass(frozen=True)
class Predictions:
    """What was found: for each image id a file or, from COCO results in one file, its regions.

    `ignored`: names of files in the folder that are no predictions. `sha256`: hash of names and content of the others.
    """

    source: Path
    found: Mapping[str, Path | list[dict[str, Any]]]
    ignored: tuple[str, ...]
    sha256: str

    def path(self, image_id: str) -> Path:
        """The file that has the prediction of an image."""
        found = self.found[image_id]
        return found if isinstance(found, Path) else self.source

    def read(self, image_id: str, meaning: LabelMap) -> NDArray[np.integer[Any]]:
        """(H, W) class indices, -1 where the prediction abstains. Raises `UserError` naming the file and the value that is
        no class."""
        return self.classes(image_id, self.raw(image_id), meaning)

    def raw(self, image_id: str) -> Raw:
        """(H, W) values of the prediction of an image, as stored."""
        found = self.found[image_id]
        return read_map(found) if isinstance(found, Path) else paint(found, self.source, image_id)

    def classes(self, image_id: str, raw: Raw, meaning: LabelMap) -> NDArray[np.integer[Any]]:
        """What `read` gives, of stored values in any shape."""
        if raw.dtype == np.bool_:
            count = len({index for index in meaning.values.values() if index != IGNORE})
            if count > 2:
                raise UserError(f"{self.path(image_id)}: true or false in each pixel; expected one of {count} classes.")
            raw = raw.astype(np.uint8)
        values = meaning(raw)
        if raw.dtype.kind == "i":  # files of integers and COCO results may say -1 for nothing
            values[raw == IGNORE] = IGNORE
            if values.min(initial=0) == UNKNOWN:
                raw = raw[raw != IGNORE]
        if values.min(initial=0) == UNKNOWN:
            where = "" if isinstance(self.found[image_id], Path) else f", image {image_id}"
            raise UserError(f"{self.path(image_id)}{where}: {meaning.explain(raw)}")
        return values


def find_predictions(source: Path, ids: Sequence[str]) -> Predictions:
    """The predictions in a folder (label maps, or one file of COCO results) or in such a file, for images among `ids`.

    A label map is told by its suffix; its name is an id, or the end of one that has folders, as a number or not, before an
    ending that all have in common (`_leftImg8bit`). Raises `UserError` where there are none, for one of no image of `ids`,
    and for two of one image.
    """
    if source.is_file():
        return in_results(source, (), ids)
    if not source.is_dir():
        raise UserError(f"{source}: no such folder of predictions, nor a file of COCO results.")
    files = sorted(folder / name for folder, names in walk(source) for name in names)
    maps = [path for path in files if path.suffix.lower() in PICTURES + ARRAYS]
    results = [path for path in files if path.suffix.lower() == ".json" and are_results(path)]
    if len(results) > 1 or (results and maps):
        both = (*results[:2], *maps[:1])
        raise UserError(
            f"{source} holds predictions of several kinds: {both[0]} and {both[1]}. Say which: one file, or a folder."
        )
    ignored = tuple(path.relative_to(source).as_posix() for path in files if path not in {*maps, *results})
    if results:
        return in_results(results[0], ignored, ids)
    if not maps:
        raise UserError(
            f"{source} holds no predictions: expected label maps ({', '.join(PICTURES + ARRAYS)}) named by image id, or a "
            f".json of COCO results; found {some(ignored) if ignored else 'nothing'}."
        )
    names = [path.relative_to(source).with_suffix("").as_posix() for path in maps]
    found: dict[str, Path | list[dict[str, Any]]] = {}
    for path, image_id in zip(maps, images_of(names, ids, source), strict=True):
        if image_id in found:
            raise UserError(f"{found[image_id]} and {path} are both predictions of image {image_id}: keep one of them.")
        found[image_id] = path
    return Predictions(source, found, ignored, digest(source, maps))


def in_results(path: Path, ignored: tuple[str, ...], ids: Sequence[str]) -> Predictions:
    entries = read_results(path)
    images = images_of(list(entries), ids, path)
    if len(set(images)) < len(images):
        raise UserError(f"{path}: two of its images go by the id {max(images, key=images.count)}.")
    return Predictions(path, dict(zip(images, entries.values(), strict=True)), ignored, digest(path.parent, [path]))


def are_results(path: Path) -> bool:
    """Whether a JSON file looks like COCO results rather than a log or a list of metrics."""
    with path.open("rb") as stream:
        start = stream.read(1 << 14).lstrip()
    return start.startswith(b"[") and (b'"segmentation"' in start or start[1:].lstrip().startswith(b"]"))


def images_of(names: Sequence[str], ids: Sequence[str], source: Path) -> list[str]:
    """The image that each name means; a `UserError` lists those that mean none."""
    known = {**short_names(ids), **{image_id: image_id for image_id in ids}}
    home = parts_of(commonpath(["/".join(("", *parts_of(name)[:-1])) or "/" for name in names])) if names else ()

    def image_of(name: str, ending: str) -> str:
        plain = name.removesuffix(ending)
        found = known.get(plain) or known.get(last_part(plain), "")
        # Frames of two videos have the same names: a folder of a prediction's own must be the image's.
        own = parts_of(plain)[len(home) : -1]
        return found if not own or "/" not in found or parts_of(found)[:-1][-len(own) :] == own else ""

    ending = max(("", *common_endings(names)), key=lambda each: sum(bool(image_of(name, each)) for name in names))
    found = [image_of(name, ending) for name in names]
    strangers = [name for name, image_id in zip(names, found, strict=True) if not image_id]
    if strangers:
        raise UserError(
            f"{source}: {len(strangers)} of {len(names)} predictions are named like no image of the split: "
            f"{some(strangers)}. Its ids look like {', '.join(ids[:3])}. Move what is no prediction out of the folder."
        )
    return found


def parts_of(name: str) -> tuple[str, ...]:
    """All parts of a name, from wherever it begins."""
    return PurePosixPath(name.lstrip("/")).parts


def short_names(ids: Sequence[str]) -> dict[str, str]:
    """Ids by their last part, numbers without leading zeros; none for what two ids have in common."""
    found: dict[str, str] = {}
    for image_id in ids:
        short = last_part(image_id)
        found[short] = "" if short in found else image_id
    return found


def last_part(name: str) -> str:
    last = name.rsplit("/", 1)[-1]
    return (last.lstrip("0") or "0") if last.isdecimal() else last


def common_endings(names: Sequence[str]) -> list[str]:
    """What all names end in from a `_`, `-` or `.` on, the longest first."""
    first = names[0] if names else ""
    endings = (first[at:] for at, character in enumerate(first) if character in "_-.")
    return [ending for ending in endings if all(name.endswith(ending) for name in names)]


def some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def digest(folder: Path, paths: Iterable[Path]) -> str:
    """Hash of the names and contents of files."""
    listing = [[path.relative_to(folder).as_posix(), sha256(path)] for path in paths]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def read_map(path: Path) -> Raw:
    """(H, W) values of a label map as the file stores them. Raises `UserError` naming the file for anything else."""
    if path.suffix.lower() in PICTURES:
        return read_mask(path)
    arrays = read_arrays(path, "an array of numbers")
    if len(arrays) != 1:
        raise UserError(f"{path} holds {len(arrays)} arrays ({some(list(arrays))}): expected one.")
    (loaded,) = arrays.values()
    if loaded.ndim != 2 or loaded.dtype.kind not in "iub":
        raise UserError(
            f"{path}: shape {loaded.shape} of {loaded.dtype}; expected (height, width) integers, a class "
            "in each pixel. Of scores for each class, save the argmax."
        )
    return loaded if loaded.dtype in (np.uint8, np.uint16, np.bool_) else loaded.astype(np.int64)


def paint(entries: Sequence[Mapping[str, Any]], path: Path, image_id: str) -> Raw:
    """int64 (H, W) category ids of COCO results of one image, -1 where there is none.

    Raises `UserError` where two regions overlap: which of them is meant is not for us to say.
    """
    height, width = entries[0]["segmentation"]["size"]
    painted = np.full((height, width), IGNORE, np.int64)
    for entry in entries:
        category = entry.get("category_id")
        if not isinstance(category, int) or not 0 <= category < 1 << 31:
            raise UserError(f"{path}, image {image_id}: category_id {category!r}: expected a whole number from 0 on.")
        region = decode_region(entry["segmentation"], height, width)
        if (painted[region] != IGNORE).any():
            raise UserError(
                f"{path}, image {image_id}: a region of category {category} overlaps another one. Expected a semantic "
                "segmentation, one class in each pixel, as in detectron2's sem_seg_predictions.json."
            )
        painted[region] = category
    return painted


class Saving:
    """Writes the label maps of an evaluation, in the form that `find_predictions` reads back."""

    def __init__(self, folder: Path, palette: Sequence[RGB]) -> None:
        self.folder, self.palette = make_folder(folder), palette

    def path(self, image_id: str) -> Path:
        check_id(image_id, self.folder)
        return self.folder / f"{image_id}.png"

    def __call__(self, image_id: str, label: NDArray[np.integer[Any]]) -> None:
        path = self.path(image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_map(path, label, self.palette)


class SavedMaps(Mapping[str, NDArray[np.int32]]):
    """What `Saving` wrote, as arrays by image: int32 (H, W), -1 where the prediction abstained. Read when asked for."""

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.ids = folder, dict.fromkeys(ids)

    def __getitem__(self, image_id: str) -> NDArray[np.int32]:
        if image_id not in self.ids:
            raise KeyError(image_id)
        raw = read_map(self.folder / f"{image_id}.png")
        label = raw.astype(np.int32)
        label[raw == np.iinfo(raw.dtype).max] = IGNORE
        return label

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def save_map(path: Path, label: NDArray[np.integer[Any]], palette: Sequence[RGB]) -> None:
    """Write (H, W) class indices as PNG: 8 bits with a palette for up to 255 classes, else 16 bits of grey.

    Where the prediction abstains (-1), the largest value of the type stands.
    """
    if len(palette) > 255:
        picture = Image.fromarray(label.astype(np.uint16))
    else:
        picture = Image.fromarray(label.astype(np.uint8))
        picture.putpalette([channel for colour in palette for channel in colour] + [224] * 3 * (256 - len(palette)))
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
