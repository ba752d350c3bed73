"""Pictures of a report: the images that were asked for, as their run predicted them, and no other's."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from toys import build_result

import zsbench
from zsbench.errors import UserError
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.reports.examples import Maps, draw, reasons


@pytest.fixture(scope="module")
def world():
    dataset = zsbench.load_dataset("miniworld")
    return dataset, [dataset.read("val", image_id) for image_id in dataset.ids("val")[:2]]


@pytest.fixture
def maps(world, tmp_path):
    """Every pixel of each image predicted as class 3, but for the left half, which is right."""
    dataset, samples = world
    rows = []
    for sample in samples:
        predicted = sample.label.clip(0)
        predicted[:, predicted.shape[1] // 2 :] = 3
        Image.fromarray(predicted.astype(np.uint8)).save(tmp_path / f"{sample.id}.png")
        rows.append(count(sample.label, predicted, len(dataset.classes)))
    return Maps("A", tmp_path, Records.of([sample.id for sample in samples], rows))


@pytest.fixture
def result():
    about = build_result().dataset.model_dump() | {"name": "miniworld", "split": "val"}
    return build_result(dataset=about)


def test_an_image_is_shown_with_its_truth_and_every_prediction(world, maps, result):
    dataset, (_, sample) = world
    found = draw(result, None, [maps, maps], {sample.id: "so"})
    (example,) = found.examples
    assert (example.id, example.why) == (sample.id, "so")
    (miou,) = maps.records.select([sample.id]).image_miou()
    assert [title for title, _ in example.pictures] == ["image", "truth", *[f"A, {miou:.1f}"] * 2]
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(example.pictures[2][1].partition(",")[2]))))
    assert tuple(shown[0, -1]) == dataset.palette[3] and tuple(shown[5 * 3, 0]) == dataset.palette[sample.label[5, 0]]
    assert (dataset.classes[3], "#{:02x}{:02x}{:02x}".format(*dataset.palette[3])) in found.legend


def test_predictions_of_another_run_are_refused(world, maps, result):
    _, (first, second) = world
    Image.open(maps.folder / f"{first.id}.png").save(maps.folder / f"{second.id}.png")
    with pytest.raises(UserError, match=f"prediction of image {second.id} is not what run A counted"):
        draw(result, None, [maps], {second.id: "so"})
    (maps.folder / f"{second.id}.png").unlink()
    with pytest.raises(UserError, match=f"has no prediction of image {second.id}, which the report shows"):
        draw(result, None, [maps], {second.id: "so"})


def test_an_image_is_shown_once_with_all_that_it_is_shown_for():
    found = reasons([("x", "A (1.0)"), ("y", "A (2.0)"), ("x", "B (3.0)")], [("x", "A 1.0, B 3.0")])
    assert list(found) == ["x", "y"]
    assert found["x"] == "Among the worst of A (1.0); among the worst of B (3.0); among the most changed: A 1.0, B 3.0"
