"""The Python API is the commands, as functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import zsbench
from zsbench.checkpoint import trainable_state_dict
from zsbench.runs.asked import asked
from zsbench.runs.backends import Local
from zsbench.runs.own_classes import own_classes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_free_method_is_evaluated(folder):
    result = zsbench.evaluate("maskclip", "miniworld", limit=8)
    assert result.dataset.images == 8 and not result.dataset.complete
    again = zsbench.Result.load(folder / "runs" / "maskclip-miniworld-limit=8-seed0" / "result.json")
    assert again.records_sha256 == result.records_sha256
    assert again.metrics["hIoU"] == result.metrics["hIoU"]
    assert result.command == "zsbench eval --method maskclip --limit 8"


def test_what_is_trained_is_evaluated_profiled_loaded_and_drawn_with(folder):
    checkpoint = zsbench.train("zegclip", "miniworld", limit=8, recipe={"iterations": 2}, options={"prompts": 3})
    result = zsbench.evaluate("zegclip", "miniworld", checkpoint=checkpoint, limit=4)
    assert result.setting == "inductive" and result.method.options["prompts"] == 3
    cost = zsbench.profile("zegclip", "miniworld", checkpoint=checkpoint, seconds=0, largest_batch=1)
    assert (cost.checkpoint, cost.checkpoint_sha256) == (checkpoint.name, result.method.checkpoint_sha256)
    assert "captions that name all classes" in result.method.weights.trained_on
    assert (cost.weights, cost.gmacs) == (result.method.weights.source, result.efficiency.gmacs)
    with pytest.raises(zsbench.UserError, match=r"was trained on miniworld \(60 classes.*or --transfer"):
        zsbench.profile("zegclip", "voc20", checkpoint=checkpoint)
    method = zsbench.load_method("zegclip", checkpoint=str(checkpoint), device="cpu")
    assert not method.training and method.options.prompts == 3
    learnt = load_file(checkpoint)
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in trainable_state_dict(method).items())
    Image.fromarray(np.full((24, 32, 3), 200, np.uint8)).save(folder / "photo.png")
    found = zsbench.predict("photo.png", ["sand", "water", "tree"], checkpoint=checkpoint)
    assert found.labels.shape == (24, 32) and found.labels.max() < 3
    assert [path.name for path in found.save("drawn").values()] == ["photo-overlay.png", "photo-labels.png"]


def test_a_loaded_method_predicts_on_a_loaded_dataset():
    dataset = zsbench.load_dataset("miniworld")
    method = zsbench.load_method("maskclip", "miniworld", device="cpu")
    assert not method.clip.weights.random
    sample = dataset.read("val", dataset.ids("val")[0])
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        logits = method.predict(image)
    assert logits.shape[:2] == (1, len(dataset.classes))


def test_profile_needs_no_data_and_no_weights():
    cost = zsbench.profile("zegclip", "miniworld", seconds=0.1)
    assert cost.learnable_params > cost.learnable_without_gradient == 0
    assert cost.windows == 1 and cost.latency_runs >= 3 and cost.throughput >= cost.fps


@pytest.mark.parametrize("call", [zsbench.run, zsbench.train, zsbench.evaluate, zsbench.profile, zsbench.load_method])
def test_a_wrong_keyword_or_value_is_a_users_mistake(call):
    with pytest.raises(zsbench.UserError, match=r"'devise'\. Did you mean 'device'"):
        call("maskclip", devise="cpu")
    with pytest.raises(zsbench.UserError, match="clip=3: Input should be a valid string"):
        call("maskclip", clip=3)
    with pytest.raises(zsbench.UserError, match=r"plugin nowhere\.py"):
        call("maskclip", plugin="nowhere.py")


def test_an_ablation_and_a_sweep_are_functions(folder, make_result, monkeypatch):
    def run(self, cell):
        cell.out.mkdir(parents=True, exist_ok=True)
        make_result(request=asked(cell.request), seed=cell.request.seed).save(cell.outcome)
        return cell.request.seed == 0

    monkeypatch.setattr(Local, "run", run)
    done = zsbench.ablate("zegclip", 6, seeds=2, limit=4)
    assert list(done.rows) == ["zegclip-loss-plain-miniworld", "zegclip-loss-plus-miniworld"]
    assert [cell.request.seed for cell in done.failed] == [1, 1] and done.cells[0].request.limit == 4
    (folder / "two.toml").write_text("[[grid]]\nmethod = 'maskclip'\nlimit = [1, 2]\n")
    results = zsbench.sweep("two.toml", out="here").results
    assert {row: [result.seed for result in found] for row, found in results.items()} == {
        "maskclip-miniworld-limit=1": [0],
        "maskclip-miniworld-limit=2": [0],
    }
    with pytest.raises(zsbench.UserError, match="no ablation table 9"):
        zsbench.ablate("zegclip", 9)
    with pytest.raises(zsbench.UserError, match="'seed' is decided by the table"):
        zsbench.ablate("zegclip", 6, seed=1)
    with pytest.raises(zsbench.UserError, match="jobs=0"):
        zsbench.sweep("two.toml", jobs=0)


def test_a_text_of_classes_has_commas_between_them():
    assert own_classes("boat, sky").classes == ("boat", "sky") and own_classes("dog").classes == ("dog",)
    for classes in ([1, 2], ["cat", ""], "cat,,dog"):
        with pytest.raises(zsbench.UserError, match="is no name; expected texts"):
            own_classes(classes)
