"""Comparisons: paired on the same images, honest about chance, and refused with the reason where there are none."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from shutil import copytree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import zsbench
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.reports.comparison import compare
from zsbench.reports.comparison_text import FORMATS, as_csv, as_json, latex, markdown

IMAGES = 120


def right_pixels(ease, seed):
    """int64 (IMAGES, 2): how many of 100 pixels of each class an image has right."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(0).uniform(0.3, 0.7, (IMAGES, 1))  # the same images are hard for all
    return rng.binomial(100, np.clip(hard + ease, 0, 1), (IMAGES, 2))


def test_a_better_run_is_found_better_and_chance_is_not(run):
    good, bad, same = run("good", right_pixels(0.2, 1)), run("bad", right_pixels(0, 2)), run("same", right_pixels(0, 3))
    found = compare(good, bad, same)
    assert [each.name for each in found.contenders] == ["good", "bad", "same"] and len(found.pairs) == 3
    better, _, chance = found.pairs
    difference = better.metrics["mIoU"]
    assert 0 < difference.low < difference.value < difference.high and difference.p_holm < 0.001
    assert difference.value == found.values["good"]["mIoU"] - found.values["bad"]["mIoU"]
    assert chance.metrics["mIoU"].low < 0 < chance.metrics["mIoU"].high
    assert {each.name for each in better.classes} == {"x", "y"} and all(each.difference > 0 for each in better.classes)
    assert len(better.images) == IMAGES and better.images[0].difference > better.images[-1].difference
    assert zsbench.compare is compare and isinstance(found, zsbench.Comparison)


def test_images_and_classes_are_those_of_the_records(run):
    right = np.full((3, 2), 50)
    better = np.array([[100, 100], [50, 50], [0, 50]])
    found = compare(run("a", better, ids=["won", "equal", "lost"]), run("b", right, ids=["won", "equal", "lost"]))
    assert [(each.name, round(each.difference, 1)) for each in found.pairs[0].images] == [
        ("won", 66.7),  # 1 against 50 / (100 + 50) in both classes
        ("equal", 0.0),
        ("lost", -20.8),  # 0 and 50 / (100 + 150 - 50) against 1/3
    ]
    text = markdown(found)
    assert "A is ahead in 1, B in 1, equal in 1. Most for A: won (100.0, 33.3). Most for B: lost (12.5, 33.3)." in text


def test_one_image_has_no_interval(run):
    text = markdown(compare(run("a", np.array([[60, 80]])), run("b", np.array([[50, 50]]))))
    row = next(line for line in text.splitlines() if line.startswith("| pAcc"))
    assert [word.strip() for word in row.split("|")[2:-1]] == ["70.0", "50.0", "+20.0", "-", "-", "-"]


def test_what_takes_the_numbers_their_worth_is_told(run):
    random = {"source": "random", "sha256": None, "random": True, "missing": [], "unexpected": []}
    right = right_pixels(0, 1)
    trials = [run(name, right, method={"weights": random}, dataset={"complete": False}) for name in ("a", "b")]
    text = markdown(compare(*trials, run("c", right, dataset={"complete": False})))
    assert "- a, b: Random weights: these numbers mean nothing." in text
    assert "- Only 120 images of the split were evaluated." in text


def test_seeds_are_one_contender(run):
    runs = [
        run(name, right_pixels(ease, seed), seed=seed) for name, ease in (("a", 0.1), ("b", 0)) for seed in (0, 1, 2)
    ]
    found = compare(*runs)
    assert [(each.name, len(each.runs)) for each in found.contenders] == [("a", 3), ("b", 3)]
    alone = compare(*runs[:2])
    assert [each.name for each in alone.contenders] == ["a seed 0", "a seed 1"]


