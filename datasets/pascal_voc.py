"""PASCAL VOC 2012 semantic segmentation, read from the official folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from zsbench.class_names import NameSet, by_name
from zsbench.data import Files, FolderDataset, LabelMap, Masks, Reference, Source
from zsbench.data.conversion import Conversion, Item, encode_png, first_folder, required
from zsbench.data.mat import read_mat
from zsbench.dataset import Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.registry import register_dataset
from zsbench.utils.colours import voc_palette

NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle",
    "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
UNSEEN = ("pottedplant", "sheep", "sofa", "train", "tvmonitor")
WHERE = """\
PASCAL VOC 2012: unpack VOCtrainval_11-May-2012.tar (2 GB), http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
Expected, with the data root at the folder of VOCdevkit (or at VOCdevkit or VOC2012):
  VOCdevkit/VOC2012/JPEGImages/<id>.jpg
  VOCdevkit/VOC2012/SegmentationClass/<id>.png
  VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
  VOCdevkit/VOC2012/SegmentationClassAug/<id>.png   (optional, SBD's masks: train is then the usual 10,582;
    unpack benchmark.tgz of SBD beside VOCdevkit and call `zsbench data prepare pascal-voc`)"""

LISTS = "ImageSets/Segmentation"
ARCHIVES = {"VOCtrainval_11-May-2012.tar": "", "benchmark.tgz": ""}
OFFICIAL = "SegmentationClass/{id}.png"


def sources(labels: LabelMap) -> dict[str, tuple[Source, ...]]:
    """The splits of VOC 2012 under a label map: train (with SBD where it is there), val, trainval.

    With SBD, train is the official 1,464 images with their official masks and 9,118 further ones with SBD's
    masks, as mmsegmentation and the released ZegCLIP read them.
    """

    def listed(name: str) -> Files:
        return Files("JPEGImages/{id}.jpg", OFFICIAL, f"{LISTS}/{name}.txt")

    further = Files(
        "JPEGImages/{id}.jpg",
        "SegmentationClassAug/{id}.png",
        without=(f"{LISTS}/train.txt", f"{LISTS}/val.txt"),
    )
    masks = partial(Masks, labels=labels, colours=voc_palette(256))
    without_sbd = "SBD's masks (SegmentationClassAug) are not there: this is train (1,464), not train_aug (10,582)."
    return {
        "train": (
            masks(files=(listed("train"), further), count=10_582),
            masks(files=(listed("train"),), count=1_464, note=without_sbd),
        ),
        "val": (masks(files=(listed("val"),), count=1_449),),
        "trainval": (masks(files=(listed("trainval"),), count=2_913),),
    }


WEAR = ", ".join(f"person in {wear}" for wear in ("shirt", "jeans", "dress", "sweater", "skirt", "jacket"))
SCREEN = "television monitor, tv monitor, monitor, television, screen"
SCENERY = (
    "sky; wall; tree; wood; grass; road; sea; river; mountain; sands; desk; bed; building; cloud; lamp; door; "
    "window; wardrobe; ceiling; shelf; curtain; stair; floor; hill; rail; fence"
)


def renamed(**words: str) -> list[str]:
    """The 20 names as the training-free methods write them: ship, table, and what else `words` says."""
    changed = {"boat": "ship", "diningtable": "table"} | words
    return [changed.get(name, name) for name in NAMES]


MASKCLIP = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
}


def maskclip(classes: tuple[str, ...]) -> NameSet:
    return NameSet.respelt("maskclip", classes, MASKCLIP, "MaskCLIP, MaskCLIP+")


ZEGFORMER = NameSet.respelt("zegformer", NAMES, {"pottedplant": "potted plant"}, "ZegFormer")
SCLIP = renamed(person=f"person, {WEAR}", tvmonitor=SCREEN)
CORRCLIP = renamed(person="people")
TRAINING_FREE = EvalProtocol(short_side=336, crop=224, stride=112)
"""SCLIP's, followed by NACLIP and SC-CLIP."""
WITH_BACKGROUND = replace(TRAINING_FREE, background_threshold=0.1)
"""SCLIP's and NACLIP's for VOC21, Context60 and COCO-Object; others take 0.15 to 0.5, at another logit scale."""
RECIPE = {"iterations": 20_000, "batch_size": 16, "crop": 512, "short_side": 512}


TRAIN_IMAGES = (88, 65, 105, 78, 87, 78, 128, 131, 148, 64, 82, 121, 68, 81, 442, 82, 63, 93, 83, 84)
VAL_IMAGES = (90, 79, 103, 72, 96, 74, 127, 119, 123, 71, 75, 128, 79, 76, 445, 85, 57, 90, 84, 74)
STATISTICS = "VOC 2012's annotations"
REFERENCES = {
    "val": Reference(dict(zip(NAMES, VAL_IMAGES, strict=True)), 1_449, STATISTICS),
    "trainval": Reference(
        {name: a + b for name, a, b in zip(NAMES, TRAIN_IMAGES, VAL_IMAGES, strict=True)}, 2_913, STATISTICS
    ),
}
"""Images of the lists whose annotations (XML) have an object of the class; none for train, which depends on SBD's being
there."""


