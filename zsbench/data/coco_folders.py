"""COCO's regions in any folders. By our own reader: datumaro's wants fixed folders, and drops category 0."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from zsbench.data.coco import image_size
from zsbench.data.found import ONLY, ByName, Found, Painted, Picture, files_ending, paint, pictures_below, said_split
from zsbench.data.rle import decode_region
from zsbench.errors import UserError
from zsbench.utils.documents import read_json


@dataclass
class Annotated:
    """An image with its regions so far; `size` is (height, width)."""

    image: Path
    size: tuple[int, int]
    regions: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)


def read_coco(folder: Path) -> Found | None:
    """All annotation files with regions below a folder, if there are any."""
    files = [(path, content) for path in files_ending(folder, ".json") if is_coco(content := read_json(path, "JSON"))]
    if not files:
        return None
    photos = ByName(folder, pictures_below(folder))
    names: dict[int, str] = {}
    pictures: dict[tuple[str, str], Annotated] = {}
    for path, content in files:
        inner = path.relative_to(folder)
        split = said_split(PurePosixPath(*inner.parts[:-1], *re.findall("[A-Za-z]+", inner.stem)))
        try:
            take_classes(path, content, names)
            take_regions(path, content, photos, split, pictures)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: not a COCO annotation file ({type(error).__name__}: {error}).") from None
    used = {each["category_id"] for annotated in pictures.values() for _, each in annotated.regions}
    order = [number for number in sorted(names) if number in used or number or not is_name_for_all(files)]
    index = {number: place for place, number in enumerate(order)}
    found = [
        Picture(split, key, annotated.image, partial(read_regions, annotated, index))
        for (split, key), annotated in pictures.items()
    ]
    without = sum(not each.get("segmentation") for annotated in pictures.values() for _, each in annotated.regions)
    notes = [f"annotations without a region (boxes or keypoints alone), drawn nowhere: {without}"] if without else []
    return Found("COCO", tuple(names[number] for number in order), found, notes=notes)


def is_coco(content: Any) -> bool:
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        return False
    listed = content["annotations"]
    return isinstance(listed, list) and any(isinstance(each, dict) and each.get("segmentation") for each in listed)


def is_name_for_all(files: Sequence[tuple[Path, dict[str, Any]]]) -> bool:
    """Whether category 0 is no class but Roboflow's name for all of them, which are below it."""
    listed = [each for _, content in files for each in content["categories"]]
    zero = {str(each["name"]) for each in listed if not each["id"]}
    above = {str(each.get("supercategory")) for each in listed if each["id"]}
    return bool(above) and above == zero


def boxes_alone(folder: Path) -> Path | None:
    """A COCO file whose annotations are boxes without regions, if there is one."""
    for path in files_ending(folder, ".json"):
        content = read_json(path, "JSON")
        listed = content.get("annotations") if isinstance(content, dict) else None
        if isinstance(listed, list) and listed and all(isinstance(each, dict) and "bbox" in each for each in listed):
            return path
    return None


def take_classes(path: Path, content: dict[str, Any], names: dict[int, str]) -> None:
    """Add the categories of a file; one number with two names is a `UserError`."""
    for each in content["categories"]:
        known = names.setdefault(int(each["id"]), str(each["name"]))
        if known != str(each["name"]):
            raise UserError(f"{path}: category {each['id']} is {each['name']!r}, in another file {known!r}.")


def take_regions(
    path: Path, content: dict[str, Any], photos: ByName, split: str | None, pictures: dict[tuple[str, str], Annotated]
) -> None:
    """Add the images of a file with their regions; an image may be in several files, such as things and stuff. `split`: what
    the file is of, None where it does not say."""
    of_image: dict[Any, Annotated] = {}
    for each in content["images"]:
        if each["id"] in of_image:
            raise UserError(
                f"{path}: two of its images have the id {each['id']}, so that nobody knows whose annotations are."
            )
        name = str(each["file_name"])
        image = photos.one(name, path, split)
        inner = PurePosixPath(name.replace("\\", "/")).with_suffix("")
        key = "/".join(part for part in inner.parts if part not in ("/", "..", "images"))
        of_image[each["id"]] = pictures.setdefault((split or ONLY, key), Annotated(image, image_size(each)))
        if of_image[each["id"]].image != image:
            raise UserError(f"{path}: {image} and {of_image[each['id']].image} are both called {key}: rename one.")
    photos.check_different({str(each["file_name"]): of_image[each["id"]].image for each in content["images"]}, path)
    listed = {int(each["id"]) for each in content["categories"]}
    for each in content["annotations"]:
        if each["category_id"] not in listed:
            raise UserError(
                f"{path}: annotation {each.get('id')} has category {each['category_id']}, which is not listed."
            )
        of_image[each["image_id"]].regions.append((path, each))


def read_regions(annotated: Annotated, index: Mapping[int, int]) -> Painted:
    """Regions of an image: those of files of stuff below all others, and in each file crowds at the bottom.

    COCO's stuff has a class `other`, which lies where all things are.
    """
    drawn, order = [], []
    for path, each in annotated.regions:
        try:
            if each.get("segmentation"):
                drawn.append((index[each["category_id"]], decode_region(each["segmentation"], *annotated.size)))
                order.append(2.0 * ("stuff" not in path.stem.lower()) - float(each.get("iscrowd") or 0))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{path}: annotation {each.get('id')} of {annotated.image.name}: {error}.") from None
    return paint(annotated.size, drawn, order)
