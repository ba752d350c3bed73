"""COCO-Stuff 164K, from pixel maps, prepared labels or annotation files; and its 80 things as COCO-Object."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from zsbench.class_names import NameSet, by_name
from zsbench.data import Annotations, Files, FolderDataset, LabelMap, Masks, Reference, Source
from zsbench.data.coco import Regions, paint
from zsbench.data.conversion import Conversion, Item, encode_png
from zsbench.dataset import IGNORE, Defaults, EvalProtocol
from zsbench.registry import register_dataset
from zsbench.utils.colours import voc_palette

ROWS = [line.split("\t") for line in (Path(__file__).parent / "classes.txt").read_text().splitlines()]
NAMES = tuple(name for _, name in ROWS)
PIXEL_VALUES = tuple(int(value) for value, _ in ROWS)
"""Value of each class in the pixel maps: its number in the authors' labels.txt, less one. 11 of 0..181 are unused."""

THINGS = 80
UNSEEN = (
    "cow", "giraffe", "suitcase", "frisbee", "skateboard",
    "carrot", "scissors", "cardboard", "clouds", "grass",
    "playingfield", "river", "road", "tree", "wall-concrete",
)  # fmt: skip
"""The 15 novel classes of SPNet (Xian et al. 2019), those of CaGNet, ZegFormer, zsseg and ZegCLIP."""

UNUSED = sorted(set(range(182)) - set(PIXEL_VALUES))
COUNTS = {"train": 118_287, "val": 5_000}
NUMBER = r"\d{12}"
ARCHIVES = {
    "val2017.zip": "images",
    "train2017.zip": "images",
    "stuffthingmaps_trainval2017.zip": "stuffthingmaps",
    "annotations_trainval2017.zip": "",
    "stuff_annotations_trainval2017.zip": "",
}

WHERE = """\
COCO-Stuff 164K: train2017.zip (18 GB) and val2017.zip (1 GB) from https://cocodataset.org, and
stuffthingmaps_trainval2017.zip (660 MB) from https://github.com/nightrome/cocostuff
Expected below the data root (or a folder coco, coco-stuff or coco_stuff164k in it), for each of train2017, val2017:
  images/val2017/<id>.jpg            or  val2017/<id>.jpg
and one of
  annotations/val2017/<id>_labelTrainIds.png   (0..170, as mmsegmentation prepares them)
  stuffthingmaps/val2017/<id>.png              (0..181; also in annotations/val2017)
  annotations/stuff_val2017.json and annotations/instances_val2017.json"""


def raw_hints() -> dict[int, str]:
    """What unused values say about a file read as a raw pixel map."""
    guess = "No class has this value among the 182 of COCO-Stuff: these look like prepared labels (0..170)."
    return dict.fromkeys(UNUSED, guess)


def prepared_hints() -> dict[int, str]:
    """What values beyond 170 say about a file read as prepared labels."""
    guess = "Prepared labels end at 170: this looks like a raw pixel map (182 values); put it into stuffthingmaps/."
    return dict.fromkeys(range(171, 182), guess)


PREPARED = LabelMap.consecutive(171, hints=prepared_hints())
RAW = LabelMap({255: IGNORE} | {value: i for i, value in enumerate(PIXEL_VALUES)}, raw_hints())
CATEGORIES = LabelMap({0: IGNORE, 183: IGNORE} | {value + 1: i for i, value in enumerate(PIXEL_VALUES)})
"""By `category_id`; 183 is `other`, which the stuff annotations put where the things are."""


def things_only(labels: LabelMap) -> LabelMap:
    """The same values for COCO-Object: things are 1..80, all else is background (as GroupViT's converter has it)."""
    values = {raw: index + 1 if 0 <= index < THINGS else 0 for raw, index in labels.values.items()}
    return LabelMap(values, labels.hints)


def sources(split: str, prepared: LabelMap, raw: LabelMap, categories: LabelMap) -> tuple[Source, ...]:
    """Every place of the images with every place of the labels, the usual first."""
    folder, count = f"{split}2017", COUNTS[split]
    images = [f"images/{folder}/{{id}}.jpg", f"{folder}/{{id}}.jpg"]
    labels = [
        (f"annotations/{folder}/{{id}}_labelTrainIds.png", prepared),
        (f"stuffthingmaps/{folder}/{{id}}.png", raw),
        (f"annotations/{folder}/{{id}}.png", raw),
    ]
    masks = [
        Masks(files=(Files(image, label, shape=NUMBER),), labels=meaning, count=count)
        for (label, meaning), image in product(labels, images)
    ]
    read_whole = (
        "Labels are read from the annotation files, which takes memory and time; "
        "`zsbench data prepare coco-stuff` writes them as pixel maps."
    )
    names = (f"annotations/stuff_{folder}.json", f"annotations/instances_{folder}.json")
    annotations = [
        Annotations(image=image, files=names, labels=categories, count=count, note=read_whole) for image in images
    ]
    return (*masks, *annotations)


class PixelMaps(Conversion):
    """The annotation files as raw pixel maps, like those of stuffthingmaps (0..181, 255 = unlabelled)."""

    def __init__(self, split: str) -> None:
        self.split, self.count = split, COUNTS[split]
        self.folder = f"stuffthingmaps/{split}2017"
        self.title = f"annotation files to pixel maps, {split}2017"
        self.files = tuple(f"annotations/{kind}_{split}2017.json" for kind in ("stuff", "instances"))

    def missing(self, home: Path, source: Path | None) -> str:
        return ", ".join(f"no {name}" for name in self.files if not (home / name).exists())

    def items(self, home: Path, source: Path | None) -> Sequence[Item]:
        opened = Annotations(image="{id}.jpg", files=self.files, labels=CATEGORIES).open(home)
        return [Item(f"{name}.png", opened.regions(name)) for name in opened.ids()]

    def convert(self, content: Regions) -> bytes:
        categories = paint(content)
        return encode_png(np.where((categories == 0) | (categories > 182), 255, categories - 1).astype(np.uint8))


