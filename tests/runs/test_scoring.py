"""Scoring a folder of predictions: the very records that the evaluation of the method left, and a result that says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import Squares

import zsbench
from zsbench import Result, UserError
from zsbench.data.predictions import Saving
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.reports.audit import audit
from zsbench.reports.leaderboard import tables
from zsbench.reports.rows import StoredResult, label
from zsbench.runs.execution import execute
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request

PLUGIN = """
import sys

sys.path.insert(0, {tests!r})
from toys import Squares

from zsbench import register_dataset


@register_dataset("scored-squares")
class ScoredSquares(Squares):
    name = "scored-squares"
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "squares_plugin.py"
    path.write_text(PLUGIN.format(tests=str(Path(__file__).resolve().parents[1])))
    return path


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """The truth with red taken for grey, as PNG; pixels without label say something too."""
    folder, squares = tmp_path / "maps", Squares()
    folder.mkdir()
    for image_id in squares.ids("val"):
        found = np.maximum(squares.label("val", image_id), 0)
        found[found == 1] = 0
        Image.fromarray(found.astype(np.uint8)).save(folder / f"{image_id}.png")
    return folder


@pytest.fixture
def score(plugin: Path, maps: Path, tmp_path: Path) -> Any:
    def call(**request: Any) -> Result:
        return zsbench.score(maps, "scored-squares", plugin=plugin, **{"out": tmp_path / "out", **request})

    return call


def test_the_result_is_that_of_the_maps(score: Any, maps: Path, tmp_path: Path) -> None:
    result, squares = score(name="mine", setting="inductive", workers=2), Squares()
    rows = []
    for image_id in squares.ids("val"):
        rows.append(count(squares.label("val", image_id), np.array(Image.open(maps / f"{image_id}.png")), 4))
    assert result.records_sha256 == Records.of(list(squares.ids("val")), rows).sha256()
    assert [row.iou for row in result.per_class if row.name != "grey"] == [0, 100, 100]
    assert (result.verb, result.method.name, result.method.clip, result.dataset.complete) == (
        "score",
        "mine",
        None,
        True,
    )
    assert result.method.predictions and result.method.predictions.name == "maps" and result.method.predictions.sha256
    assert result.shown.pixels == "seen" and "method" not in result.request
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "records.npz", "gallery.png"}
    audit(Result.load(tmp_path / "out" / "result.json"), tmp_path, tmp_path / "out" / "records.npz")


def test_a_leaderboard_says_that_it_was_scored(score: Any, tmp_path: Path) -> None:
    result = score(name="mine")
    assert label(StoredResult(result, tmp_path)) == "(scored)"
    (tmp_path / "board" / "results").mkdir(parents=True)
    result.save(tmp_path / "board" / "results" / "mine.json")
    page = tables(tmp_path / "board")["scored-squares.md"]
    assert "### not stated, class names plain" in page and re.search(r"\| mine +\| \(scored\)", page)


@pytest.mark.slow
def test_what_an_evaluation_saves_scores_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    asked = {
        "method": "maskclip",
        "dataset": "miniworld",
        "limit": 4,
        "save_predictions": folder,
        "out": tmp_path / "run",
    }
    measured = execute(make_plan("eval", Request.of("eval", asked)), profile=False).result
    assert measured is not None
    scored = zsbench.score(folder, "miniworld", limit=4, out=tmp_path / "scored")
    assert scored.records_sha256 == measured.records_sha256
    assert scored.metrics == measured.metrics


METRIC = """
from zsbench import ImageMetric


class Right(ImageMetric):
    def measure(self, image):
        labelled = image.label >= 0
        return {"right": 100.0 * float((image.label == image.prediction)[labelled].mean()), "pixels": int(labelled.sum())}
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_metric_of_a_users_own_sees_every_image(score: Any, tmp_path: Path, workers: int) -> None:
    (tmp_path / "mine.py").write_text(METRIC)
    result = score(metric=f"{tmp_path / 'mine.py'}:Right", workers=workers)
    assert result.extra["pixels"].value == 31 * 32 and result.extra["pixels"].stderr == 0
    assert result.extra["right"].value == pytest.approx(result.metrics["pAcc"].value)
    source = result.extra["right"].source
    assert (source.name, result.request["metric"][0]["name"]) == ("mine.py", "mine.py:Right")


def test_a_metric_that_needs_probabilities_is_refused(score: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CalibrationError: it needs probabilities, which label maps do not have"):
        score(metric="calibration-error")
    assert not (tmp_path / "out").exists()
    assert "boundary mIoU" in score(metric="boundary-iou").extra


def test_missing_images_are_listed_or_wrong_in_every_pixel(score: Any, maps: Path, tmp_path: Path) -> None:
    (maps / "val3.png").unlink()
    with pytest.raises(UserError, match=r"no prediction of 1 of 8 images: val3\. .*--allow-missing"):
        score()
    result = score(allow_missing=True)
    confusion = Records.load(tmp_path / "out" / "records.npz").confusion(4)
    assert confusion[:, -1].sum() == 31 * 32
    assert result.statistics == {"percent_of_pixels_without_class": 12.5, "images_without_prediction": 1}


def test_labels_that_count_from_one_are_told(score: Any, maps: Path, plugin: Path) -> None:
    for path in maps.iterdir():  # without the highest class, whose value would be none of a class
        found = np.asarray(Image.open(path))
        Image.fromarray(np.minimum(found, 2) + np.uint8(1)).save(path)
    (moved,) = score().statistics.items()
    fitting = zsbench.score(maps, "scored-squares", plugin=plugin, mapping="one-based", out=maps.parent / "fitting")
    assert moved == ("percent_right_if_all_were_one_lower", pytest.approx(fitting.metrics["pAcc"].value))
    assert not fitting.statistics


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((16, 32), 0, "the prediction of image val2 is 32x16 pixels (width x height), its annotation 32x32"),
        ((32, 32), 9, "label value 9 is none of the expected 0..3"),
    ],
)
def test_a_wrong_map_is_named(score: Any, maps: Path, shape: tuple[int, int], value: int, message: str) -> None:
    Image.fromarray(np.full(shape, value, np.uint8)).save(maps / "val2.png")
    with pytest.raises(UserError) as error:
        score()
    assert message in str(error.value) and str(maps / "val2.png") in str(error.value)


def test_scoring_needs_no_torch(tmp_path: Path) -> None:
    dataset = zsbench.load_dataset("miniworld")
    Saving(tmp_path / "maps", dataset.palette)("val-0000", dataset.label("val", "val-0000"))
    code = (
        "import sys, zsbench; zsbench.score(sys.argv[1], limit=1, out=sys.argv[2]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "maps", tmp_path / "out"], check=True)
