"""Converters on small files in the official formats, and the engine's promises: whole, resumable, verified, harmless."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as cocomask

from zsbench import registry
from zsbench.data import FolderDataset
from zsbench.data.mat import read_mat
from zsbench.data.prepare import JOURNAL, prepare
from zsbench.dataset import IGNORE
from zsbench.errors import UserError

KEYS = ("images", "annotations", "annos_segmentation", "id", "image_id", "file_name", "height", "width", "phase")


def load(name: str) -> type[FolderDataset]:
    cls = registry.load_dataset_class(name)
    assert issubclass(cls, FolderDataset)
    return cls


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def array(name: str, values: NDArray[np.uint8]) -> bytes:
    flags, shape = struct.pack("<II", 9, 0), struct.pack("<ii", *values.shape)
    named = element(1, name.encode())
    return element(14, element(6, flags) + element(5, shape) + named + element(2, values.tobytes(order="F")))


def sbd_file(mask: NDArray[np.uint8], compressed: bool) -> bytes:
    """A file of SBD's cls folder: the structure GTcls with its field Segmentation."""
    names = b"Boundaries\0".ljust(20, b"\0") + b"Segmentation".ljust(20, b"\0")
    length = struct.pack("<HHi", 5, 4, 20)  # a small element
    fields = array("", np.zeros((1, 1), np.uint8)) + array("", mask)
    head = element(6, struct.pack("<II", 2, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"GTcls")
    whole = element(14, head + length + element(1, names) + fields)
    if compressed:
        packed = zlib.compress(whole)
        whole = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + whole


def voc_root(tmp_path: Path, masks: dict[str, NDArray[np.uint8]]) -> Path:
    home = tmp_path / "VOCdevkit/VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    for name, mask in masks.items():
        Image.new("RGB", mask.shape[::-1]).save(home / f"JPEGImages/{name}.jpg")
    for split, name in (("train", "a"), ("val", "b")):
        (home / f"ImageSets/Segmentation/{split}.txt").write_text(name + "\n")
        Image.fromarray(masks[name]).save(home / f"SegmentationClass/{name}.png")
    return home


@pytest.fixture
def sbd(tmp_path: Path) -> tuple[Path, dict[str, NDArray[np.uint8]]]:
    rng = np.random.default_rng(0)
    masks = {name: rng.integers(0, 21, (11, 14), dtype=np.uint8) for name in "abcd"}
    home = voc_root(tmp_path, masks)
    cls = tmp_path / "benchmark_RELEASE/dataset/cls"
    cls.mkdir(parents=True)
    for number, (name, mask) in enumerate(masks.items()):
        (cls / f"{name}.mat").write_bytes(sbd_file(mask, compressed=number % 2 == 0))
    return home, masks


def test_sbd(tmp_path: Path, sbd: tuple[Path, dict[str, NDArray[np.uint8]]]) -> None:
    home, masks = sbd
    (step,) = prepare(load("pascal-voc"), tmp_path)
    assert (step.written, step.verified) == (4, 4) and "11,355" in step.notes[0]
    for name, mask in masks.items():
        written = Image.open(home / f"SegmentationClassAug/{name}.png")
        assert written.mode == "P" and np.array_equal(np.asarray(written), mask)
    dataset = load("voc21")(tmp_path)
    assert list(dataset.ids("train")) == ["a", "c", "d"], "train, then SBD without train and val"
    assert np.array_equal(dataset.read("train", "c").label, masks["c"])


def test_sbd_in_worker_processes_and_from_a_named_folder(tmp_path: Path, sbd: Any) -> None:
    moved = tmp_path / "elsewhere"
    (tmp_path / "benchmark_RELEASE/dataset").rename(moved)
    with pytest.raises(UserError, match=r"nothing to convert: no cls/\*\.mat of SBD"):
        prepare(load("pascal-voc"), tmp_path)
    (step,) = prepare(load("pascal-voc"), tmp_path, source=moved, workers=2)
    assert step.verified == 4


def test_interrupted_and_called_again(tmp_path: Path, sbd: Any) -> None:
    home, _ = sbd
    broken = tmp_path / "benchmark_RELEASE/dataset/cls/c.mat"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:150])
    with pytest.raises(UserError, match=r"c\.mat: not a readable MATLAB file"):
        prepare(load("pascal-voc"), tmp_path)
    assert sorted(path.name for path in (home / "SegmentationClassAug").glob("*.png")) == ["a.png", "b.png"]
    with (home / "SegmentationClassAug" / JOURNAL).open("a") as journal:
        journal.write("0123")  # a line that a crash cut short
    broken.write_bytes(whole)
    (step,) = prepare(load("pascal-voc"), tmp_path)
    assert (step.written, step.kept, step.verified) == (2, 2, 4)
    assert not list((home / "SegmentationClassAug").glob(".*")), "no temporary file is left"


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        *((np.full((3, 4), value), "is none of VOC's") for value in (-1, 21, 0.5, np.nan, 2**40)),
        (np.zeros((2, 3, 4)), "no matrix"),
        (np.zeros((0, 4)), "no matrix"),
        ({"inner": np.zeros((3, 4))}, "no matrix"),
    ],
)
def test_masks_of_sbd_that_are_none_are_named(tmp_path: Path, mask: Any, message: str) -> None:
    pytest.importorskip("scipy.io").savemat(tmp_path / "c.mat", {"GTcls": {"Segmentation": mask}})
    (conversion,) = load("pascal-voc").conversions
    with pytest.raises(UserError, match=rf"c\.mat: .*{message}"):
        conversion.convert(tmp_path / "c.mat")


