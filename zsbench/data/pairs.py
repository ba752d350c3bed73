"""Images with one mask each, and a file that says what its values or colours mean: how many tools export.

Roboflow (`_classes.csv`), Hasty (`label_classes.json`), labelme2voc (`class_names.txt`), Cityscapes, and plain folders.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.found import (
    EXCLUDED,
    ONLY,
    SPLITS,
    UNANNOTATED,
    Found,
    Painted,
    Picture,
    files_called,
    pictures_below,
)
from zsbench.data.label_map import LabelMap
from zsbench.data.mask import EXACT_FORMATS, INDEX_MODES, open_mask, read_binary, read_mask
from zsbench.errors import UserError
from zsbench.utils.colours import RGB
from zsbench.utils.documents import read_json
from zsbench.utils.files import read_text

MASK_WORDS = {
    "mask", "masks", "label", "labels", "labelmaps", "annotation", "annotations", "annot", "ann", "anns", "gt", "gtfine",
    "truth", "groundtruth", "target", "targets", "segmentation", "segmentations", "segmentationclass",
    "segmentationclasspng",
}  # fmt: skip
IMAGE_WORDS = {
    "image",
    "images",
    "img",
    "imgs",
    "jpegimages",
    "photo",
    "photos",
    "rgb",
    "leftimg8bit",
    "imgsfine",
    "input",
}
OTHER_WORDS = {"dir", "ground", "data", "png", "raw"}
"""Words that folders are called by, which say nothing of the images in them."""
UNREAD = {
    "segmentationclassvisualization", "segmentationobject", "segmentationobjectpng", "segmentationobjectvisualization",
    "visualization", "visualizations",
}  # fmt: skip
MASK_ENDING = re.compile(
    r"[_.-](masks?|labels?|seg|segmentation|gt|annotation|gtfine_label(train)?ids)$", re.IGNORECASE
)
IMAGE_ENDING = re.compile(r"[_.-](leftimg8bit|image|img|rgb)$", re.IGNORECASE)
CLASS_FILES = ("classes.txt", "class_names.txt", "labels.txt", "names.txt", "class_dict.csv", "classes.csv")
LABEL_IDS, TRAIN_IDS = "_gtfine_labelids.png", "_gtfine_labeltrainids.png"

CITYSCAPES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan",
    "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The label ids of Cityscapes."""
CITYSCAPES_VOID = (
    *CITYSCAPES[:7], "parking", "rail track", "guard rail", "bridge", "tunnel", "polegroup", "caravan", "trailer"
)  # fmt: skip
"""Those that its benchmark does not score."""


@dataclass(frozen=True)
class Meaning:
    """What masks say: the classes, and the index (or `EXCLUDED`) of each value or colour. `source`: what says so."""

    source: str
    classes: tuple[str, ...]
    values: Mapping[int, int]
    colours: Mapping[RGB, int] | None = None

    @classmethod
    def counted(cls, source: str, classes: Sequence[str]) -> Meaning:
        """Values 0, 1, 2, ... in the order of the classes."""
        return cls(source, tuple(classes), {value: value for value in range(len(classes))})


def read_values(path: Path, meaning: Meaning) -> Painted:
    """A mask as classes. Unless they are classes, 0 is unannotated, 255 excluded; others not listed are a `UserError`."""
    picture = open_mask(path)
    if meaning.colours is not None:
        return Painted(read_colours(path, picture, meaning))
    raw = plain_channel(path, picture) if picture.mode not in INDEX_MODES else read_mask(path)
    listed = LabelMap({0: UNANNOTATED, 255: EXCLUDED, **meaning.values})
    label = listed(raw)
    if label.min(initial=0) < EXCLUDED:
        raise UserError(f"{path}: {listed.explain(raw)} They are those of {meaning.source}.")
    return Painted(label)


def black_and_white(path: Path) -> bool:
    """Whether a mask is a drawing in black and white; JPEGs can be nothing else. Indices of a palette are values, however
    they are coloured."""
    picture = open_mask(path)
    if picture.format not in EXACT_FORMATS:
        return True
    grey = np.asarray(picture.convert("L"))
    as_values = picture.mode == "P" and (np.asarray(picture) != grey).any()
    return not as_values and set(np.unique(grey).tolist()) <= {0, 255}


