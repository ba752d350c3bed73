"""PASCAL Context over VOC 2010: three label spaces and two unseen lists go by this name, so each has its own here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zsbench.class_names import NameSet, by_name
from zsbench.data import Files, FolderDataset, LabelMap, Masks, Source
from zsbench.data.coco import Regions, image_size, paint
from zsbench.data.conversion import Conversion, Item, encode_png
from zsbench.data.layout import check_id
from zsbench.dataset import IGNORE, Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.registry import register_dataset
from zsbench.utils.colours import voc_palette
from zsbench.utils.documents import read_json

NAMES = (
    "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle",
    "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow",
    "cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass", "ground", "horse",
    "keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate", "platform",
    "pottedplant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky", "snow", "sofa",
    "table", "track", "train", "tree", "truck", "tvmonitor", "wall", "water", "window", "wood",
)  # fmt: skip
"""The 59 classes in alphabetical order; value 0 is background."""

CATEGORIES = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""Category ids of background and the 59 classes among the annotation file's hundreds, in the order of the labels."""

VOC_FIRST = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    "bag", "bed", "bench", "book", "building", "cabinet", "ceiling", "cloth", "computer", "cup",
    "door", "fence", "floor", "flower", "food", "grass", "ground", "keyboard", "light", "mountain",
    "mouse", "curtain", "platform", "sign", "plate", "road", "rock", "shelves", "sidewalk", "sky",
    "snow", "bedclothes", "track", "tree", "truck", "wall", "water", "window", "wood",
)  # fmt: skip
"""The order of the classes in the authors' own 59_context_labels: the 20 of VOC first."""

UNSEEN = (
    "cow", "motorbike", "sofa", "cat", "boat", "fence", "bird", "tvmonitor", "keyboard",
    "aeroplane",
)  # fmt: skip
"""The list of ZS3 with 10 classes, which MaskCLIP+, OTSeg and ZegCLIP's paper use."""

CASCADE_UNSEEN = (
    "aeroplane", "bed", "bedclothes", "boat", "bottle", "car", "cloth", "cow", "keyboard", "plate",
)  # fmt: skip
"""The list in Cascade-CLIP's released configuration: another one, so its numbers are not comparable."""

NAMES33 = (*VOC_FIRST[:20], "sky", "grass", "ground", "road", "building", "tree", "water", "mountain", "wall",
    "floor", "track", "keyboard", "ceiling",
)  # fmt: skip
UNSEEN33 = ("cow", "motorbike", "sofa", "cat")
"""CaGNet's four novel classes of 33."""

WHERE = """\
PASCAL Context: VOCtrainval_03-May-2010.tar (1.3 GB) from http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ and either
trainval_merged.json (the "detail" annotations, https://codalabuser.blob.core.windows.net/public/trainval_merged.json)
or 59_context_labels.tar.gz from https://roozbehm.info/pascal-context/ (before: https://cs.stanford.edu/~roozbeh/pascal-context/)
Expected, with the data root at the folder of VOCdevkit (or at VOCdevkit or VOC2010):
  VOCdevkit/VOC2010/JPEGImages/<id>.jpg
and either
  VOCdevkit/VOC2010/SegmentationClassContext/<id>.png and ImageSets/SegmentationContext/{train,val}.txt,
    which `zsbench data prepare pascal-context` writes from VOC2010/trainval_merged.json
or
  VOCdevkit/VOC2010/59_context_labels/<id>.png and ImageSets/Main/{train,val}.txt"""

ARCHIVES = {"VOCtrainval_03-May-2010.tar": "", "59_context_labels.tar.gz": "VOCdevkit/VOC2010"}
COUNTS = {"train": 4_996, "val": 5_104}
MAIN_COUNTS = {"train": 4_998, "val": 5_105}


def sources(split: str, classes: tuple[str, ...]) -> tuple[Source, ...]:
    """Labels as prepared from the detail annotations (in our order), or as the authors release them (VOC first).

    What is not among `classes` is ignored.
    """

    def meaning(order: tuple[str, ...]) -> LabelMap:
        values = {raw: classes.index(name) if name in classes else IGNORE for raw, name in enumerate(order)}
        return LabelMap({255: IGNORE} | values)

    other_list = (
        f"Images are those of VOC 2010's {split} list ({MAIN_COUNTS[split]:,}), "
        f"not the {COUNTS[split]:,} of the detail annotations."
    )
    prepared = Files(
        "JPEGImages/{id}.jpg", "SegmentationClassContext/{id}.png", f"ImageSets/SegmentationContext/{split}.txt"
    )
    released = Files("JPEGImages/{id}.jpg", "59_context_labels/{id}.png", f"ImageSets/Main/{split}.txt")
    background = "background"
    return (
        Masks(
            files=(prepared,),
            labels=meaning((background, *NAMES)),
            count=COUNTS[split],
            colours=voc_palette(256),
        ),
        Masks(files=(released,), labels=meaning((background, *VOC_FIRST)), count=MAIN_COUNTS[split], note=other_list),
    )


def splits(classes: tuple[str, ...]) -> dict[str, tuple[Source, ...]]:
    return {split: sources(split, classes) for split in COUNTS}