def test_changed_files_are_found(tmp_path: Path, sbd: Any) -> None:
    home, _ = sbd
    prepare(load("pascal-voc"), tmp_path)
    (home / "SegmentationClassAug/a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.png has changed since it was written"):
        prepare(load("pascal-voc"), tmp_path)


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path, sbd: Any) -> None:
    home, _ = sbd
    (home / "SegmentationClassAug").mkdir()
    (home / "SegmentationClassAug/a.png").write_bytes(b"mine")
    (step,) = prepare(load("pascal-voc"), tmp_path)
    assert step.written == 0 and "left as it is" in step.notes[0]
    assert (home / "SegmentationClassAug/a.png").read_bytes() == b"mine"


def test_originals_are_never_touched(tmp_path: Path, sbd: Any) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    prepare(load("pascal-voc"), tmp_path)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_matlab_files_like_scipys(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    mask = np.random.default_rng(1).integers(0, 21, (9, 5), dtype=np.uint8)
    boundaries = np.empty((2, 1), object)
    boundaries[:] = [[np.eye(2)], [np.eye(3)]]
    content = {"GTcls": {"Boundaries": boundaries, "Segmentation": mask}, "ones": np.ones((2, 3))}
    for compressed in (True, False):
        scipy_io.savemat(tmp_path / "x.mat", content, do_compression=compressed)
        found = read_mat(tmp_path / "x.mat")
        assert np.array_equal(found["GTcls"]["Segmentation"], mask) and np.array_equal(found["ones"], np.ones((2, 3)))


def rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = cocomask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def test_context_from_the_detail_annotations(tmp_path: Path) -> None:
    """Two images: polygons, runs, and an annotation painted over another one."""
    home = tmp_path / "VOCdevkit/VOC2010"
    (home / "JPEGImages").mkdir(parents=True)
    images = [
        {"image_id": 7, "file_name": "2008_000007.jpg", "phase": "train", "height": 10, "width": 12},
        {"image_id": 8, "file_name": "2008_000008.jpg", "phase": "val", "height": 10, "width": 12},
        {"image_id": 9, "file_name": "2008_000009.jpg", "phase": "test", "height": 10, "width": 12},
    ]
    left, top = np.zeros((10, 12), bool), np.zeros((10, 12), bool)
    left[:, :6], top[:3] = True, True
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 2, "segmentation": rle(left)},  # aeroplane
        {"id": 2, "image_id": 7, "category_id": 360, "segmentation": rle(top)},  # sky, in its own later place
        {"id": 3, "image_id": 8, "category_id": 59, "segmentation": [[0, 0, 12, 0, 12, 10, 0, 10]]},
        {"id": 4, "image_id": 9, "category_id": 2, "segmentation": rle(left)},
    ]
    for image in images:
        Image.new("RGB", (12, 10)).save(home / "JPEGImages" / str(image["file_name"]))
    (home / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": annotations}))
    (step,) = prepare(load("pascal-context"), tmp_path)
    assert step.verified == 2
    sixty = load("pascal-context")(tmp_path)
    label = sixty.read("train", "2008_000007").label
    module = __import__("zsbench.datasets.pascal_context", fromlist=["CATEGORIES"])
    names = ("background", *module.NAMES)
    sky = names[module.CATEGORIES.index(360)]
    assert {sixty.classes[value] for value in np.unique(label)} == {"background", "aeroplane", sky}
    assert (label[:3] == sixty.classes.index(sky)).all() and (label[3:, 6:] == 0).all()
    assert (load("context59")(tmp_path).read("train", "2008_000007").label[3:, 6:] == IGNORE).all()
    car = names[module.CATEGORIES.index(59)]
    assert (sixty.read("val", "2008_000008").label == sixty.classes.index(car)).all()
    assert (home / "ImageSets/SegmentationContext/train.txt").read_text() == "2008_000007\n"


def test_context_with_a_category_of_the_459(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit/VOC2010"
    (home / "JPEGImages").mkdir(parents=True)
    image = {"image_id": 1, "file_name": "x.jpg", "phase": "val", "height": 2, "width": 2}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    (home / "trainval_merged.json").write_text(json.dumps({"images": [image], "annos_segmentation": [annotation]}))
    with pytest.raises(UserError, match="image x has a category beyond the 59"):
        prepare(load("pascal-context"), tmp_path)
    (home / "trainval_merged.json").write_text("{}")
    with pytest.raises(UserError, match=r"trainval_merged\.json: not the detail annotations"):
        prepare(load("pascal-context"), tmp_path)


def coco_root(tmp_path: Path, stuff: dict[str, Any], instances: dict[str, Any]) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images/val2017").mkdir(parents=True)
    (tmp_path / "annotations/stuff_val2017.json").write_text(json.dumps(stuff))
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(instances))
    for image in stuff["images"]:
        Image.new("RGB", (image["width"], image["height"])).save(tmp_path / "images/val2017" / image["file_name"])


def test_coco_stuff_from_annotations_directly_and_prepared(tmp_path: Path) -> None:
    """Stuff, a crowd, a large and a small thing over one another: the smaller is in front."""
    image = {"id": 42, "file_name": "000000000042.jpg", "height": 20, "width": 30}
    grass, other, crowd = (np.zeros((20, 30), bool) for _ in range(3))
    grass[10:], other[:10, :20], crowd[:10, :20] = True, True, True
    plain = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], crowd.ravel(order="F"), [2]])) != 0)).tolist()
    stuff = [
        {"id": 1, "image_id": 42, "category_id": 124, "segmentation": rle(grass), "area": 300, "iscrowd": 0},
        {"id": 2, "image_id": 42, "category_id": 183, "segmentation": rle(other), "area": 200, "iscrowd": 0},
    ]
    box = [[2, 2, 18, 2, 18, 8, 2, 8]]
    things = [
        {
            "id": 3,
            "image_id": 42,
            "category_id": 18,
            "segmentation": [[5, 4, 9, 4, 9, 7, 5, 7]],
            "area": 12,
            "iscrowd": 0,
        },
        {"id": 4, "image_id": 42, "category_id": 3, "segmentation": box, "area": 96, "iscrowd": 0},
        {"id": 5, "image_id": 42, "category_id": 1, "segmentation": {"counts": [0, *plain]}, "area": 200, "iscrowd": 1},
    ]
    coco_root(tmp_path, {"images": [image], "annotations": stuff}, {"images": [image], "annotations": things})
    names = load("coco-stuff").classes
    expected = np.full((20, 30), IGNORE)
    expected[10:] = names.index("grass")
    expected[:10, :20] = names.index("person")
    expected[2:8, 2:18] = names.index("car")
    expected[4:7, 5:9] = names.index("dog")
    dataset = load("coco-stuff")(tmp_path)
    assert np.array_equal(dataset.read("val", "000000000042").label, expected)
    assert "annotation files" in dataset.note("val")
    steps = prepare(load("coco-stuff"), tmp_path)
    assert [step.verified for step in steps] == [1, 0] and "no annotations/stuff_train2017.json" in steps[1].notes[0]
    raw = np.asarray(Image.open(tmp_path / "stuffthingmaps/val2017/000000000042.png"))
    assert sorted(np.unique(raw)) == [0, 2, 17, 123, 255]
    dataset = load("coco-stuff")(tmp_path)
    assert np.array_equal(dataset.read("val", "000000000042").label, expected)
    assert "annotation files" not in dataset.note("val")
    things_only = load("coco-object")(tmp_path).read("val", "000000000042").label
    assert np.array_equal(things_only, np.where((expected >= 0) & (expected < 80), expected + 1, 0))


