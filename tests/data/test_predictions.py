"""Predictions made elsewhere: whatever form a map was written in, the same classes come out, or an error with names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as cocomask

from zsbench.data.mapping import ONE_BASED, ZERO_BASED, read_mapping
from zsbench.data.predictions import Saving, find_predictions
from zsbench.errors import UserError

CLASSES = ("road", "cat", "tree", "sky")
AS_IS = read_mapping(ZERO_BASED, CLASSES)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
maps = arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3))
FORMS = ("png", "png16", "palette", "npy", "npy int16", "npz")


def write(path: Path, values: Any, form: str = "png") -> None:
    """`path` without suffix; no class is the largest value of an unsigned type, -1 of a signed one."""
    if form == "png":
        Image.fromarray(values.astype(np.uint8)).save(f"{path}.png")
    elif form == "png16":
        Image.fromarray(values.astype(np.uint16)).save(f"{path}.png")
    elif form == "palette":
        picture = Image.fromarray(values.astype(np.uint8))
        picture.putpalette(bytes(range(255, -1, -1)) * 3)
        picture.save(f"{path}.png")
    elif form == "npz":
        np.savez_compressed(f"{path}.npz", pred=values.astype(np.int32))
    else:
        np.save(f"{path}.npy", values.astype(np.int16) if form.endswith("int16") else values)


def results(values: Any, **name: Any) -> list[dict[str, Any]]:
    """COCO results of a label map, as detectron2 writes them."""
    entries = []
    for value in np.unique(values[values >= 0]).tolist():
        encoded = cocomask.encode(np.asfortranarray(values == value, dtype=np.uint8))
        region = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        entries.append({**name, "category_id": value, "segmentation": region})
    return entries


@quick
@given(values=maps, form=st.sampled_from(FORMS))
def test_every_form_gives_the_same_classes(tmp_path_factory: pytest.TempPathFactory, values: Any, form: str) -> None:
    folder = tmp_path_factory.mktemp("maps")
    write(folder / "x", values, form)
    assert np.array_equal(find_predictions(folder, ["x", "y"]).read("x", AS_IS), values)


@quick
@given(values=maps.filter(lambda values: (values >= 0).any()))
def test_coco_results_give_the_same_classes(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    path = tmp_path_factory.mktemp("results") / "sem_seg_predictions.json"
    path.write_text(json.dumps(results(values, file_name="datasets/val/x.jpg") + results(values, image_id=12)))
    for source in (path, path.parent):
        found = find_predictions(source, ["x", "000000000012"])
        assert np.array_equal(found.read("x", AS_IS), values)
        assert np.array_equal(found.read("000000000012", AS_IS), values)


@quick
@given(values=maps, table=st.permutations(range(8)).map(lambda values: values[:4]), form=st.sampled_from(FORMS[:3]))
def test_a_mapping_undoes_what_another_tool_did(
    tmp_path_factory: pytest.TempPathFactory, values: Any, table: list[int], form: str
) -> None:
    folder = tmp_path_factory.mktemp("mapped")
    write(folder / "x", np.array([*table, 9])[values], form)
    (folder / "list.toml").write_text(f"values = {table}\nabstained = [9]")
    named = [f'{value} = "{name}"' for value, name in zip(table, CLASSES, strict=True)]
    (folder / "table.toml").write_text("abstained = [9]\n[values]\n" + "\n".join(named))
    found = find_predictions(folder, ["x"])
    assert set(found.ignored) == {"list.toml", "table.toml"}
    for name in ("list.toml", "table.toml"):
        assert np.array_equal(found.read("x", read_mapping(str(folder / name), CLASSES)), values)


def test_one_based_maps_have_no_class_at_zero(tmp_path: Path) -> None:
    """As mmsegmentation writes the predictions of datasets whose zero label it reduced."""
    write(tmp_path / "x", np.array([[0, 1, 4, 255]]))
    found = find_predictions(tmp_path, ["x"]).read("x", read_mapping(ONE_BASED, CLASSES))
    assert found.tolist() == [[-1, 0, 3, -1]]


@quick
@given(data=st.data(), classes=st.sampled_from([4, 255, 256, 847]))
def test_what_an_evaluation_saves_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: Any, classes: int
) -> None:
    values = data.draw(arrays(np.int32, (3, 4), elements=st.integers(-1, classes - 1)))
    saving = Saving(tmp_path_factory.mktemp("saved"), [(0, 0, 0)] * classes)
    saving("city/x", values)
    meaning = read_mapping(ZERO_BASED, [str(index) for index in range(classes)])
    assert np.array_equal(find_predictions(saving.folder, ["city/x"]).read("city/x", meaning), values)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a_leftImg8bit", "b_leftImg8bit"], ["town/a", "town/b"]),
        (["x/a_1.jpg", "y/b_1.jpg"], ["a_1", "b_1"]),
        (["a_1_pred", "b_1_pred"], ["a_1", "b_1"]),
        (["12", "000000000345"], ["000000000012", "345"]),
        (["out/a/1", "out/b/2"], ["town/a/1", "town/b/2"]),
        (["out/1", "out/2"], ["town/1", "town/2"]),
        (["out/1"], ["town/1"]),
    ],
)
def test_names_of_other_tools_mean_the_images(tmp_path: Path, names: list[str], ids: list[str]) -> None:
    for value, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        write(tmp_path / name, np.full((2, 2), value))
    found = find_predictions(tmp_path, ids)
    assert [found.read(image_id, AS_IS)[0, 0] for image_id in ids] == list(range(len(ids)))


def test_a_frame_of_another_video_is_no_prediction(tmp_path: Path) -> None:
    for name in ("a/1", "c/2"):
        (tmp_path / name).parent.mkdir()
        write(tmp_path / name, np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"1 of 2 predictions are named like no image of the split: c/2\."):
        find_predictions(tmp_path, ["a/1", "b/2"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no predictions: expected label maps"),
        ({"log.txt": b"x"}, "found log.txt"),
        (
            {"x.png": b"PNG", "other.npy": b""},
            "1 of 2 predictions are named like no image of the split: other. Its ids",
        ),
        ({"x.png": b"", "deep/x.npy": b""}, "are both predictions of image x: keep one"),
        ({"x.png": b"", "r.json": b'[{"segmentation": {}}]'}, "holds predictions of several kinds"),
        ({"r.json": b'[{"segmentation": {"size": [1, 1], "counts": [1]}}]'}, "r.json, entry 0: expected"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        find_predictions(tmp_path, ["x", "y"])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("x.npy", np.array([[0, 4]]), "label value 4 is none of the expected 0..3, 255, 65535. If the maps count"),
        ("x.npy", np.array([[-1, -7]]), "label value -7 is none of"),
        ("x.npy", np.array([[99]], np.uint64), "label value 99"),
        ("x.npy", np.zeros((4, 2, 2), np.float32), "shape (4, 2, 2) of float32; expected (height, width) integers"),
        ("x.npy", np.array([[0.0]]), "save the argmax"),
        ("x.npy", np.array([[True]]), "true or false in each pixel; expected one of 4 classes"),
        ("x.npy", np.array([[{}]]), "cannot be read as an array of numbers"),
    ],
)
def test_what_is_no_class_is_named_with_its_file(tmp_path: Path, name: str, values: Any, message: str) -> None:
    np.save(tmp_path / name, values, allow_pickle=True)
    with pytest.raises(UserError) as error:
        find_predictions(tmp_path, ["x"]).read("x", AS_IS)
    assert str(tmp_path / name) in str(error.value) and message in str(error.value)


@quick
@given(
    content=st.binary(max_size=40),
    start=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04"]),
    kind=st.sampled_from(["npy", "npz", "png"]),
)
def test_broken_files_are_named(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("broken") / f"x.{kind}"
    path.write_bytes(start + content)
    with pytest.raises(UserError, match=f"x.{kind}"):
        find_predictions(path.parent, ["x"]).read("x", AS_IS)


def test_regions_that_overlap_are_no_label_map(tmp_path: Path) -> None:
    whole = np.zeros((2, 2), int)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(results(whole, image_id="x") + results(whole + 1, image_id="x")))
    with pytest.raises(UserError, match=r"r\.json, image x: a region of category 1 overlaps"):
        find_predictions(path, ["x"]).read("x", AS_IS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("values = [1, 2]", "expected 4 different numbers"),
        ("values = [1, 2, 3, 3]", "expected 4 different numbers"),
        ('[values]\n7 = "caat"', "7 is to mean 'caat', which is no class of the dataset"),
        ("[values]\n7 = 4", "an index in 0..3"),
        ('[values]\nx = "cat"', "'x' is no value of a label map"),
        ('abstained = [7]\n[values]\n7 = "cat"', "the value 7 is both a class and abstained"),
        ('[values]\n99999999 = "cat"', "the value 99999999 is outside"),
        ("values = [", "not a readable mapping in TOML"),
        ("value = [0, 1, 2, 3]", "'value'. Did you mean 'values'?"),
        ("abstained = [0]", "values"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_mapping(str(path), CLASSES)
    assert message in str(error.value) and "map.toml" in str(error.value)


def test_the_hash_is_that_of_names_and_contents(tmp_path: Path) -> None:
    write(tmp_path / "x", np.zeros((2, 2)))
    first = find_predictions(tmp_path, ["x", "y"]).sha256
    (tmp_path / "notes.txt").touch()
    assert find_predictions(tmp_path, ["x", "y"]).sha256 == first
    (tmp_path / "x.png").rename(tmp_path / "y.png")
    assert find_predictions(tmp_path, ["x", "y"]).sha256 != first
