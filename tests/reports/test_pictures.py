"""The picture of a comparison: the worst and most changed images, each once, with every method's prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import zsbench
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.reports.comparison import compare
from zsbench.reports.examples import Maps, check
from zsbench.reports.pictures import chosen
from zsbench.runs.execution import execute
from zsbench.runs.folder import RESULT
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on four images, the first with its label maps saved."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("maskclip", "sclip"):
        asked = {"method": name, "limit": 4, "out": folder / name, "save_predictions": folder / f"{name}-maps"}
        asked["device"] = "cpu"  # a GPU rounds one image by itself otherwise than four together
        execute(make_plan("eval", Request.of("eval", asked)), profile=False)
    return folder


def command(*words):
    done = CliRunner().invoke(app, ["compare", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_each_image_is_there_once_with_every_reason(run):
    right = np.full((5, 2), 50)
    better = right + np.array([[0], [40], [-40], [10], [0]])
    found = compare(run("a", right, ids=list("vwxyz")), run("b", better, ids=list("vwxyz")), replicates=2)
    shown = chosen(found)
    assert shown["x"].startswith("Among the worst of B (5.3); among the most changed: A 33.3, B 5.3")
    assert {"w", "x", "y"} <= shown.keys() and len(shown) <= 5


def test_predictions_are_read_or_made_again(runs, tmp_path):
    both = [runs / "maskclip", runs / "sclip"]
    maps = [word for name in ("maskclip", "sclip") for word in ("--predictions", runs / f"{name}-maps")]
    for name, words in (("read", maps), ("again", ["--recompute"])):
        done = command(*both, "--replicates", 10, "--pictures", tmp_path / f"{name}.png", *words)
        assert done.exit_code == 0 and "## maskclip" in done.output, done.output
    read, again = (np.array(Image.open(tmp_path / f"{name}.png")) for name in ("read", "again"))
    assert read.shape == again.shape and np.mean(read != again) < 0.01


def test_a_report_shows_the_same_pictures_read_or_made_again(runs, tmp_path):
    both, maps = [runs / "maskclip", runs / "sclip"], [runs / "maskclip-maps", runs / "sclip-maps"]
    given = {"replicates": 10}
    read = zsbench.report(*both, out=tmp_path / "read.html", predictions=maps, **given).read_text()
    again = zsbench.report(*both, out=tmp_path / "again.html", recompute=True, **given).read_text()
    assert read == again and read.count("<img") > 8
    with pytest.raises(UserError, match="--predictions and --recompute both say"):
        zsbench.report(*both, out=tmp_path / "x.html", predictions=maps, recompute=True)


@pytest.mark.parametrize("words", [["--recompute"], ["--pictures", "p.png"], ["--predictions", "x"]])
def test_a_picture_and_where_predictions_are_from_go_together(runs, words):
    done = command(runs / "maskclip", runs / "sclip", *words)
    assert done.exit_code == 2 and "--pictures PATH needs --predictions" in done.output


def test_a_result_without_its_folder_has_no_predictions(runs, tmp_path):
    places = []
    for name in ("maskclip", "sclip"):
        places.append(tmp_path / f"{name}.json")
        places[-1].write_bytes((runs / name / RESULT).read_bytes())
        places[-1].with_suffix(".records.npz").write_bytes((runs / name / "records.npz").read_bytes())
    done = command(*places, "--replicates", 10, "--pictures", tmp_path / "p.png", "--recompute")
    assert done.exit_code == 2 and "is no run's folder: give --predictions" in done.output


def test_what_is_predicted_again_may_differ_in_a_pixel_and_no_more(runs):
    records = zsbench.compare(runs / "maskclip", runs / "sclip", replicates=2).contenders[0].records[0]
    dataset = zsbench.load_dataset("miniworld")
    sample = dataset.read("val", "val-0000")
    label = np.array(Image.open(runs / "maskclip-maps" / "val-0000.png")).astype(np.int32)
    label[50, 50] = (label[50, 50] + 1) % 60
    check(Maps("A", Path("x"), records, recomputed=True), "val-0000", sample, label, 60)
    with pytest.raises(UserError, match="x: the prediction of image val-0000 is not what run A counted"):
        check(Maps("A", Path("x"), records), "val-0000", sample, label, 60)
    label[:40] = 0
    with pytest.raises(
        UserError, match=r"val-0000: predicted again, \d+\.\d % of its pixels are not what run A counted"
    ):
        check(Maps("A", Path("x"), records, recomputed=True), "val-0000", sample, label, 60)
