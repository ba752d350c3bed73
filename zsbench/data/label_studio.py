"""Label Studio's brush masks: several of a class and image, in files whose names do not say of which image they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from zsbench.data.found import ByName, Found, Painted, Picture, files_ending, paint, pictures_below, split_of
from zsbench.data.image import open_picture
from zsbench.data.layout import is_picture
from zsbench.errors import UserError
from zsbench.utils.documents import read_json

BRUSH = re.compile(r"task-(\d+)-annotation-(\d+)-by-(.+)-(\d+)\.png", re.IGNORECASE)
"""What Label Studio calls a mask: task, annotation, who drew it with control and class, number."""


def read_label_studio(folder: Path) -> Found | None:
    """Label Studio's brush masks, by the JSON export that says of which image each task is."""
    brushes = [(path, match) for path in pictures_below(folder) if (match := BRUSH.fullmatch(path.name))]
    if not brushes:
        return None
    images, words = tasks_of(folder)
    photos = ByName(folder, (path for path in pictures_below(folder) if not BRUSH.fullmatch(path.name)))
    latest: dict[str, int] = {}
    for _, match in brushes:
        latest[match[1]] = max(latest.get(match[1], 0), int(match[2]))
    masks: dict[str, list[tuple[str, Path]]] = {}
    for path, match in brushes:
        if int(match[2]) == latest[match[1]]:
            masks.setdefault(match[1], []).append((class_of(path, match[3], words), path))
    classes = tuple(sorted({name for drawn in masks.values() for name, _ in drawn}))
    pictures = []
    for task, drawn in sorted(masks.items(), key=lambda each: int(each[0])):
        if task not in images:
            raise UserError(
                f"{drawn[0][1]}: the JSON export beside it has no task {task}: export both at the same time."
            )
        source, name = images[task]
        image = photos.one(PurePosixPath(file_of(name)).name, source)
        read = partial(read_brushes, [(classes.index(cls), path) for cls, path in drawn], image)
        pictures.append(Picture(split_of(PurePosixPath(image.relative_to(folder).as_posix())), image.stem, image, read))
    several = len(brushes) - sum(map(len, masks.values()))
    notes = [f"{several} masks of earlier annotations are left out: the latest of each task counts"] if several else []
    if without := len(images.keys() - masks.keys()):
        notes.append(f"{without} tasks without a mask are left out")
    return Found("Label Studio brush masks", classes, pictures, notes=notes)


def tasks_of(folder: Path) -> tuple[dict[str, tuple[Path, str]], set[str]]:
    """Of each task the JSON export and the image that it names; and all classes and controls that exports name."""
    found: dict[str, tuple[Path, str]] = {}
    words: set[str] = set()
    for path in files_ending(folder, ".json"):
        content = read_json(path, "JSON export")
        for task in content if isinstance(content, list) else ():
            if not isinstance(task, dict) or "id" not in task:
                continue
            words |= set(words_in(task))
            data = task.get("data", task)
            texts = [each for each in data.values() if isinstance(each, str)] if isinstance(data, dict) else []
            image = next((each for each in texts if is_picture(file_of(each))), None)
            if image is not None:
                found[str(task["id"])] = (path, image)
    if not found:
        raise UserError(
            f"{folder}: masks of Label Studio, whose names do not say of which image they are. Export the "
            "project as JSON, too, and put that file and the images beside the masks."
        )
    return found, words


def words_in(content: Any) -> Iterator[str]:
    """The classes (`brushlabels` and the like) and the controls (`from_name`) in an export."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "from_name" and isinstance(value, str):
            yield f"{value}-"
        elif key.endswith("labels") and isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))
        yield from words_in(value)
    for value in content if isinstance(content, list) else ():
        yield from words_in(value)


def class_of(path: Path, middle: str, words: set[str]) -> str:
    """The class in `<who>-<control>-<class>`: one that the export names, else what follows its control, or one word."""
    for word in sorted(words, key=len, reverse=True):
        drawn = word.replace("/", "-").replace("\\", "-")  # what Label Studio makes of them in names of files
        if not word.endswith("-") and middle.endswith(f"-{drawn}"):
            return word
    for control in (word for word in words if word.endswith("-")):
        _, found, rest = middle.partition(f"-{control}")
        if found and rest:
            return rest
    parts = middle.split("-", 2)
    if len(parts) < 2 or not parts[-1]:
        raise UserError(f"{path}: expected task-N-annotation-N-by-N-CONTROL-CLASS-N.png, and there is no class.")
    return parts[-1]


def file_of(name: str) -> str:
    """The path in the address of an image; local files have it in a query, `?d=`."""
    parts = urlsplit(name)
    return unquote(parse_qs(parts.query).get("d", [parts.path])[0])


def read_brushes(masks: Sequence[tuple[int, Path]], image: Path) -> Painted:
    """Masks that are zero where nothing is drawn, or transparent there."""
    width, height = open_picture(image, "image").size
    drawn = []
    for cls, path in masks:
        picture = open_picture(path, "mask")
        values = np.asarray(picture.getchannel("A") if picture.mode in ("LA", "RGBA") else picture.convert("L"))
        if values.shape != (height, width):
            raise UserError(
                f"{path}: the mask is {values.shape[1]}x{values.shape[0]} pixels (width x height), its image {image} is "
                f"{width}x{height}."
            )
        drawn.append((cls, values > 0))
    return paint((height, width), drawn)
