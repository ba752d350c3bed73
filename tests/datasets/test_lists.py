"""Class lists, splits and label maps against what the reference repositories ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsbench import registry
from zsbench.data import FolderDataset, Source
from zsbench.dataset import IGNORE, Dataset
from zsbench.utils.colours import voc_palette

FOLDERS = [
    plugin.name
    for plugin in registry.plugins("dataset")
    if plugin.source == "built-in" and "miniworld" not in plugin.name
]


def load(name: str) -> FolderDataset:
    dataset = registry.load_dataset_class(name)()
    assert isinstance(dataset, FolderDataset)
    return dataset


def labels(dataset: FolderDataset, split: str = "val") -> list[Source]:
    return list(dataset.splits[split])


@pytest.fixture(scope="session")
def facts(shared: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared / "facts/splits.json").read_text())
    return content


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", FOLDERS)
def test_descriptions_are_sound(name: str) -> None:
    dataset = load(name)
    dataset.validate()
    assert dataset.where and dataset.expects and dataset.defaults.protocol.split in dataset.splits
    assert len(set(dataset.palette)) == len(dataset.classes)
    assert dataset.names().name == dataset.defaults.names
    for sources in dataset.splits.values():
        for source in sources:
            targets = set(source.labels.values.values()) - {IGNORE}
            assert targets == set(range(len(dataset.classes))), "every class has a value, no value has another class"


def unseen(dataset: Dataset) -> list[int]:
    return [dataset.classes.index(name) for name in dataset.unseen]


def test_voc(facts: dict[str, Any]) -> None:
    dataset = load("pascal-voc")
    assert list(dataset.classes) == facts["voc20"]["names"]
    assert unseen(dataset) == facts["voc20"]["unseen_idx"]
    assert load("voc21").classes[1:] == load("voc20").classes == dataset.classes


def test_voc_palette_is_the_official_one() -> None:
    assert voc_palette(21)[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert voc_palette(21)[20] == (0, 64, 128)
    assert voc_palette(256)[255] == (224, 224, 192)


def test_coco_stuff(facts: dict[str, Any]) -> None:
    dataset, rows = load("coco-stuff"), facts["coco171"]["rows"]
    assert list(dataset.classes) == [row["name"] for row in rows]
    assert set(dataset.unseen) == {row["name"] for row in rows if row["split"] == "unseen"}
    assert sorted(unseen(dataset)) == facts["coco171"]["unseen_train_ids"]
    prepared, raw, annotations = (labels(dataset)[i].labels for i in (0, 2, -1))
    assert raw.values == {255: IGNORE} | {row["png_value"]: row["train_id"] for row in rows}
    assert annotations.values == {0: IGNORE, 183: IGNORE} | {row["labels_txt_id"]: row["train_id"] for row in rows}
    assert prepared.values == {255: IGNORE} | {i: i for i in range(171)}
    assert set(raw.hints) == set(facts["coco171"]["unused_png_values"])
    novel = np.array(sorted(unseen(dataset)))
    assert [value for value, i in raw.values.items() if i in novel] == facts["coco171"]["unseen_png_values"]


def test_coco_stuff_against_the_authors_labels_and_spnet(shared: Path) -> None:
    rows = [line.split(": ") for line in lines(shared / "data/lists/cocostuff/labels.txt")]
    names = {int(number): name for number, name in rows}
    dataset = load("coco-stuff")
    for number, index in labels(dataset)[-1].labels.values.items():
        assert index == IGNORE or names[number] == dataset.classes[index]
    novel = np.load(shared / "data/lists/spnet/cocostuff/novel_cls.npy")
    raw = labels(dataset)[2].labels.values
    assert {dataset.classes[raw[int(value)]] for value in novel} == set(dataset.unseen)


def test_coco_object_is_the_things_and_background() -> None:
    things, stuff = load("coco-object"), load("coco-stuff")
    assert things.classes == ("background", *stuff.classes[:80])
    for mapped, original in zip(labels(things), labels(stuff), strict=True):
        for raw, index in original.labels.values.items():
            assert mapped.labels.values[raw] == (index + 1 if 0 <= index < 80 else 0)


def test_context(facts: dict[str, Any]) -> None:
    sixty, fifty_nine, cascade = load("pascal-context"), load("context59"), load("context59-cascade")
    assert list(sixty.classes) == list(load("context60").classes) == facts["context60"]["names"]
    assert unseen(sixty) == facts["context60"]["unseen_idx60"]
    assert unseen(fifty_nine) == facts["context60"]["unseen_idx59"]
    assert unseen(cascade) == facts["context_cascade"]["unseen_idx59"]
    assert fifty_nine.classes == cascade.classes == sixty.classes[1:]
    module = __import__("zsbench.datasets.pascal_context", fromlist=["CATEGORIES"])
    assert list(module.CATEGORIES) == facts["context60"]["detail_mapping_sorted"]
    assert labels(fifty_nine)[0].labels.values == {0: IGNORE, 255: IGNORE} | {i + 1: i for i in range(59)}


def test_context_as_the_authors_release_it(shared: Path) -> None:
    """Their 59 labels have VOC's classes first: each value must mean the same class as in the prepared files."""
    released = [line.split(": ")[1] for line in lines(shared / "data/lists/fcn/classes-59.txt")]
    ours = {"clothes": "cloth", "bedcloth": "bedclothes", "diningtable": "table"}
    for name in ("pascal-context", "context59", "context33"):
        dataset = load(name)
        for value, index in labels(dataset)[1].labels.values.items():
            assert index == IGNORE or ours.get(released[value], released[value]) == dataset.classes[index]
    detail = [line.split(": ")[1] for line in lines(shared / "data/lists/fcn/classes-400.txt")]
    module = __import__("zsbench.datasets.pascal_context", fromlist=["CATEGORIES"])
    for category, name in zip(module.CATEGORIES[1:], module.NAMES, strict=True):
        assert detail[category - 1] == name


