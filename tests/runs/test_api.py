"""The Python API is the commands, as functions."""

from __future__ import annotations

import pytest
import torch

import zsbench


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_free_method_is_evaluated(folder):
    result = zsbench.evaluate("maskclip", "miniworld", limit=8)
    assert result.dataset.images == 8 and not result.dataset.complete
    again = zsbench.Result.load(folder / "runs" / "maskclip-miniworld-seed0" / "result.json")
    assert again.records_sha256 == result.records_sha256
    assert again.metrics["hIoU"] == result.metrics["hIoU"]
    assert result.command == "zsbench eval --method maskclip --limit 8"


def test_what_is_trained_can_be_evaluated():
    checkpoint = zsbench.train("zegclip", "miniworld", limit=8, iterations=2)
    result = zsbench.evaluate("zegclip", "miniworld", checkpoint=checkpoint, limit=4)
    assert result.setting == "inductive" and result.method.checkpoint_sha256
    cost = zsbench.profile("zegclip", "miniworld", checkpoint=checkpoint, seconds=0, largest_batch=1)
    assert (cost.checkpoint, cost.checkpoint_sha256) == (checkpoint.name, result.method.checkpoint_sha256)
    assert (cost.weights, cost.gmacs) == (result.method.weights.source, result.efficiency.gmacs)
    with pytest.raises(zsbench.errors.UserError, match=r"was trained on miniworld \(60 classes.*or --transfer"):
        zsbench.profile("zegclip", "voc20", checkpoint=checkpoint)


def test_a_loaded_method_predicts_on_a_loaded_dataset():
    dataset = zsbench.load_dataset("miniworld")
    method = zsbench.load_method("maskclip", "miniworld")
    sample = dataset.read("val", dataset.ids("val")[0])
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        logits = method.predict(image)
    assert logits.shape == (1, len(dataset.classes), 12, 12)


def test_profile_needs_no_data_and_no_weights():
    cost = zsbench.profile("zegclip", "miniworld", seconds=0.1)
    assert cost.learnable_params > cost.learnable_without_gradient == 0
    assert cost.windows == 1 and cost.latency_runs >= 3 and cost.throughput >= cost.fps


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        zsbench.evalute  # noqa: B018
