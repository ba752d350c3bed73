"""Medical sets with one object to find: black and white masks, Dice as the usual score.

Each is read as MedCLIPSeg (arXiv 2602.20423) prepares it, with its splits, or, where its authors publish plain folders,
as these. White of 127 and more is the object, as in MedCLIPSeg's loader.
"""

from __future__ import annotations

from zsbench.data import Files, FolderDataset, LabelMap, Masks, Source, read_binary
from zsbench.dataset import Defaults, EvalProtocol
from zsbench.registry import register_dataset

BLACK_AND_WHITE = LabelMap({0: 0, 1: 1})
PALETTE = ((0, 0, 0), (255, 255, 255))
FOLDERS = {"train": "Train_Folder", "val": "Val_Folder", "test": "Test_Folder"}
PREPARED = "{0}.zip from https://huggingface.co/datasets/TahaKoleilat/MedCLIPSeg"
EUS = """\
"EUS Healthy" and "EUS Cancer", linked in assets/DATASETS.md of https://github.com/HealthX-Lab/MedCLIPSeg,
made into splits by its utils/preprocess_EUS.py"""
WHERE = """\
Prepared with splits: {2}
Expected, with the data root at {0} or the folder around it:
  {0}/{{Train,Val,Test}}_Folder/img/<id>.png
  {0}/{{Train,Val,Test}}_Folder/label/<id>{1}.png"""


def where(folder: str, suffix: str = "", published: str = "", prepared: str = PREPARED) -> str:
    return WHERE.format(folder, suffix, prepared.format(folder)) + (
        f"\nor as published: {published}" if published else ""
    )


def masks(image: str, label: str, count: int, more: str = "", note: str = "") -> Masks:
    files = (Files(image, label, more=more),)
    return Masks(files=files, labels=BLACK_AND_WHITE, count=count, decode=read_binary, note=note)


def splits(train: int, val: int, test: int, *published: Masks, suffix: str = "") -> dict[str, tuple[Source, ...]]:
    """The prepared splits with their counts; `published`: further sources of the test split."""
    counts = {"train": train, "val": val, "test": test}
    prepared = {
        split: masks(f"{folder}/img/{{id}}.png", f"{folder}/label/{{id}}{suffix}.png", counts[split])
        for split, folder in FOLDERS.items()
    }
    return {split: (source, *(published if split == "test" else ())) for split, source in prepared.items()}


ALL = "These are all its images, whatever split others make of them; do not compare with scores on a test split."


class Medical(FolderDataset):
    """What all sets of one object share: two classes, and the protocol."""

    palette = PALETTE
    background = "background"
    licence = "research; see the set's own page"
    defaults = Defaults(protocol=EvalProtocol(split="test", short_side=512, crop=512, stride=426))


@register_dataset("kvasir-seg")
class KvasirSeg(Medical):
    """Kvasir-SEG: polyps in colonoscopy, 1,000 images."""

    classes = ("background", "polyp")
    inside = ("", "Kvasir", "Kvasir-SEG")
    expects = ("Test_Folder|masks",)
    where = where("Kvasir", published="https://datasets.simula.no/kvasir-seg/, images/<id>.jpg and masks/<id>.jpg")
    splits = splits(800, 100, 100, masks("images/{id}.jpg", "masks/{id}.jpg", 1_000, note=ALL))


@register_dataset("cvc-clinicdb")
class CvcClinicDb(Medical):
    """CVC-ClinicDB: polyps in colonoscopy, 612 images."""

    classes = ("background", "polyp")
    inside = ("", "ClinicDB", "CVC-ClinicDB")
    expects = ("Test_Folder|Ground Truth|PNG/Ground Truth",)
    where = where(
        "ClinicDB", published="https://polyp.grand-challenge.org/CVCClinicDB/, Original/<id>.* and Ground Truth/<id>.*"
    )
    splits = splits(
        490,
        61,
        61,
        masks("PNG/Original/{id}.png", "PNG/Ground Truth/{id}.png", 612, note=ALL),
        masks("Original/{id}.tif", "Ground Truth/{id}.tif", 612, note=ALL),
        masks("Original/{id}.png", "Ground Truth/{id}.png", 612, note=ALL),
    )


@register_dataset("busi")
class Busi(Medical):
    """BUSI: tumours in breast ultrasound, 780 images, 133 of them without a tumour."""

    classes = ("background", "breast tumor")
    inside = ("", "BUSI", "Dataset_BUSI_with_GT")
    expects = ("Test_Folder|malignant",)
    where = where(
        "BUSI", published="Dataset_BUSI_with_GT, {benign,malignant,normal}/<id>.png and <id>_mask.png, <id>_mask_1.png"
    )
    splits = splits(624, 78, 78, masks("{id}.png", "{id}_mask.png", 780, more="{id}_mask_*.png", note=ALL))


@register_dataset("isic")
class Isic(Medical):
    """ISIC 2016: skin lesions in dermatoscopy, 379 test images."""

    classes = ("background", "skin lesion")
    inside = ("", "ISIC")
    expects = ("Test_Folder|ISBI2016_ISIC_Part1_Test_Data",)
    where = where(
        "ISIC",
        "_Segmentation",
        "https://challenge.isic-archive.com/data/, ISBI2016_ISIC_Part1_Test_Data and ISBI2016_ISIC_Part1_Test_GroundTruth",
    )
    splits = splits(
        810,
        90,
        379,
        masks(
            "ISBI2016_ISIC_Part1_Test_Data/{id}.jpg", "ISBI2016_ISIC_Part1_Test_GroundTruth/{id}_Segmentation.png", 379
        ),
        suffix="_Segmentation",
    )


@register_dataset("btmri")
class BtMri(Medical):
    """BTMRI: brain tumours in T1-weighted MRI, 1,005 test images."""

    classes = ("background", "brain tumor")
    inside = ("", "BTMRI")
    expects = ("Test_Folder",)
    where = where("BTMRI")
    splits = splits(2_738, 1_321, 1_005)


@register_dataset("qata-cov19")
class QataCov19(Medical):
    """QaTa-COV19: infected lung regions in chest X-rays, 2,113 test images."""

    classes = ("background", "lung infection")
    inside = ("", "Covid19", "QaTa-COV19", "QaTa-COV19-v2")
    expects = ("Test_Folder|Test Set",)
    where = where(
        "Covid19", published="QaTa-COV19-v2, Test Set/Images/<id>.png and Test Set/Ground-truths/mask_<id>.png"
    )
    splits = splits(
        5_716, 1_429, 2_113, masks("Test Set/Images/{id}.png", "Test Set/Ground-truths/mask_{id}.png", 2_113)
    )


@register_dataset("eus")
class Eus(Medical):
    """EUS: pancreatic tumours in endoscopic ultrasound, 10,090 test images."""

    classes = ("background", "pancreatic tumor")
    inside = ("", "EUS")
    expects = ("Test_Folder",)
    where = where("EUS", prepared=EUS)
    splits = splits(26_318, 1_758, 10_090)