def read_drawing(path: Path) -> Painted:
    """A black and white mask: white is the second of two classes."""
    return Painted(read_binary(path).astype(np.int32))


def plain_channel(path: Path, picture: Image.Image) -> NDArray[Any]:
    """The values of a mask that was saved as RGB with equal channels."""
    channels = np.asarray(picture.convert("RGB"))
    if picture.format != "PNG" or (channels != channels[..., :1]).any():
        raise UserError(
            f"{path}: a mask in colours, and no file says what they mean. Put a class_dict.csv (name,r,g,b) into the "
            "folder, or export masks of class values."
        )
    return channels[..., 0]


def read_colours(path: Path, picture: Image.Image, meaning: Meaning) -> NDArray[Any]:
    assert meaning.colours is not None
    channels = np.asarray(picture.convert("RGB")).astype(np.int64)
    keys, places = np.unique(channels @ (65536, 256, 1), return_inverse=True)
    known = {(r << 16) + (g << 8) + b: index for (r, g, b), index in meaning.colours.items()}
    strange = [key for key in keys.tolist() if key not in known and key != 0]
    if strange:
        colour = (strange[0] >> 16, strange[0] >> 8 & 255, strange[0] & 255)
        raise UserError(f"{path}: the colour {colour} is none of {meaning.source}.")
    table = np.array([known.get(key, UNANNOTATED) for key in keys.tolist()], np.int32)
    return table[places].reshape(channels.shape[:2])


class Place(NamedTuple):
    """What the path of a picture says: its split (empty where it says none), what image and mask have in common, and whether
    it is a mask."""

    split: str
    key: str
    is_mask: bool


def place_of(path: PurePosixPath) -> Place:
    kept, is_mask, split = [], False, ""
    for part in path.parts[:-1]:
        words = {re.sub(r"\d+$", "", word) for word in re.findall("[a-z0-9]+", part.lower().replace("annot", " annot"))}
        is_mask = is_mask or bool(words & MASK_WORDS)
        if not words <= MASK_WORDS | IMAGE_WORDS | OTHER_WORDS | SPLITS.keys():
            kept.append(part)
        else:
            split = next((SPLITS[word] for word in words if word in SPLITS), split)
    ending = MASK_ENDING.search(path.stem)
    is_mask = is_mask or ending is not None
    ending = ending if is_mask else IMAGE_ENDING.search(path.stem)
    stem = path.stem[: ending.start()] if ending else path.stem
    return Place(split, "/".join([*kept, stem]), is_mask)


Placed = tuple[Place, Path]
Twos = Callable[[Sequence[Placed]], list[Placed] | None]
NAMINGS: tuple[Callable[[Place], object], ...] = (
    lambda place: (place.split, place.key),
    lambda place: place.key,
    lambda place: PurePosixPath(place.key).name,
)
"""What an image and its mask have in common, the closest first: images or masks alone may be in folders."""


def find_pairs(folder: Path, paths: Sequence[Path]) -> tuple[list[tuple[Place, Path, Path]], int]:
    """Images with their masks, and how many images have none.

    Raises `UserError` for a mask without its image, and for two of one name.
    """
    inner = {path: PurePosixPath(path.relative_to(folder).as_posix()) for path in paths}
    placed = [
        (place_of(part), path) for path, part in inner.items() if not UNREAD & {word.lower() for word in part.parts}
    ]
    fit = near_image_and_mask
    if not any(place.is_mask for place, _ in placed):
        placed, fit = by_content(placed), image_and_mask
    taken = dict[Place, Path]()
    for place, path in placed:
        if taken.setdefault(place, path) != path:
            raise UserError(
                f"{taken[place]} and {path} are two {'masks' if place.is_mask else 'images'} that go by the name "
                f"{place.key!r} ({place.split or ONLY}): keep one."
            )
    found, left = in_twos(placed, fit)
    missing = next((each for each in left if each[0].is_mask), None)
    if missing:
        raise UserError(
            f"{missing[1]}: its image is missing: expected one called {missing[0].key} beside it or in a folder of images."
        )
    pairs = [
        (image._replace(split=mask.split or image.split or ONLY), path, other) for (image, path), (mask, other) in found
    ]
    return pairs, len(left)


