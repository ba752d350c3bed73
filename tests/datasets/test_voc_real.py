"""The real VOC subset through the reader and through an independent one that knows zlib and nothing else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zsbench import registry
from zsbench.data import FolderDataset
from zsbench.data.check import check
from zsbench.dataset import IGNORE
from zsbench.utils.colours import voc_palette

COUNTS = {"train": 60, "val": 150, "trainval": 210}


@pytest.fixture(scope="module")
def home(shared: Path) -> Path:
    return shared / "data/voc2012/VOCdevkit/VOC2012"


def load(name: str, root: Path) -> FolderDataset:
    dataset = registry.load_dataset_class(name)(root)
    assert isinstance(dataset, FolderDataset)
    return dataset


def independent(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Values (H, W) and palette (n, 3) of an unfiltered 8-bit palette PNG."""
    content, place, chunks = path.read_bytes(), 8, {b"IDAT": b""}
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind = content[place + 4 : place + 8]
        chunks[kind] = chunks.get(kind, b"") + content[place + 8 : place + 8 + length]
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any(), "this reader knows no filters"
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_labels_and_histograms(home: Path) -> None:
    voc21, voc20 = load("voc21", home), load("pascal-voc", home)
    total, expected = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for split, count in COUNTS.items():
        ids = (home / f"ImageSets/Segmentation/{split}.txt").read_text().split()
        assert list(voc21.ids(split)) == ids and len(ids) == count
        for name in ids if split != "trainval" else ():
            values, palette = independent(home / f"SegmentationClass/{name}.png")
            label = voc21.label(split, name)
            assert np.array_equal(np.where(label == IGNORE, 255, label), values)
            background = np.where(label > 0, label - 1, IGNORE)
            assert np.array_equal(voc20.label(split, name), background)
            total += np.bincount(np.where(label == IGNORE, 255, label).ravel(), minlength=256)
            expected += np.bincount(values.ravel(), minlength=256)
            assert [tuple(map(int, colour)) for colour in palette[:21]] == list(voc_palette(21))
    assert np.array_equal(total, expected) and (total[:21] > 0).all() and total[255] > 0 and not total[21:255].any()


@pytest.mark.parametrize("above", [0, 1, 2])
def test_the_root_may_be_any_folder_around_it(home: Path, above: int) -> None:
    root = [home, *home.parents][above]
    assert load("pascal-voc", root).home == home


def test_check_finds_nothing_wrong_and_counts_right(home: Path) -> None:
    (report,) = check(load("voc21", home), ["val"], sample=None, partial=True)
    assert report.ok and (report.images, report.checked) == (150, 150)
    present, pixels = np.zeros(21, int), np.zeros(21, int)
    for name in (home / "ImageSets/Segmentation/val.txt").read_text().split():
        values, _ = independent(home / f"SegmentationClass/{name}.png")
        counts = np.bincount(values.ravel(), minlength=256)[:21]
        pixels, present = pixels + counts, present + (counts > 0)
    assert list(report.images_per_class.values()) == present.tolist()
    assert list(report.pixels_per_class.values()) == pixels.tolist()
    assert report.images_per_class["person"] == 37 and min(present[1:]) >= 9


def test_lists_have_the_usual_lengths(shared: Path) -> None:
    lists = {path.stem: path.read_text().split() for path in (shared / "data/lists/voc2012").glob("*.txt")}
    voc = load("pascal-voc", shared)
    counts = [[source.count for source in voc.splits[split]] for split in ("train", "val", "trainval")]
    assert counts == [[len(lists["train_aug"]), len(lists["train"])], [len(lists["val"])], [len(lists["trainval"])]]
    assert not set(lists["train_aug"]) & set(lists["val"]) and set(lists["train"]) < set(lists["train_aug"])
