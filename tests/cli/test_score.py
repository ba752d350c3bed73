"""`zsbench score`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.runs.resolve import open_dataset


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """The truth of four images, counted from one."""
    folder, dataset = tmp_path / "maps", open_dataset("miniworld", None)
    folder.mkdir()
    for image_id in dataset.ids("val")[:4]:
        Image.fromarray((dataset.label("val", image_id) + 1).astype(np.uint8)).save(folder / f"{image_id}.png")
    (folder / "log.txt").touch()
    return folder


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["score", "--dataset", "miniworld", "--limit", "4", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def test_the_truth_scores_full_marks(maps: Path, tmp_path: Path) -> None:
    code, output = run("--predictions", maps, "--mapping", "one-based", "--out", tmp_path / "out", "--name", "truth")
    assert code == 0, output
    assert "truth on miniworld, not stated" in output and "100.0 ± 0.0" in output
    assert "ignored, as no predictions: log.txt" in output
    assert (tmp_path / "out" / "gallery.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "absent"], "absent: no such folder of predictions"),
        (["--mapping", "one-base"], "Did you mean 'one-based'?"),
        (["--name", ""], "name"),
        (["--setting", "inductve"], "Did you mean 'inductive'?"),
    ],
)
def test_a_mistake_is_one_message(maps: Path, tmp_path: Path, words: list[str], message: str) -> None:
    code, output = run("--predictions", maps, *words, "--out", tmp_path / "out")
    assert code == 2 and message in output and "Traceback" not in output
    assert not (tmp_path / "out").exists()