NAMES60 = ("background", *NAMES)
MASKCLIP = {"aeroplane": "airplane", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def maskclip(classes: Sequence[str]) -> NameSet:
    """MaskCLIP has no word for background, which MaskCLIP+ learns; ours keeps its own for methods that need one."""
    return NameSet.respelt("maskclip", classes, MASKCLIP, "MaskCLIP, MaskCLIP+")


TRAINED = Defaults(
    templates="vild15",
    protocol=EvalProtocol(short_side=512, crop=512, stride=426),
    recipe={"iterations": 40_000, "batch_size": 16, "crop": 512, "short_side": 512},
)
TRAINING_FREE = Defaults(
    templates="imagenet80",
    protocol=EvalProtocol(short_side=336, crop=224, stride=112),
    recipe=TRAINED.recipe,
)
WITH_BACKGROUND = replace(TRAINING_FREE, protocol=replace(TRAINING_FREE.protocol, background_threshold=0.1))
"""As SCLIP and NACLIP evaluate 60 classes."""


class DetailMasks(Conversion):
    """The detail annotations (one JSON file) as label PNGs 0..59 and lists of ids, like mmsegmentation's converter."""

    title = "detail annotations to SegmentationClassContext"
    folder = "SegmentationClassContext"
    count = sum(COUNTS.values())

    def original(self, home: Path, source: Path | None) -> Path:
        named = source if source and source.suffix == ".json" else (source or home) / "trainval_merged.json"
        return named if named.exists() else home.parent / "trainval_merged.json"

    def missing(self, home: Path, source: Path | None) -> str:
        return (
            ""
            if self.original(home, source).exists()
            else "no trainval_merged.json (put it into VOC2010, or give --source)"
        )

    def items(self, home: Path, source: Path | None) -> Sequence[Item]:
        path = self.original(home, source)
        content = read_json(path, "file of annotations")
        try:
            images = [image for image in content["images"] if image["phase"] in COUNTS]
            size = {image["image_id"]: image_size(image) for image in images}
            regions: dict[int, list[tuple[Path, dict[str, Any]]]] = {number: [] for number in size}
            for annotation in content["annos_segmentation"]:
                regions.get(annotation["image_id"], []).append((path, annotation))
            items = [
                (image["phase"], Path(image["file_name"]).stem, image["image_id"])
                for image in sorted(images, key=lambda image: str(image["file_name"]))
            ]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: not the detail annotations ({type(error).__name__}: {error}).") from None
        for _, name, _ in items:
            check_id(name, path)
        return [
            Item(f"{name}.png", (phase, Regions(name, size[number], tuple(regions[number]))))
            for phase, name, number in items
        ]

    def convert(self, content: tuple[str, Regions]) -> bytes:
        _, regions = content
        label = DETAIL(paint(regions))
        if label.min(initial=0) < 0:
            raise UserError(
                f"{regions.annotations[0][0]}: image {regions.image_id} has a category beyond the 59 classes."
            )
        return encode_png(label.astype(np.uint8), voc_palette(256))

    def lists(self, items: Sequence[Item]) -> dict[str, list[str]]:
        """The ids of each phase, sorted."""
        ids: dict[str, list[str]] = {phase: [] for phase in COUNTS}
        for item in items:
            ids[item.content[0]].append(item.name.removesuffix(".png"))
        return {f"ImageSets/SegmentationContext/{phase}.txt": sorted(names) for phase, names in ids.items()}


DETAIL = LabelMap({category: value for value, category in enumerate(CATEGORIES)})


class Context(FolderDataset):
    """What all PASCAL Context tasks share: folders and where they come from."""

    inside = ("", "VOC2010", "VOCdevkit/VOC2010")
    expects = ("JPEGImages", "SegmentationClassContext|59_context_labels|trainval_merged.json")
    where = WHERE
    licence = "Flickr terms of use; annotations for research"
    disk = "1.5 GB, and the annotation file"
    archives = ARCHIVES
    conversions = (DetailMasks(),)


@register_dataset("pascal-context")
class PascalContext(Context):
    """PASCAL Context: 60 classes with background, 50 seen and 10 unseen."""

    classes = NAMES60
    name_sets = by_name(maskclip(NAMES60))
    unseen = UNSEEN
    palette = voc_palette(60)
    background = "background"
    splits = splits(NAMES60)
    defaults = TRAINED


@register_dataset("context60")
class Context60(Context):
    """PASCAL Context: 60 classes with background, nothing unseen; the training-free methods' protocol."""

    classes = NAMES60
    name_sets = by_name(maskclip(NAMES60))
    palette = voc_palette(60)
    background = "background"
    splits = splits(NAMES60)
    defaults = WITH_BACKGROUND


@register_dataset("context59")
class Context59(Context):
    """PASCAL Context: 59 classes, background ignored, 49 seen and 10 unseen (as OTSeg trains)."""

    classes = NAMES
    unseen = UNSEEN
    palette = voc_palette(59, first=1)
    name_sets = by_name(
        NameSet.parse("cat-seg", ["diningtable" if name == "table" else name for name in NAMES], "CAT-Seg, pc59.json"),
        maskclip(NAMES),
    )
    splits = splits(NAMES)
    defaults = TRAINING_FREE


@register_dataset("context59-cascade")
class Context59Cascade(Context):
    """PASCAL Context: 59 classes with the other 10 unseen ones, those of Cascade-CLIP's released configuration."""

    classes = NAMES
    unseen = CASCADE_UNSEEN
    palette = voc_palette(59, first=1)
    splits = splits(NAMES)
    defaults = TRAINED


@register_dataset("context33")
class Context33(Context):
    """PASCAL Context: CaGNet's task of 33 classes, 29 seen and 4 unseen, all else ignored."""

    classes = NAMES33
    unseen = UNSEEN33
    palette = voc_palette(33, first=1)
    splits = splits(NAMES33)
    defaults = TRAINED
