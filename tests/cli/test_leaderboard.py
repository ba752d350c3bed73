"""From runs to a page, as a user does it: what is the same run is one row, wherever its files lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.registry import load_dataset_class

CARD = """
name = "leaves"
classes = ["sky", "grass", "water"]
unseen = ["water"]
root = "."
[splits.val]
images = "images/{id}.png"
masks = "masks/{id}.png"
[protocol]
short_side = 64
whole = true
"""


@pytest.fixture
def zsbench(tmp_path, monkeypatch):
    """Run a command beside a dataset of two images."""
    monkeypatch.chdir(tmp_path)
    Path("leaves.toml").write_text(CARD)
    for folder, shape in (("images", (32, 48, 3)), ("masks", (32, 48))):
        Path(folder).mkdir()
        for number in range(2):
            values = np.random.default_rng(number).integers(0, 3, shape)
            Image.fromarray(values.astype(np.uint8)).save(f"{folder}/{number}.png")

    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return call


def test_weights_in_two_folders_are_one_row_and_nobody_reads_where_they_lay(zsbench, tmp_path):
    weights = load_dataset_class("miniworld").defaults.weights
    words = ("eval", "--method", "maskclip", "--dataset", "leaves.toml", "--clip", "miniworld", "--templates", "- a {}")
    for seed, home in enumerate(("home-of-ann", "home-of-bob")):
        Path(home).mkdir()
        path = shutil.copy(weights, tmp_path / home / "w.safetensors")
        done = zsbench(*words, "--weights", path, "--seed", seed, "--out", home)
        assert done.exit_code == 0, done.output
        done = zsbench("leaderboard", "--folder", "board", "--add", f"{home}/result.json")
        assert done.exit_code == 0, done.output
    page = Path("board/leaves.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| maskclip"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == [
        "--clip miniworld --weights w.safetensors --templates - a {}",
        "2",
    ]
    assert "home-of" not in page + row and len(list(Path("board/results").glob("*.records.npz"))) == 2
    for path in Path("board/results").glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    assert zsbench("leaderboard", "--folder", "board", "--check").exit_code == 0
    again = zsbench("leaderboard", "--folder", "board", "--add", "home-of-bob/result.json")
    assert "which replaces what was measured on 20" in again.output


@pytest.mark.parametrize("folder", ["absent", "."])
def test_a_check_of_nothing_fails(zsbench, folder):
    done = zsbench("leaderboard", "--folder", folder, "--check")
    assert done.exit_code == 2 and "holds no leaderboard" in done.output


def test_files_that_a_shell_found_are_all_taken(zsbench, tmp_path, make_result):
    """`--add runs/*/result.json` reaches the command as one option and further words."""
    for name in "ab":
        make_result().model_copy(update={"seed": ord(name)}).save(tmp_path / f"{name}.json")
    done = zsbench("leaderboard", "--folder", "board", "--add", "a.json", "b.json")
    assert done.exit_code == 0 and done.output.count("took in") == 2
    done = zsbench("leaderboard", "--folder", "board", "a.json")
    assert done.exit_code == 2 and "give --add a.json" in done.output


def test_nothing_is_taken_in_where_one_of_the_files_is_none(zsbench, tmp_path, make_result):
    make_result().save(tmp_path / "result.json")
    found = zsbench("leaderboard", "board", "--add", str(tmp_path / "result.json"), "--folder", str(tmp_path / "board"))
    assert found.exit_code == 2 and "board: no such result; nothing was taken in" in found.output
    assert not (tmp_path / "board").exists()


def test_a_suite_without_results_says_where_it_looked(tmp_path):
    done = CliRunner().invoke(app, ["leaderboard", "--suite", "gzlss", "--folder", str(tmp_path / "boards")])
    assert done.exit_code == 2 and f"no result lies in {tmp_path / 'boards' / 'results'}: " in done.output
    assert "--folder" in done.output and "--add" in done.output