INSTANCES = "COCO's instance annotations"
REFERENCES = {
    "val": Reference(
        dict(zip(NAMES, (2_693, 149, 535, 159, 97, 189, 157, 250, 121, 191), strict=False)),
        COUNTS["val"],
        INSTANCES,
        0.15,
    ),
    "train": Reference({"person": 64_115}, COUNTS["train"], INSTANCES, 0.15),
}
"""Images with instances of the first things, as evaluations of val2017 print them, and with persons in train2017. Maps of
pixels have crowds besides, and lack what is hidden."""


class Coco(FolderDataset):
    """What all COCO tasks share."""

    inside = ("", "coco", "coco-stuff", "coco_stuff164k")
    expects = ("images|val2017|train2017", "annotations|stuffthingmaps")
    where = WHERE
    licence = "images: Flickr terms of use; annotations: CC BY 4.0"
    disk = "20 GB, about 1 GB without train2017"
    archives = ARCHIVES
    references = REFERENCES
    conversions = (PixelMaps("val"), PixelMaps("train"))


def spoken(name: str) -> str:
    """`wall-brick` as MaskCLIP says it, `brick wall`; `wall-other` and `door-stuff` are a wall and a door."""
    thing, hyphen, kind = name.partition("-")
    return f"{kind} {thing}" if hyphen and kind not in ("other", "stuff") else thing


MASKCLIP = {name: spoken(name) for name in NAMES[THINGS:]}
GROUPS = {"things": NAMES[:THINGS], "stuff": NAMES[THINGS:]}
STUFF_SPLITS = {split: sources(split, PREPARED, RAW, CATEGORIES) for split in COUNTS}
OBJECT_SPLITS = {
    split: sources(split, *(things_only(labels) for labels in (PREPARED, RAW, CATEGORIES))) for split in COUNTS
}


@register_dataset("coco-stuff")
class CocoStuff(Coco):
    """COCO-Stuff 164K: 171 classes, 156 seen and 15 unseen."""

    classes = NAMES
    unseen = UNSEEN
    palette = voc_palette(171, first=1)
    groups = GROUPS
    name_sets = by_name(
        NameSet.parse("sclip", [name.replace(" ", "") for name in NAMES], "SCLIP, ClearCLIP, ..."),
        NameSet.respelt("maskclip", NAMES, MASKCLIP, "MaskCLIP, MaskCLIP+"),
    )
    splits = STUFF_SPLITS
    defaults = Defaults(
        templates="vild15",
        protocol=EvalProtocol(short_side=512, crop=512, stride=426),
        recipe={"iterations": 80_000, "batch_size": 16, "crop": 512, "short_side": 512},
    )


NEVER_LABELLED = (
    "street sign", "hat", "shoe", "eye glasses", "plate", "mirror", "window", "desk", "door", "blender", "hair brush",
)  # fmt: skip
"""Names of the unused ids, in their order: seen classes that no pixel has, and wrong wherever they are predicted."""
BY_ID = tuple(name for _, name in sorted(zip((*PIXEL_VALUES, *UNUSED), (*NAMES, *NEVER_LABELLED), strict=True)))


RAW_182 = LabelMap({255: IGNORE} | {value: value for value in range(182)})
CATEGORIES_182 = LabelMap({0: IGNORE, 183: IGNORE} | {value + 1: value for value in range(182)})


@register_dataset("coco-stuff-182")
class CocoStuff182(Coco):
    """COCO-Stuff 164K with all 182 ids, 167 seen and 15 unseen: the task of SPNet, STRICT, CaGNet and SIGN as released."""

    classes = BY_ID
    unseen = UNSEEN
    palette = voc_palette(182, first=1)
    splits = {  # prepared labels have lost the ids
        split: tuple(each for each in sources(split, PREPARED, RAW_182, CATEGORIES_182) if each.labels is not PREPARED)
        for split in COUNTS
    }
    defaults = CocoStuff.defaults


GROUND = "sky; wall; tree; wood; grass; road; sea; river; mountain; sands; desk; building; cloud"
OBJECTS = NAMES[1:THINGS]
PERSONS = ", ".join(f"person in {wear}" for wear in ("shirt", "jeans", "dress", "sweater", "skirt", "jacket"))
MORE_GROUND = "lamp; door; window; wardrobe; ceiling; shelf; curtain; stair; floor; hill; rail; fence"


@register_dataset("coco-object")
class CocoObject(Coco):
    """COCO-Object: the 80 things of COCO-Stuff val2017, and background."""

    classes = ("background", *NAMES[:THINGS])
    palette = voc_palette(81)
    background = "background"
    name_sets = by_name(
        NameSet.parse(
            "sclip",
            [GROUND.replace("desk;", "desk; bed;") + "; " + MORE_GROUND, f"person, {PERSONS}, body", *OBJECTS],
            "SCLIP, NACLIP",
        ),
        NameSet.parse(
            "proxyclip",
            [GROUND.replace("desk;", "desk; bed;") + "; floor; hill; rail", "person", *OBJECTS],
            "ProxyCLIP, Trident",
        ),
        NameSet.parse("corrclip", [GROUND + "; floor; hill; rail", "people", *OBJECTS], "CorrCLIP"),
    )
    splits = OBJECT_SPLITS
    defaults = Defaults(
        templates="imagenet80",
        names="sclip",
        protocol=EvalProtocol(short_side=336, crop=224, stride=112, background_threshold=0.1),
        recipe={"iterations": 80_000, "batch_size": 16, "crop": 512, "short_side": 512},
    )
