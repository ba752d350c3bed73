"""Cityscapes, read from the official folders."""

from __future__ import annotations

from zsbench.class_names import NameSet, by_name
from zsbench.data import Files, FolderDataset, LabelMap, Masks, Source
from zsbench.dataset import IGNORE, Defaults, EvalProtocol
from zsbench.registry import register_dataset

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
    (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Value of each class in the labelIds files; the other values up to 33 are not evaluated."""

WHERE = """\
Cityscapes: leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) from
https://www.cityscapes-dataset.com (registration needed)
Expected, with the data root at the folder of both or the one around it (cityscapes):
  leftImg8bit/val/<city>/<id>_leftImg8bit.png
  gtFine/val/<city>/<id>_gtFine_labelIds.png        (or _gtFine_labelTrainIds.png)"""


def sources(split: str, count: int) -> tuple[Source, ...]:
    """The label ids of the official archive, or the train ids that its scripts write."""
    ignored = {value: IGNORE for value in (*range(34), 255)}
    image = f"leftImg8bit/{split}/{{id}}_leftImg8bit.png"
    as_released = LabelMap(ignored | {value: i for i, value in enumerate(LABEL_IDS)})
    return (
        Masks(files=(Files(image, f"gtFine/{split}/{{id}}_gtFine_labelIds.png"),), labels=as_released, count=count),
        Masks(
            files=(Files(image, f"gtFine/{split}/{{id}}_gtFine_labelTrainIds.png"),),
            labels=LabelMap.consecutive(19),
            count=count,
        ),
    )


ARCHIVES = {"leftImg8bit_trainvaltest.zip": "", "gtFine_trainvaltest.zip": ""}
SPLITS = {"train": sources("train", 2_975), "val": sources("val", 500)}


@register_dataset("cityscapes")
class Cityscapes(FolderDataset):
    """Cityscapes: 19 classes of street scenes, 500 validation images of 2048x1024."""

    classes = NAMES
    palette = PALETTE
    inside = ("", "cityscapes")
    expects = ("leftImg8bit", "gtFine")
    where = WHERE
    licence = "research only, after registration"
    disk = "12 GB unpacked"
    archives = ARCHIVES
    name_sets = by_name(
        NameSet.parse("sclip", [name.replace(" ", "") for name in NAMES], "SCLIP, cls_city_scapes.txt"),
        NameSet.respelt("maskclip", NAMES, {}, "MaskCLIP, MaskCLIP+"),
    )
    splits = SPLITS
    defaults = Defaults(
        templates="imagenet80",
        protocol=EvalProtocol(short_side=560, crop=224, stride=112),
        recipe={"iterations": 40_000, "batch_size": 16, "crop": 512, "short_side": 512},
    )