def image_and_mask(twos: Sequence[Placed]) -> list[Placed] | None:
    return sorted(twos, key=lambda each: each[0].is_mask) if twos[0][0].is_mask != twos[1][0].is_mask else None


def near_image_and_mask(twos: Sequence[Placed]) -> list[Placed] | None:
    """The same, but for two in splits or folders of their own that differ: videos number their frames alike."""
    (one, _), (other, _) = twos
    folders = [folder_words(place) for place in (one, other)]
    if (one.split and other.split and one.split != other.split) or (all(folders) and folders[0] != folders[1]):
        return None
    return image_and_mask(twos)


def folder_words(place: Place) -> list[str]:
    """What folders are called besides that they hold images or masks."""
    words = re.findall(r"[^\W_]+", str(PurePosixPath(place.key).parent).lower())
    return [word for word in words if word not in MASK_WORDS | IMAGE_WORDS]


def by_content(pictures: Sequence[Placed]) -> list[Placed]:
    """Images and masks that nothing but their folders tells apart: of two pictures of one name, the mask has one channel."""

    def told(twos: Sequence[Placed]) -> list[Placed] | None:
        values = [path.suffix.lower() == ".png" and open_mask(path).mode in INDEX_MODES for _, path in twos]
        if values[0] == values[1]:
            return None
        return [(place._replace(is_mask=mask), path) for (place, path), mask in zip(twos, values, strict=True)]

    found, left = in_twos(pictures, told)
    return [each for twos in found for each in twos] + left


def in_twos(pictures: Sequence[Placed], fit: Twos) -> tuple[list[list[Placed]], list[Placed]]:
    """The pictures of one name that are two and `fit`, as that gives them, by one naming after the other; and the rest."""
    found: list[list[Placed]] = []
    left = list(pictures)
    for name in NAMINGS:
        groups: dict[object, list[Placed]] = {}
        for each in left:
            groups.setdefault(name(each[0]), []).append(each)
        fitting = {key: twos for key, group in groups.items() if len(group) == 2 and (twos := fit(group))}
        found += fitting.values()
        left = [each for each in left if name(each[0]) not in fitting]
    return found, left


def read_pairs(folder: Path, classes: Sequence[str]) -> Found | None:
    """A folder of images and masks, if it is one. `classes`: names in the order of the values, where no file says them.

    Raises `UserError` where nothing says what masks mean.
    """
    paths = pictures_below(folder)
    tool, void, meaning = "images and masks", frozenset[str](), None
    cityscapes = next((end for end in (LABEL_IDS, TRAIN_IDS) if any(p.name.lower().endswith(end) for p in paths)), None)
    if cityscapes:
        tool, void = "Cityscapes", frozenset(CITYSCAPES_VOID)
        paths = [p for p in paths if "_gtfine_" not in p.name.lower() or p.name.lower().endswith(cityscapes)]
        meaning = cityscapes_meaning(folder, cityscapes)
    pairs, without = find_pairs(folder, paths)
    if not pairs:
        return None
    if classes:
        meaning = Meaning.counted("--classes", classes)
    elif meaning is None and (meaning := class_file(folder)):
        tool = next(called for name, called, _ in READERS if meaning.source.endswith(name))
    if meaning is None:
        raise UserError(
            f"{folder}: {len(pairs)} images with masks, and nothing says what the masks' values mean. Give --classes "
            f'"soil, grass, ..." in the order of the values 0, 1, ..., or put one of {", ".join(CLASS_FILES)} there.'
        )
    read: Callable[[Path], Painted] = partial(read_values, meaning=meaning)
    notes = [f"{without} images without a mask are left out"] if without > 0 else []
    if meaning.values == {0: 0, 1: 1} and all(black_and_white(mask) for _, _, mask in pairs):
        read = read_drawing
        notes.append(f"masks in black and white: white is {meaning.classes[1]}, black {meaning.classes[0]}")
    pictures = [Picture(place.split, place.key, image, partial(read, mask)) for place, image, mask in pairs]
    colours = tuple(meaning.colours) if meaning.colours and len(meaning.colours) == len(meaning.classes) else None
    return Found(tool, meaning.classes, pictures, colours, notes, void)


