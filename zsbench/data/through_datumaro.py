"""Layouts that datumaro reads: CVAT's masks, VOC, and whatever else it detects."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.data.found import Found, Painted, Picture, files_ending, paint, pictures_below, said_split, split_of
from zsbench.data.image import open_picture
from zsbench.data.layout import walk
from zsbench.data.rle import decode_region
from zsbench.errors import UserError
from zsbench.utils.colours import RGB
from zsbench.utils.extras import lacking, optional
from zsbench.utils.files import read_text

EXTRA = "import"
FORMATS = (
    "ade20k2017", "ade20k2020", "camvid", "coco_panoptic", "common_semantic_segmentation",
    "common_semantic_segmentation_with_subset_dirs", "cvat", "datumaro", "icdar_text_segmentation", "kitti", "label_me",
    "mapillary_vistas", "mapillary_vistas_instances", "mapillary_vistas_panoptic", "mots", "open_images", "synthia_al",
    "synthia_rand", "synthia_sf", "vott_json", "yolo",
)  # fmt: skip
"""Those of its formats with masks or polygons; none of these is unpickled."""

CVAT = "cvat"
LISTED = (CVAT, "datumaro", "label_me")
"""Those that list images with their shapes, so that one without any is one where nothing is drawn."""
UNREAD = re.compile(r'<(cuboid|ellipse|skeleton)\b(?![^>]*\boutside="1")')
"""Shapes in the XML of CVAT that datumaro passes over."""
UNDECLARED = re.compile(r"import item \('(.*?)'.*Undeclared color (.*)")


@contextmanager
def datumaro_at(folder: Path) -> Iterator[Any]:
    """Datumaro, quiet; what it has against a folder becomes a `UserError`."""
    found = optional("datumaro", EXTRA)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield found
    except (UserError, MemoryError):
        raise
    except Exception as error:  # its readers raise anything at all on what they do not expect
        cause = error.__cause__ or error
        raise UserError(f"{folder}: datumaro cannot read this ({type(cause).__name__}: {error}).") from None
    finally:
        logging.disable(level)


def read_voc(folder: Path) -> Found | None:
    """CVAT's "segmentation mask 1.1", and VOC: lists, images, classes and colours through datumaro."""
    roots = sorted(here for here, _ in walk(folder) if (here / "ImageSets" / "Segmentation").is_dir())
    if len(roots) < 2:
        return read_voc_root(roots[0], PurePosixPath()) if roots else None
    parts = [read_voc_root(root, PurePosixPath(root.relative_to(folder).as_posix())) for root in roots]
    for root, part in zip(roots, parts, strict=True):
        if part.classes != parts[0].classes:
            raise UserError(
                f"{roots[0]} and {root} differ in their classes or the order of these: import each on its own."
            )
    pictures = [picture for part in parts for picture in part.pictures]
    notes = [f"{root.name}: {note}" for root, part in zip(roots, parts, strict=True) for note in part.notes[1:]]
    return replace(parts[0], pictures=pictures, notes=[*parts[0].notes[:1], *notes])


def read_voc_root(root: Path, inner: PurePosixPath) -> Found:
    """What is in one folder with `ImageSets`; `inner`: what ids begin with, which says the split where no list does."""
    try:
        with datumaro_at(root) as dm:
            from datumaro.util.mask_tools import load_mask

            data = dm.Dataset.import_from(str(root), "voc_segmentation")
            labels, colours = (data.categories()[kind] for kind in (dm.AnnotationType.label, dm.AnnotationType.mask))
            check_colours(root, labels, colours)
            items = list(data)
    except UserError as error:
        for path in pictures_below(root / "SegmentationClass"):
            open_picture(path, "mask")  # of a damaged one datumaro says nothing that helps
        if strange := UNDECLARED.search(str(error)):
            numbers = re.findall(r"\b\d+\b", strange[2])[:3]
            raise UserError(
                f"{root / 'SegmentationClass' / strange[1]}.png: the colour ({', '.join(numbers)}) is that of no class in "
                f"labelmap.txt. Add a line for it, such as `background:{','.join(numbers)}::`."
            ) from None
        raise
    known = [item for item in items if said_split(PurePosixPath(item.subset))]
    listed = {item.id for item in known}  # VOC's own trainval has all of them again
    others = list({item.id: item for item in items if item.id not in listed}.values())
    items = known + others
    absent = [item.id for item in items if item.media is None]
    if absent:
        raise UserError(
            f"{root}: {len(absent)} images are not there, such as {absent[0]}: export with images, or put them into "
            f"{root / 'JPEGImages'}."
        )
    masks = [(item, root / "SegmentationClass" / f"{item.id}.png") for item in items]
    read = partial(read_voc_mask, load_mask=load_mask, colours=colours.inverse_colormap, classes=len(labels))
    pictures = [
        Picture(
            split_of(PurePosixPath(item.subset, *inner.parts)),
            (inner / item.id).as_posix(),
            Path(item.media.path),
            partial(read, mask),
        )
        for item, mask in masks
        if mask.is_file()
    ]
    tool = "CVAT segmentation mask 1.1" if (root / "labelmap.txt").is_file() else "PASCAL VOC"
    without = len(masks) - len(pictures)
    notes = ["read by datumaro", *([f"{without} images without a mask are left out"] if without else [])]
    if known and others:
        notes.append(
            f"{len(others)} images in lists of no split, such as {others[0].subset}.txt, are in {split_of(inner)}"
        )
    return Found(tool, tuple(label.name for label in labels), pictures, palette_of(labels, colours), notes)


