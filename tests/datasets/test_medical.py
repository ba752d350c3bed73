"""Sets of black and white masks, in prepared and in published folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsbench import registry
from zsbench.data import FolderDataset


def load(name: str, root: Path) -> FolderDataset:
    dataset = registry.load_dataset_class(name)(root)
    assert isinstance(dataset, FolderDataset)
    return dataset


def draw(path: Path, *boxes: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.zeros((20, 30), np.uint8)
    for first, last in boxes:
        drawn[first:last, 5:20] = 255
    Image.fromarray(drawn).save(path)


@pytest.mark.parametrize(
    ("name", "folder", "suffix"),
    [
        ("kvasir-seg", "Kvasir", ""),
        ("cvc-clinicdb", "ClinicDB", ""),
        ("busi", "BUSI", ""),
        ("isic", "ISIC", "_Segmentation"),
        ("btmri", "BTMRI", ""),
        ("qata-cov19", "Covid19", ""),
        ("eus", "EUS", ""),
    ],
)
def test_prepared_folders(tmp_path: Path, name: str, folder: str, suffix: str) -> None:
    draw(tmp_path / folder / "Test_Folder/img/x1.png")
    draw(tmp_path / folder / f"Test_Folder/label/x1{suffix}.png", (3, 9))
    dataset = load(name, tmp_path)
    assert list(dataset.ids("test")) == ["x1"]
    assert dataset.read("test", "x1").label.sum() == 6 * 15
    assert "1 images where the full split has" in dataset.note("test")


@pytest.mark.parametrize(
    ("name", "image", "mask"),
    [
        ("kvasir-seg", "images/k.jpg", "masks/k.jpg"),
        ("cvc-clinicdb", "Original/1.tif", "Ground Truth/1.tif"),
        ("isic", "ISBI2016_ISIC_Part1_Test_Data/I.jpg", "ISBI2016_ISIC_Part1_Test_GroundTruth/I_Segmentation.png"),
        ("qata-cov19", "Test Set/Images/c 1.png", "Test Set/Ground-truths/mask_c 1.png"),
    ],
)
def test_published_folders(tmp_path: Path, name: str, image: str, mask: str) -> None:
    draw(tmp_path / image)
    draw(tmp_path / mask, (3, 9))
    dataset = load(name, tmp_path)
    (only,) = dataset.ids("test")
    assert abs(int(dataset.read("test", only).label.sum()) - 6 * 15) <= 6 * 4, "a JPEG blurs the border a little"


def test_busi_unites_the_masks_of_an_image(tmp_path: Path) -> None:
    for name, boxes in (("", ()), ("_mask", ((1, 3),)), ("_mask_1", ((5, 9),)), ("_mask_2", ((12, 13),))):
        draw(tmp_path / f"Dataset_BUSI_with_GT/malignant/malignant (4){name}.png", *boxes)
    dataset = load("busi", tmp_path)
    assert list(dataset.ids("test")) == ["malignant/malignant (4)"]
    assert dataset.read("test", "malignant/malignant (4)").label.sum() == 7 * 15