class SbdMasks(Conversion):
    """SBD's class masks (`cls/<id>.mat`) as PNGs with VOC's palette."""

    title = "SBD's masks to SegmentationClassAug"
    folder = "SegmentationClassAug"
    count = 11_355

    def originals(self, home: Path, source: Path | None) -> Path | None:
        outer = [source] if source else [home, home.parent, home.parent.parent]
        inside = ("", "cls", "dataset/cls", "benchmark_RELEASE/dataset/cls", "SBD/cls", "sbd/cls")
        return first_folder([folder / path for folder in outer for path in inside], "*.mat")

    def missing(self, home: Path, source: Path | None) -> str:
        return (
            ""
            if self.originals(home, source)
            else "no cls/*.mat of SBD (unpack benchmark.tgz beside it, or give --source)"
        )

    def items(self, home: Path, source: Path | None) -> Sequence[Item]:
        folder = required(self.originals(home, source), "SBD's folder cls")
        return [Item(f"{path.stem}.png", path) for path in sorted(folder.glob("*.mat"))]

    def convert(self, content: Path) -> bytes:
        try:
            mask = read_mat(content)["GTcls"]["Segmentation"]
        except (KeyError, TypeError):
            raise UserError(f"{content}: no GTcls.Segmentation in it; is it a file of SBD's folder cls?") from None
        if not isinstance(mask, np.ndarray) or mask.ndim != 2 or not mask.size:
            raise UserError(f"{content}: GTcls.Segmentation is no matrix with a number for each pixel of an image.")
        strange = mask[~np.isin(mask, range(21))]
        if strange.size:
            raise UserError(f"{content}: a mask with the value {strange[0]}, which is none of VOC's 0..20.")
        return encode_png(mask.astype(np.uint8), voc_palette(256))


class Voc(FolderDataset):
    """What all VOC tasks share: the folders, and where they come from."""

    inside = ("", "VOC2012", "VOCdevkit/VOC2012")
    expects = ("JPEGImages", "SegmentationClass", LISTS)
    where = WHERE
    licence = "Flickr terms of use; research use granted by the PASCAL VOC organisers"
    disk = "2 GB unpacked"
    archives = ARCHIVES
    references = REFERENCES
    conversions = (SbdMasks(),)


@register_dataset("pascal-voc")
class PascalVoc(Voc):
    """PASCAL VOC 2012: 20 classes, 15 seen and 5 unseen, background ignored."""

    classes = NAMES
    unseen = UNSEEN
    palette = voc_palette(20, first=1)
    name_sets = by_name(NameSet.parse("sclip", SCLIP, "SCLIP, NACLIP"), maskclip(NAMES), ZEGFORMER)
    splits = sources(LabelMap.consecutive(20, first=1, ignored=(0, 255)))
    defaults = Defaults(protocol=EvalProtocol(short_side=512, crop=512, stride=426), recipe=RECIPE)


@register_dataset("voc20")
class Voc20(Voc):
    """PASCAL VOC 2012: 20 classes, background ignored, nothing unseen; the training-free methods' protocol."""

    classes = NAMES
    palette = voc_palette(20, first=1)
    name_sets = by_name(
        NameSet.parse("sclip", SCLIP, "SCLIP, NACLIP"),
        NameSet.parse("proxyclip", renamed(), "ProxyCLIP, Trident"),
        NameSet.parse("corrclip", CORRCLIP, "CorrCLIP"),
        maskclip(NAMES),
    )
    splits = sources(LabelMap.consecutive(20, first=1, ignored=(0, 255)))
    defaults = Defaults(templates="imagenet80", names="sclip", protocol=TRAINING_FREE, recipe=RECIPE)


@register_dataset("voc21")
class Voc21(Voc):
    """PASCAL VOC 2012: 20 classes and background, as the training-free methods evaluate it."""

    classes = ("background", *NAMES)
    palette = voc_palette(21)
    background = "background"
    name_sets = by_name(
        NameSet.parse("sclip", [SCENERY, *SCLIP], "SCLIP, NACLIP"),
        NameSet.parse("proxyclip", [SCENERY, *renamed()], "ProxyCLIP, Trident"),
        NameSet.parse("clearclip", ["background", *renamed()], "ClearCLIP"),
        NameSet.parse("corrclip", [SCENERY, *CORRCLIP], "CorrCLIP"),
    )
    splits = sources(LabelMap.consecutive(21))
    defaults = Defaults(templates="imagenet80", names="sclip", protocol=WITH_BACKGROUND, recipe=RECIPE)