def test_real_coco_stuff_annotations(tmp_path: Path, shared: Path) -> None:
    stuff = json.loads((shared / "data/lists/cocostuff-rle-examples/stuff_examples.json").read_text())
    coco_root(tmp_path, stuff, {"images": stuff["images"], "annotations": []})
    prepare(load("coco-stuff"), tmp_path)
    dataset = load("coco-stuff")(tmp_path)
    areas: dict[tuple[str, str], int] = {}
    categories = {category["id"]: category["name"] for category in stuff["categories"]}
    for annotation in stuff["annotations"]:
        if annotation["category_id"] != 183:
            areas[f"{annotation['image_id']:012d}", categories[annotation["category_id"]]] = annotation["area"]
    found = {
        (name, dataset.classes[value]): int((label == value).sum())
        for name in dataset.ids("val")
        for label in [dataset.read("val", name).label]
        for value in np.unique(label)
        if value != IGNORE
    }
    assert found == areas


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"segmentation": {"counts": [5]}}, r"annotation 1 of image x: its runs add up to 5"),
        ({"segmentation": {"counts": "###", "size": [4, 4]}}, r"annotation 1 of image x: a compressed run-length"),
        ({"segmentation": {"counts": [8], "size": [2, 4]}}, r"annotation 1 of image x: its size \[2, 4\] is not"),
        ({"image_id": 9}, r"stuff_val2017\.json: not a COCO annotation file \(KeyError: 9\)"),
    ],
)
def test_faulty_annotations_name_file_and_annotation(tmp_path: Path, fault: dict[str, Any], message: str) -> None:
    image = {"id": 1, "file_name": "x.jpg", "height": 4, "width": 4}
    annotation = {"id": 1, "image_id": 1, "category_id": 92, "segmentation": [], "area": 1, "iscrowd": 0} | fault
    coco_root(tmp_path, {"images": [image], "annotations": [annotation]}, {"images": [image], "annotations": []})
    with pytest.raises(UserError, match=message):
        load("coco-stuff")(tmp_path).read("val", "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=json_values, detail=st.booleans())
def test_random_annotations_are_an_error_naming_the_file(tmp_path: Path, content: Any, detail: bool) -> None:
    home = tmp_path / "VOC2010" if detail else tmp_path
    (home / "JPEGImages").mkdir(parents=True, exist_ok=True)
    (home / "annotations").mkdir(exist_ok=True)
    (home / "images/val2017").mkdir(parents=True, exist_ok=True)
    for name in ("trainval_merged", "annotations/stuff_val2017", "annotations/instances_val2017"):
        (home / f"{name}.json").write_text(json.dumps(content))
    try:
        if detail:
            prepare(load("pascal-context"), home)
        else:
            dataset = load("coco-stuff")(home)
            for name in dataset.ids("val"):
                dataset.label("val", name)
    except UserError as error:
        assert ".json" in str(error) or "has no images" in str(error)


def test_ade_full_at_full_size(tmp_path: Path) -> None:
    """Object maps hold R // 10 * 256 + G; what is none of the 847 classes is ignored."""
    cls = load("ade-full")
    module = __import__("zsbench.datasets.ade20k", fromlist=["OBJECT_INDEX"])
    scene = tmp_path / "ADE20K_2021_17_01/images/ADE/validation/urban/street"
    scene.mkdir(parents=True)
    objects = np.array([[module.OBJECT_INDEX[846], 0, 1], [module.OBJECT_INDEX[300], 3144, 2978]])
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[..., 0], colours[..., 1], colours[..., 2] = objects // 256 * 10, objects % 256, 77
    Image.fromarray(colours).save(scene / "ADE_val_00000001_seg.png")
    Image.new("RGB", (3, 2)).save(scene / "ADE_val_00000001.jpg")
    name = "urban/street/ADE_val_00000001"
    released = cls(tmp_path).read("val", name).label
    one = module.OBJECT_INDEX.index(1) if 1 in module.OBJECT_INDEX else IGNORE
    assert released.tolist() == [[846, IGNORE, one], [300, 99, 0]]
    (step,) = prepare(cls, tmp_path)
    assert step.verified == 1
    written = Image.open(tmp_path / f"ADE20K_2021_17_01/annotations_full/validation/{name}.png")
    assert written.mode.startswith("I;16") and np.asarray(written)[0, 1] == 65_535
    assert np.array_equal(cls(tmp_path).read("val", name).label, released)


def test_archives_are_unpacked_where_they_belong(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 3).save(tmp_path / "mask.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "image.jpg")
    with zipfile.ZipFile(tmp_path / "ADEChallengeData2016.zip", "w") as packed:
        packed.write(tmp_path / "mask.png", "ADEChallengeData2016/annotations/validation/x.png")
        packed.write(tmp_path / "image.jpg", "ADEChallengeData2016/images/validation/x.jpg")
    (step,) = prepare(load("ade20k"), tmp_path)
    assert step.written == 2
    assert (load("ade20k")(tmp_path).read("val", "x").label == 2).all()
    (step,) = prepare(load("ade20k"), tmp_path)
    assert (step.written, step.kept) == (0, 2)