def test_context_33_is_another_label_space() -> None:
    dataset = load("context33")
    assert (len(dataset.classes), dataset.unseen) == (33, ("cow", "motorbike", "sofa", "cat"))
    assert set(dataset.classes) < set(load("context59").classes)


def test_ade20k(facts: dict[str, Any], shared: Path) -> None:
    dataset = load("ade20k")
    assert unseen(dataset) == facts["ade150_freeseg"]["unseen_idx"]
    names = json.loads((shared / "data/lists/cat-seg/ade150.json").read_text())
    assert list(dataset.classes) == [name.strip() for name in names]
    rows = [line.split("\t") for line in lines(shared / "data/lists/sceneparsing/objectInfo150.txt")][1:]
    assert dataset.names("synonyms").synonyms == tuple(tuple(w.strip() for w in row[4].split(",")) for row in rows)
    assert labels(dataset)[0].labels.values == {0: IGNORE} | {i + 1: i for i in range(150)}


def test_ade_full(shared: Path) -> None:
    dataset = load("ade-full")
    assert (len(dataset.classes), len(dataset.unseen)) == (847, 275)
    assert list(dataset.classes) == json.loads((shared / "data/lists/cat-seg/ade847.json").read_text())
    assert len({value for value in labels(dataset)[1].labels.values}) == 848


def test_cityscapes() -> None:
    dataset = load("cityscapes")
    as_released, prepared = (source.labels for source in labels(dataset))
    assert {value: i for value, i in as_released.values.items() if i != IGNORE} == dict(
        zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True)
    )
    assert prepared.expected == "0..18, 255"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("voc20", "cls_voc20"),
        ("voc21", "cls_voc21"),
        ("coco-object", "cls_coco_object"),
        ("coco-stuff", "cls_coco_stuff"),
        ("ade20k", "cls_ade20k"),
        ("cityscapes", "cls_city_scapes"),
    ],
)
def test_sclip_names(shared: Path, name: str, file: str) -> None:
    published = [[word.strip() for word in line.split(",")] for line in lines(shared / f"data/lists/sclip/{file}.txt")]
    assert [list(words) for words in load(name).names("sclip").synonyms] == published


@pytest.mark.parametrize(("name", "file"), [("context59", "cls_context59"), ("context60", "cls_context60")])
def test_context_names_are_sclips(shared: Path, name: str, file: str) -> None:
    assert list(load(name).classes) == lines(shared / f"data/lists/sclip/{file}.txt")


def test_cat_seg_names(shared: Path) -> None:
    published = json.loads((shared / "data/lists/cat-seg/pc59.json").read_text())
    assert load("context59").names("cat-seg").words == tuple(published)
    assert list(load("coco-stuff").classes) == json.loads((shared / "data/lists/cat-seg/coco.json").read_text())