def check_colours(root: Path, labels: Any, colours: Any) -> None:
    """Raise `UserError` where two classes are drawn alike."""
    drawn = list(colours.colormap.values())
    clash = [labels[index].name for index, colour in colours.colormap.items() if drawn.count(colour) > 1]
    if clash:
        raise UserError(f"{root / 'labelmap.txt'}: {clash[0]} and {clash[1]} have the same colour.")


def read_voc_mask(path: Path, load_mask: Any, colours: Mapping[RGB, int], classes: int) -> Painted:
    """The classes of a mask in colours, or of one with class values; what has neither is a `UserError`."""
    open_picture(path, "mask")
    with datumaro_at(path):
        label = np.asarray(load_mask(str(path), colours)).squeeze().astype(np.int32)
    if label.max(initial=0) >= classes:
        raise UserError(f"{path}: the value {label.max()} is that of no class: labelmap.txt lists {classes}.")
    return Painted(label)


def read_any(folder: Path) -> Found | None:
    """Whatever else datumaro detects, where it is installed, and that has masks or polygons."""
    if lacking("datumaro", EXTRA):
        return None
    with datumaro_at(folder) as dm:
        formats = dm.components.environment.Environment().detect_dataset(str(folder))
    for name in (each for each in formats if each in FORMATS):
        with suppress(UserError), datumaro_at(folder) as dm:
            if found := read_format(folder, name, dm):
                return found
    return None


def read_format(folder: Path, name: str, dm: Any) -> Found | None:
    """A folder in one of `FORMATS`; None where nothing in it has a mask or polygon with a class."""
    data = dm.Dataset.import_from(str(folder), name)
    kinds = (dm.AnnotationType.mask, dm.AnnotationType.polygon)
    labels, colours = (data.categories().get(kind) for kind in (dm.AnnotationType.label, dm.AnnotationType.mask))
    items = list(data)
    drawn = {(item.id, item.subset) for item in items if any(each.type in kinds for each in item.annotations)}
    kept = [
        item
        for item in items
        if getattr(item.media, "path", None) and ((item.id, item.subset) in drawn or name in LISTED)
    ]
    if not drawn or not kept or labels is None:
        return None
    pictures = [
        Picture(split_of(PurePosixPath(item.subset)), item.id, Path(item.media.path), partial(read_shapes, item, kinds))
        for item in kept
    ]
    outside = [each.image for each in pictures if not each.image.resolve().is_relative_to(folder.resolve())]
    if outside:
        raise UserError(f"{folder} names the image {outside[0]}, which is not below it; refused.")
    notes = ["read by datumaro"]
    if without := len(items) - len(kept):
        notes.append(f"{without} images that have no mask or are not there are left out")
    if name == CVAT and (unnamed := set(pictures_below(folder)) - {each.image for each in pictures}):
        notes.append(f"{len(unnamed)} images that its XML does not name are left out")
    if unpainted := kinds_without_mask(
        folder, name, items, (*kinds, dm.AnnotationType.label, dm.AnnotationType.caption)
    ):
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(unpainted.items()))
        notes.append(f"annotations that say nothing of pixels are left out: {counted}")
    return Found(name, tuple(label.name for label in labels), pictures, palette_of(labels, colours), notes)


def kinds_without_mask(folder: Path, name: str, items: Sequence[Any], others: Sequence[Any]) -> Counter[str]:
    """How many annotations there are of each kind, such as `bbox`, less those of the kinds `others`."""
    shown = (each for item in items for each in item.annotations if not is_outside(each))
    found = Counter(each.type.name for each in shown if each.type not in others)
    for path in files_ending(folder, ".xml") if name == CVAT else ():
        found.update(UNREAD.findall(read_text(path, "XML of CVAT")))
    return found


def is_outside(annotation: Any) -> bool:
    """Whether CVAT says of a shape in a video that its object is not in this frame; an attribute of a user's is no such."""
    return "track_id" in annotation.attributes and annotation.attributes.get("outside") is True


def palette_of(labels: Any, colours: Any) -> tuple[RGB, ...] | None:
    """The colour of each class, where all have one."""
    found = [
        colours.colormap[index] for index in range(len(labels)) if colours is not None and index in colours.colormap
    ]
    return tuple((int(r), int(g), int(b)) for r, g, b in found) if len(found) == len(labels) else None


def read_shapes(item: Any, kinds: Sequence[Any]) -> Painted:
    """The masks and polygons of an item of datumaro's, by their layer, then the smaller over the larger."""
    path = Path(item.media.path)
    width, height = open_picture(path, "image").size
    shapes = [
        each for each in item.annotations if each.type in kinds and each.label is not None and not is_outside(each)
    ]
    masks: list[tuple[int, NDArray[np.bool_]]] = []
    for each in shapes:
        if each.type == kinds[0]:
            with datumaro_at(path):
                masks.append((each.label, np.asarray(each.image).astype(np.bool_)))
        else:
            masks.append((each.label, decode_region([list(map(float, each.points))], height, width)))
    wrong = next((mask.shape for _, mask in masks if mask.shape != (height, width)), None)
    if wrong:
        raise UserError(f"{path}: it is {width}x{height} pixels (width x height), a mask of it {wrong[1]}x{wrong[0]}.")
    return paint((height, width), masks, [float(each.z_order) for each in shapes])