def test_copies_of_a_seed_are_no_further_seeds(run, tmp_path):
    one, other = (run(name, right_pixels(0, seed), seed=0) for seed, name in enumerate("ab"))
    copied = tmp_path / "copy"
    copytree(one, copied)
    with pytest.raises(UserError, match="are the same run with the same seed: keep one of them"):
        compare(one, copied, other)
    assert compare(one, copied).pairs[0].metrics["hIoU"].value == 0  # two runs of one command may be compared


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"setting": "transductive"}, "setting: inductive and transductive"),
        ({"protocol": {"short_side": 512}}, "protocol, short_side: 448 and 512"),
        ({"shown": {"pixels": "seen", "names": "all"}}, "names seen and pixels seen, names all"),
        ({"dataset": {"name": "e"}}, "dataset: d, val and e, val"),
        ({"dataset": {"classes_sha256": "f" * 64, "names": "mine"}}, "plain 9ab9de25768a and mine ffffffffffff"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(run, changes, reason):
    right = right_pixels(0, 1)
    with pytest.raises(UserError, match=f"cannot be compared: .*{reason}"):
        compare(run("a", right, protocol={"short_side": 448}), run("b", right, **changes))


def test_scored_predictions_whose_protocol_nobody_knows_are_compared_and_told(run):
    right = right_pixels(0, 1)
    scored, small = run("scored", right), run("small", right_pixels(0, 2), protocol={"short_side": 448})
    text = markdown(compare(small, scored))
    assert text.count("how their images were resized and cut is not known") == 1
    assert "- scored: Predictions made elsewhere" in text
    with pytest.raises(UserError, match="protocol, short_side: 448 and 512"):
        compare(scored, small, run("large", right, protocol={"short_side": 512}))


def test_other_images_are_refused(run):
    right = right_pixels(0, 1)
    other = [f"other{number}" for number in range(IMAGES)]
    with pytest.raises(UserError, match=r"cannot be compared: ground truth: \w+ and \w+"):
        compare(run("a", right), run("b", right, ids=other))
    with pytest.raises(UserError, match="number of images: 120 and 119"):
        compare(run("a", right), run("b", right[1:]))


def test_a_comparison_needs_two_runs_and_their_records(run, tmp_path):
    folder = run("a", right_pixels(0, 1))
    for runs in ([], [folder], [folder, folder / "result.json"]):
        with pytest.raises(UserError, match="takes two runs or more"):
            compare(*runs)
    other = run("b", right_pixels(0, 2))
    (other / "records.npz").unlink()
    with pytest.raises(UserError, match=r"result\.json has no records beside it"):
        compare(folder, other)
    with pytest.raises(UserError, match="absent: no such"):
        compare(folder, tmp_path / "absent")


def test_every_format_says_the_same(run):
    found = compare(run("a", right_pixels(0.1, 1)), run("b", right_pixels(0, 2)))
    data = json.loads(as_json(found))
    metrics = {row["name"]: row for row in data["pairs"][0]["metrics"]}
    assert metrics["hIoU"]["difference"] == found.pairs[0].metrics["hIoU"].value
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    assert len(rows) == len(metrics) + 2 + IMAGES
    assert float(next(row["low"] for row in rows if row["name"] == "hIoU")) == metrics["hIoU"]["low"]
    difference = f"{metrics['hIoU']['difference']:+.1f}"
    assert f"| {difference} " in markdown(found) and f"& {difference} " in latex(found)
    assert latex(found).startswith("\\begin{tabular}") and "\\toprule" in latex(found) and "95 \\%" in latex(found)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_foreign_words_are_shown_in_every_format(run, name):
    right = np.full((3, 2), 50)
    found = compare(
        run("a", right, method={"variant": name}), run("b", right + 1, method={"variant": "v"}), replicates=2
    )
    tables = [line for line in markdown(found).split("\n") if line.startswith("|")]
    assert {line.count("|") for line in tables} == {8}
    assert len({line.count("&") - line.count("\\&") for line in latex(found).split("\n") if line.endswith("\\\\")}) == 1
    rows = list(csv.reader(as_csv(found).split("\n")))
    assert {len(row) for row in rows if row} == {11} and not any(row[0][0] in "=+-@" for row in rows[1:] if row)
    assert json.loads(as_json(found))["pairs"][0]["a"] == f"a {name}"


@pytest.mark.parametrize("to", FORMATS)
def test_the_command_writes_every_format_without_torch(run, tmp_path, to):
    runs = [str(run(name, right_pixels(0, seed))) for seed, name in enumerate("ab")]
    done = CliRunner().invoke(app, ["compare", *runs, "--to", to, "--out", str(tmp_path / "new" / "file")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "file").read_text() == FORMATS[to](compare(*runs))
    code = "import sys, zsbench.reports.comparison_text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
