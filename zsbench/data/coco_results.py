"""COCO results in JSON with run-length encoded masks: proposals as segment generators write them, and predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from zsbench.data.rle import decode_region, region_runs
from zsbench.errors import UserError
from zsbench.utils.documents import read_json
from zsbench.utils.files import write_text

if TYPE_CHECKING:  # results are read without torch, too
    from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """The segments of one image as the file has them, checked: `size` is (height, width)."""

    size: tuple[int, int]
    regions: tuple[dict[str, Any], ...]

    def masks(self) -> Tensor:
        """bool (Q, h, w)."""
        import torch

        return torch.from_numpy(np.stack([decode_region(region, *self.size) for region in self.regions]))


def read_proposals(path: Path) -> dict[str, Segments]:
    """Segments by image id of a file of COCO results. Scores and categories, if any, are not used."""
    return {
        image_id: Segments(tuple(entries[0]["segmentation"]["size"]), tuple(each["segmentation"] for each in entries))
        for image_id, entries in read_results(path).items()
    }


def read_results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The entries of a file of COCO results, by image: a list of `{"image_id", "segmentation": {"size", "counts"}, ...}`.

    In the place of the id there may be a `file_name`, of which the name without folders and suffix counts, as in what
    detectron2 writes. Counts may be compressed (a string) or a list. Raises `UserError` for anything else, for runs that do
    not fill their image, and where the segments of one image differ in size.
    """
    entries = read_json(path, "file of COCO results")
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a list of COCO results, found {type(entries).__name__}.")
    found: dict[str, list[dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        try:
            region = entry["segmentation"]
            height, width = region["size"]
            region_runs(region, height, width)
            name = PurePath(entry["file_name"]).stem if "file_name" in entry else str(entry["image_id"])
            found.setdefault(name, []).append(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f'{path}, entry {number}: expected {{"image_id": ..., "segmentation": {{"size": [height, width], '
                f'"counts": ...}}}}, with the mask run-length encoded. ({type(error).__name__}: {error})'
            ) from error
    for name, of_image in found.items():
        sizes = {tuple(entry["segmentation"]["size"]) for entry in of_image}
        if len(sizes) > 1:
            raise UserError(f"{path}: the segments of image {name} have several sizes: {sorted(sizes)}.")
    return found


def check_ids(found: Iterable[str], known: Sequence[str], path: Path) -> None:
    """Raise `UserError` where a file has proposals for images that are not among `known`."""
    strangers = sorted(set(found) - set(known))
    if strangers:
        raise UserError(
            f"{path} has proposals for {len(strangers)} images that the dataset's split lacks, such as "
            f"{', '.join(strangers[:3])}; its own ids look like {', '.join(known[:3])}."
        )


def write_proposals(path: Path, proposals: Iterable[tuple[str, NDArray[np.bool_], Sequence[float]]]) -> int:
    """Write `(image id, masks bool (Q, h, w), scores)` of each image, empty masks left out. Returns how many there were."""
    entries = [
        {"image_id": image_id, "category_id": 0, "score": float(score), "segmentation": encode(mask)}
        for image_id, masks, scores in proposals
        for mask, score in zip(masks, scores, strict=True)
        if mask.any()
    ]
    write_text(path, json.dumps(entries))
    return len(entries)


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (h, w) as COCO's compressed run-length encoding, fit for JSON."""
    encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
