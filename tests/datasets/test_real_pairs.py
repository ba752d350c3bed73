"""The few real pairs of ADE20K and COCO: the official folders open, and all layouts mean the same labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from zsbench import registry
from zsbench.data import FolderDataset
from zsbench.dataset import IGNORE


def load(name: str, root: Path) -> FolderDataset:
    dataset = registry.load_dataset_class(name)(root)
    assert isinstance(dataset, FolderDataset)
    return dataset


def test_ade20k(shared: Path) -> None:
    root = shared / "data/ade20k"
    dataset = load("ade20k", root)
    assert list(dataset.ids("val")) == ["ADE_val_00000001", "ADE_val_00000002"]
    for name in dataset.ids("val"):
        sample = dataset.read("val", name)
        stored = np.asarray(Image.open(root / f"ADEChallengeData2016/annotations/validation/{name}.png")).astype(int)
        assert np.array_equal(sample.label, np.where(stored == 0, IGNORE, stored - 1))
        assert sample.image.shape == (*sample.label.shape, 3)


def test_coco_layouts_agree(shared: Path, tmp_path: Path) -> None:
    """The pixel map and the prepared labels of one image; images in `images/val2017` and in `val2017`."""
    data, name = shared / "data/coco-stuff", "000000439180"
    labels = {}
    for layout, photos in (("stuffthingmaps", "val2017"), ("annotations", "images/val2017")):
        root = tmp_path / layout
        (root / photos).parent.mkdir(parents=True)
        (root / photos).symlink_to(data / "images/val2017")
        (root / layout).symlink_to(data / layout)
        dataset = load("coco-stuff", root)
        assert list(dataset.ids("val")) == [name]
        labels[layout] = dataset.read("val", name).label
    assert np.array_equal(labels["stuffthingmaps"], labels["annotations"])
    raw = np.asarray(Image.open(data / f"stuffthingmaps/val2017/{name}.png"))
    names = load("coco-stuff", data).classes
    found = {
        int(value): {names[i] for i in np.unique(labels["annotations"][raw == value]) if i >= 0}
        for value in np.unique(raw)
    }
    assert found == {0: {"person"}, 7: {"truck"}, 18: {"horse"}, 124: {"gravel"}, 255: set()}
