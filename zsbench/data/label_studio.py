"""Label Studio's brush masks: several of a class and image, in files whose names do not say of which image they are."""

from __future__ import annotations

import re
from collections import Counter
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
    tasks, words = tasks_of(folder)
    photos = ByName(folder, (path for path in pictures_below(folder) if not BRUSH.fullmatch(path.name)))
    latest: dict[str, int] = {}
    for _, match in brushes:
        latest[match[1]] = max(latest.get(match[1], 0), int(match[2]))
    masks: dict[str, list[tuple[str, Path]]] = {}
    for path, match in brushes:
        if int(match[2]) == latest[match[1]]:
            masks.setdefault(match[1], []).append((class_of(path, match[3], words), path))
    classes = tuple(sorted({name for drawn in masks.values() for name, _ in drawn}))
    pictures, taken, unpainted = [], dict[Path, str](), Counter[str]()
    for task, drawn in sorted(masks.items(), key=lambda each: int(each[0])):
        if task not in tasks:
            raise UserError(
                f"{drawn[0][1]}: the JSON export beside it has no task {task}: export both at the same time."
            )
        source, content = tasks[task]
        regions = regions_of(content, latest[task])
        image = photos.one(PurePosixPath(file_of(name_of(source, content, regions))).name, source)
        if (other := taken.setdefault(image, task)) != task:
            raise UserError(
                f"{source}: tasks {other} and {task} are both of the image {image}: leave one of them out, or draw its "
                "masks in the other. If they are of two images, put both there by their names in the export, prefix and all."
            )
        unpainted.update(kinds_without_mask(regions))
        read = partial(read_brushes, [(classes.index(cls), path) for cls, path in drawn], image)
        pictures.append(Picture(split_of(PurePosixPath(image.relative_to(folder).as_posix())), image.stem, image, read))
    several = len(brushes) - sum(map(len, masks.values()))
    notes = [f"{several} masks of earlier annotations are left out: the latest of each task counts"] if several else []
    if without := len(tasks.keys() - masks.keys()):
        notes.append(f"{without} tasks without a mask are left out")
    if unpainted:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(unpainted.items()))
        notes.append(f"annotations that are in no mask are left out: {kinds}")
    return Found("Label Studio brush masks", classes, pictures, notes=notes)


def tasks_of(folder: Path) -> tuple[dict[str, tuple[Path, dict[str, Any]]], set[str]]:
    """Of each task with an image its JSON export and its entry there; and all classes and controls that exports name."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    words: set[str] = set()
    for path in files_ending(folder, ".json"):
        content = read_json(path, "JSON export")
        for task in content if isinstance(content, list) else ():
            if not isinstance(task, dict) or "id" not in task:
                continue
            words |= set(words_in(task))
            if any(is_picture(file_of(each)) for each in texts_of(task).values()):
                found[str(task["id"])] = (path, task)
    if not found:
        raise UserError(
            f"{folder}: masks of Label Studio, whose names do not say of which image they are. Export the "
            "project as JSON, too, and put that file and the images beside the masks."
        )
    return found, words


def texts_of(task: dict[str, Any]) -> dict[str, str]:
    """The texts among the data of a task, addresses of images and others; JSON-MIN has them in the task itself."""
    data = task.get("data", task)
    return {key: each for key, each in data.items() if isinstance(each, str)} if isinstance(data, dict) else {}


def regions_of(task: dict[str, Any], annotation: int) -> Any:
    """What is drawn in the annotation of this number; JSON-MIN has it in the task itself."""
    if not isinstance(task.get("annotations"), list):
        return task
    listed = (each for each in task["annotations"] if isinstance(each, dict))
    return next((each.get("result") for each in listed if each.get("id") == annotation), None)


def name_of(path: Path, task: dict[str, Any], regions: Any) -> str:
    """The address of the image that brushes are drawn on.

    They say it by the name of a tag (`to_name`), which by custom is that of an entry of the data. Raises `UserError`
    where it is none, and several entries are images.
    """
    texts = texts_of(task)
    brushes = (each for each in within(regions) if isinstance(each.get("value"), dict) and "rle" in each["value"])
    drawn_on = {str(each.get("to_name")) for each in brushes}
    named = {key: text for key, text in texts.items() if key in drawn_on}
    fitting = named or {key: text for key, text in texts.items() if is_picture(file_of(text))}
    if len(set(fitting.values())) > 1:
        raise UserError(
            f"{path}: task {task['id']} has several images, {', '.join(fitting)}, and its masks may be of any: leave "
            "the one that they are of in its data."
        )
    return next(iter(fitting.values()))


def kinds_without_mask(regions: Any) -> Iterator[str]:
    """The kind of each region that is no brush, such as `polygonlabels`: masks are exported of brushes alone."""
    for region in within(regions):
        for key, value in region.items():
            classes = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
            if key.endswith("labels") and classes and "rle" not in region:
                yield key


def words_in(content: Any) -> Iterator[str]:
    """The classes (`brushlabels` and the like) and the controls (`from_name`) in an export."""
    for each in within(content):
        for key, value in each.items():
            if key == "from_name" and isinstance(value, str):
                yield f"{value}-"
            elif key.endswith("labels") and isinstance(value, list):
                yield from (word for word in value if isinstance(word, str))


def within(content: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries in what JSON says, at any depth."""
    if isinstance(content, dict):
        yield content
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from within(value)


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