def class_file(folder: Path) -> Meaning | None:
    """What a file says of the classes, if there is one. Several of its name, one for each split, must say the same."""
    for name, _, read in READERS:
        files = files_called(folder, name)
        if files:
            meaning = read(files[0])
            for other in map(read, files[1:]):
                if (other.classes, other.values) != (meaning.classes, meaning.values):
                    raise UserError(f"{meaning.source} and {other.source} say different things of the classes.")
            return meaning
    return None


def cityscapes_meaning(folder: Path, ending: str) -> Meaning:
    """The released label ids, or those that a `label_colors.txt` (`r g b name`) of another data set lists in their order."""
    files = files_called(folder, "label_colors.txt")
    if files:
        lines = [line.split(maxsplit=3) for line in lines_of(files[0])]
        return Meaning.counted(str(files[0]), [line[-1] for line in lines])
    if ending == TRAIN_IDS:
        return Meaning.counted("Cityscapes' train ids", [name for name in CITYSCAPES if name not in CITYSCAPES_VOID])
    return Meaning.counted("Cityscapes' label ids", CITYSCAPES)


def lines_of(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path, "list of classes").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def unique(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise UserError(
            f"{path}: " + ("no class is listed." if twice is None else f"the class {twice!r} is listed twice.")
        )
    return tuple(names)


def read_class_list(path: Path) -> Meaning:
    """A name a line, in the order of the values; labelme's `__ignore__`, the first, is 255. An empty line between names
    could stand for a value without one, or for nothing: raises `UserError`."""
    lines = lines_of(path)
    listed = read_text(path, "list of classes").rstrip().splitlines()
    if lines and (empty := next((n for n, line in enumerate(listed, 1) if not line.strip()), None)):
        raise UserError(f"{path}: line {empty} is empty, and names are counted by line. Delete it, or name that value.")
    ignoring = lines[:1] == ["__ignore__"]
    meaning = Meaning.counted(str(path), unique(path, lines[1:] if ignoring else lines))
    return replace(meaning, values={255: EXCLUDED, **meaning.values}) if ignoring else meaning


def read_class_table(path: Path) -> Meaning:
    """CSV: `value, name`, or `name, r, g, b` for masks in colours; with or without a heading."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines_of(path))]
    if rows and not any(cell.isdecimal() for cell in rows[0]):
        del rows[0]
    try:
        if all(len(row) == 4 for row in rows):
            names = unique(path, [row[0] for row in rows])
            colours = [(int(r), int(g), int(b)) for _, r, g, b in rows]
            clash = next((colour for colour in colours if colours.count(colour) > 1), None)
            if clash:
                raise UserError(f"{path}: two classes have the colour {clash}.")
            return Meaning(str(path), names, {}, {colour: index for index, colour in enumerate(colours)})
        names = unique(path, [row[1] for row in rows])
        values = {int(row[0]): index for index, row in enumerate(rows)}
        if len(values) < len(names):
            raise UserError(f"{path}: two classes have the same value.")
        return Meaning(str(path), names, values)
    except (ValueError, IndexError):
        raise UserError(f"{path}: expected lines `value, name` or `name, red, green, blue`.") from None


def read_hasty(path: Path) -> Meaning:
    """Hasty's list of classes; one without a `png_index` is drawn nowhere."""
    content = read_json(path, "list of classes")
    listed = content.get("label_classes") if isinstance(content, dict) else content
    try:
        known = [each for each in listed or () if each.get("png_index") is not None]
        names = unique(path, [str(each.get("class_name") or each["name"]) for each in known])
        values = {int(each["png_index"]): index for index, each in enumerate(known)}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: expected classes with class_name and png_index ({type(error).__name__}: {error})."
        ) from None
    if len(values) < len(names):
        raise UserError(f"{path}: two classes have the same png_index.")
    return Meaning(str(path), names, values)


READERS: tuple[tuple[str, str, Callable[[Path], Meaning]], ...] = (
    ("_classes.csv", "Roboflow semantic segmentation masks", read_class_table),
    ("label_classes.json", "Hasty semantic segmentation", read_hasty),
    ("class_names.txt", "labelme2voc", read_class_list),
    *(
        (name, "images and masks", read_class_table if name.endswith("csv") else read_class_list)
        for name in CLASS_FILES
    ),
)
"""Files that say what masks mean: name, whose they are, how they are read."""
