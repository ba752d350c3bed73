"""Predictions are made again by what a run left: the very label maps, or a word on what is missing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zsbench
from zsbench.errors import UserError
from zsbench.runs.execution import execute
from zsbench.runs.folder import BEST, CHECKPOINT
from zsbench.runs.plan import make_plan
from zsbench.runs.recompute import asked_again, recompute
from zsbench.runs.request import Request
from zsbench.utils.files import sha256


def test_the_maps_are_those_that_the_run_would_have_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = Path("names.txt")
    names.write_text("\n".join(f"{name};{name}" for name in zsbench.load_dataset("miniworld").classes))
    asked = {"method": "maskclip", "limit": 3, "classes": str(names), "save_predictions": "maps", "out": "run"}
    execute(make_plan("eval", Request.of("eval", asked)), profile=False)
    with pytest.raises(
        UserError, match=r"the run was given a file names\.txt .*: give it by --file, or give the label"
    ):
        recompute(Path("run"), ["val-0001"], Path("again"))
    recompute(Path("run"), ["val-0001"], Path("again"), files=[names])
    assert [path.name for path in Path("again").iterdir()] == ["val-0001.png"]
    saved, again = (np.array(Image.open(f"{folder}/val-0001.png")) for folder in ("maps", "again"))
    assert np.mean(saved != again) < 0.01


@pytest.fixture
def left(make_result, tmp_path):
    """The folder of a run with this request."""

    def call(request, **changes):
        make_result(request=request, **changes).save(tmp_path / "result.json")
        return tmp_path

    return call


TRAINED = {"training": {"dataset": "d", "recipe": {}}, "seed": 3}


def test_what_a_run_was_measured_with_is_in_the_folder(left, make_result):
    """With `-r evaluated=best` that is not the last checkpoint."""
    best = hashlib.sha256(b"the best weights").hexdigest()
    method = make_result().method.model_copy(update={"checkpoint_sha256": best})
    request = {"method": "zegclip", "recipe": {"iterations": 5}, "metric": [], "device": "cuda"}
    folder = left(request, method=method, **TRAINED)
    (folder / CHECKPOINT).write_text("the last weights")
    with pytest.raises(UserError, match=rf"lacks the {CHECKPOINT} that it was measured with: give the label maps by"):
        asked_again(folder, None, ())
    (folder / BEST).write_text("the best weights")
    request = asked_again(folder, Path("data"), ())
    assert (request.checkpoint, request.seed, request.data_root) == (folder / BEST, 3, Path("data"))
    assert not request.recipe and request.device is None


def test_files_are_told_by_their_content(left, tmp_path):
    file = tmp_path / "moved.pt"
    file.write_text("weights")
    stored = {"name": "w.pt", "sha256": sha256(file)}
    folder = left({"clip": "c", "weights": stored, "options": {"guide": stored}, "plugin": [stored]}, verb="eval")
    request = asked_again(folder, None, [file])
    assert (request.weights, request.options, request.plugin) == (str(file), {"guide": str(file)}, (file,))
    file.write_text("others")
    with pytest.raises(UserError, match=r"the run was given a file w\.pt"):
        asked_again(folder, None, [file])


def test_what_was_made_elsewhere_is_not_made_again(left):
    with pytest.raises(UserError, match="its predictions were made elsewhere"):
        asked_again(left({}, verb="score"), None, ())
