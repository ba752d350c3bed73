"""ADE20K with 150 classes (SceneParsing) and with 847 (the full set)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsbench.class_names import NameSet, by_name
from zsbench.data import Files, FolderDataset, LabelMap, Masks, Reference, Source
from zsbench.data.conversion import Conversion, Item, encode_png
from zsbench.data.image import read_image
from zsbench.data.layout import match_ids
from zsbench.dataset import IGNORE, Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.registry import register_dataset
from zsbench.utils.colours import voc_palette


def read_rows(name: str) -> list[list[str]]:
    """The tab-separated rows of a file beside this one."""
    return [line.split("\t") for line in (Path(__file__).parent / name).read_text().splitlines()]


ROWS150 = read_rows("classes150.txt")
NAMES150 = tuple(row[0] for row in ROWS150)
REFERENCES150 = {
    split: Reference({row[0]: int(row[column]) for row in ROWS150}, total, "objectInfo150.txt of SceneParsing")
    for split, column, total in (("train", 2, 20_210), ("val", 3, 2_000))
}
UNSEEN150 = tuple(NAMES150[i] for i in (9, 15, 30, 37, 49, 60, 74, 81, 89, 99, 112, 128, 136, 143, 149))
"""FreeSeg's 15 novel classes (Qin et al. 2023)."""

ROWS847 = read_rows("classes847.txt")
NAMES847 = tuple(names for _, _, names in ROWS847)
"""All words that ADE20K has for each class. ProxyCLIP puts the whole line into a prompt, ZegFormer takes the mean over its
words, CAT-Seg the first (the set `first`)."""
OBJECT_INDEX = tuple(int(index) for index, _, _ in ROWS847)
"""Number of each class among the objects of the ADE20K archive."""
UNSEEN847 = tuple(names for _, frequency, names in ROWS847 if frequency == "rare")
"""ZegFormer's split by frequency: 212 frequent and 360 common classes are seen, the 275 in at most ten images not."""

WHERE150 = """\
ADE20K SceneParsing: ADEChallengeData2016.zip (1 GB) from http://sceneparsing.csail.mit.edu
Expected, with the data root at ADEChallengeData2016 or the folder around it:
  ADEChallengeData2016/images/{training,validation}/<id>.jpg
  ADEChallengeData2016/annotations/{training,validation}/<id>.png   (0 = other, 1..150)"""

WHERE847 = """\
ADE20K full: ADE20K_2021_17_01.zip from https://groups.csail.mit.edu/vision/datasets/ADE20K/ (registration needed)
Expected, with the data root at ADE20K_2021_17_01 or the folder around it:
  ADE20K_2021_17_01/images/ADE/{training,validation}/<scene>/.../<id>.jpg and <id>_seg.png
or, much faster to read, what `zsbench data prepare ade-full` writes from these:
  ADE20K_2021_17_01/annotations_full/{training,validation}/<scene>/.../<id>.png   (16 bits: 0..846, 65535 = ignored)"""


def read_objects(path: Path) -> NDArray[np.int32]:
    """int32 (H, W): the object index that red and green of a `_seg.png` encode (R // 10 * 256 + G), 0 for none."""
    colours = read_image(path).astype(np.int32)
    if (colours[:, :, 0] // 10 > MAX_OBJECT // 256).any():
        raise UserError(f"{path}: not an ADE20K object map: its red channel has no such object.")
    return colours[:, :, 0] // 10 * 256 + colours[:, :, 1]


MAX_OBJECT = 4095
ARCHIVES150 = {"ADEChallengeData2016.zip": ""}
ARCHIVES847 = {"ADE20K_2021_17_01.zip": ""}
FULL = LabelMap({0: IGNORE} | {index: i for i, index in enumerate(OBJECT_INDEX)}, otherwise=IGNORE)
PREPARED = LabelMap.consecutive(847, ignored=(65_535,))
RECIPE = {"iterations": 80_000, "batch_size": 16, "crop": 512, "short_side": 512}


def sources150(folder: str, count: int) -> tuple[Source, ...]:
    files = Files(f"images/{folder}/{{id}}.jpg", f"annotations/{folder}/{{id}}.png")
    labels = LabelMap.consecutive(150, first=1, ignored=(0,))
    return (Masks(files=(files,), labels=labels, count=count),)


def sources847(folder: str, count: int) -> tuple[Source, ...]:
    """Prepared 16-bit labels, the object maps of the archive, or MaskFormer's prepared folders, which are resized."""
    image = f"images/ADE/{folder}/{{id}}.jpg"
    prepared = Files(image, f"annotations_full/{folder}/{{id}}.png")
    released = Files(image, f"images/ADE/{folder}/{{id}}_seg.png")
    resized = Files(f"images_detectron2/{folder}/{{id}}.jpg", f"annotations_detectron2/{folder}/{{id}}.tif")
    other = "Images and labels are MaskFormer's, resized to a short side of 512: scores differ from the originals'."
    return (
        Masks(files=(prepared,), labels=PREPARED, count=count),
        Masks(files=(released,), labels=FULL, count=count, decode=read_objects),
        Masks(files=(resized,), labels=PREPARED, count=count, note=other),
    )


SPLITS150 = {"train": sources150("training", 20_210), "val": sources150("validation", 2_000)}
SPLITS847 = {"train": sources847("training", 25_574), "val": sources847("validation", 2_000)}


class FullLabels(Conversion):
    """The object maps of the archive as 16-bit labels (0..846, 65535 = ignored), at full size."""

    title = "object maps to 16-bit labels"
    folder = "annotations_full"
    count = 27_574

    def missing(self, home: Path, source: Path | None) -> str:
        return "" if (home / "images/ADE").is_dir() else "no images/ADE"

    def items(self, home: Path, source: Path | None) -> Sequence[Item]:
        found = ((folder, name) for folder in ("training", "validation") for name in sorted(maps(home, folder)))
        return [Item(f"{folder}/{name}.png", home / f"images/ADE/{folder}/{name}_seg.png") for folder, name in found]

    def convert(self, content: Path) -> bytes:
        label = FULL(read_objects(content))
        return encode_png(np.where(label == IGNORE, 65_535, label).astype(np.uint16))


def maps(home: Path, folder: str) -> Iterator[str]:
    return match_ids(home, f"images/ADE/{folder}/{{id}}_seg.png")


@register_dataset("ade20k")
class Ade20k(FolderDataset):
    """ADE20K SceneParsing: 150 classes, 135 seen and 15 unseen (FreeSeg's split)."""

    classes = NAMES150
    unseen = UNSEEN150
    palette = voc_palette(150, first=1)
    inside = ("", "ADEChallengeData2016", "ade/ADEChallengeData2016", "ade20k/ADEChallengeData2016")
    expects = ("images", "annotations")
    where = WHERE150
    archives = ARCHIVES150
    references = REFERENCES150
    licence = "BSD 3-Clause (annotations); images for research and education"
    disk = "1.2 GB unpacked"
    name_sets = by_name(
        NameSet.parse("sclip", [name.replace(" ", "") for name in NAMES150], "SCLIP, cls_ade20k.txt"),
        NameSet.parse("synonyms", [row[1] for row in ROWS150], "objectInfo150.txt of SceneParsing"),
        NameSet.respelt("maskclip", NAMES150, {}, "MaskCLIP, MaskCLIP+"),
    )
    splits = SPLITS150
    defaults = Defaults(templates="vild15", protocol=EvalProtocol(short_side=512, crop=512, stride=426), recipe=RECIPE)


@register_dataset("ade-full")
class AdeFull(FolderDataset):
    """ADE20K full: 847 classes, 572 seen and 275 unseen (ZegFormer's split by frequency)."""

    classes = NAMES847
    unseen = UNSEEN847
    palette = voc_palette(847, first=1)
    inside = ("", "ADE20K_2021_17_01", "ADE20K_2021_17_01/ADE20K_2021_17_01")
    expects = ("images|images_detectron2",)
    where = WHERE847
    archives = ARCHIVES847
    conversions = (FullLabels(),)
    licence = "research and education, after registration"
    name_sets = by_name(
        NameSet(
            "first", tuple((names.split(",")[0],) for names in NAMES847), "the first of ADE20K's words, as CAT-Seg"
        ),
        NameSet.parse("synonyms", NAMES847, "all of ADE20K's words, the best of them counts"),
    )
    splits = SPLITS847
    defaults = Defaults(templates="vild15", protocol=EvalProtocol(short_side=512, crop=512, stride=426), recipe=RECIPE)
