"""Both methods on the embedded data set, in both settings, through the whole harness; a few steps, no quality."""

import math

import pytest
import torch

import zsbench
from zsbench.checkpoint import save_checkpoint, trainable_state_dict
from zsbench.profiling.parameters import without_gradient
from zsbench.runs.build import full_vocabulary
from zsbench.runs.estimate import training_seconds
from zsbench.runs.execution import Run, execute
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request
from zsbench.settings import default_phases
from zsbench.training.course import Course

pytest.importorskip("transformers")
pytest.importorskip("scipy")


def plan(tmp_path, **request):
    return make_plan("run", Request(limit=3, out=tmp_path / "run", **request))


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
@pytest.mark.parametrize("method", ["zegformer", "zsseg"])
def test_it_trains_and_evaluates(tmp_path, method, setting):
    result = execute(plan(tmp_path, method=method, setting=setting, iterations=2, batch_size=2), profile=False).result
    assert result.setting == setting
    assert math.isfinite(result.training.final_loss)
    shares = [result.statistics[f"share_{stage}"] for stage in ("proposals", "regions", "fusion")]
    assert sum(shares) == pytest.approx(1)
    crops, queries = result.statistics["clip_crops_per_image"], result.method.options["queries"]
    assert crops == queries if method == "zegformer" else crops <= queries  # zsseg leaves empty masks out


def test_a_profile_counts_what_a_checkpoint_leaves_to_classify(tmp_path):
    """zsseg's CLIP sees no empty proposal: with a checkpoint that proposes nothing else it costs that much less."""
    run = Run(make_plan("train", Request(method="zsseg", limit=3, out=tmp_path / "run")))
    with torch.no_grad():
        for parameter in run.method.network.mask_embedder.parameters():
            parameter.zero_()
        run.method.network.pixel_decoder.mask_projection.bias.fill_(-1)
    save_checkpoint(tmp_path / "empty.safetensors", run.method, run.checkpoint_info(Course(), "last"))
    quick = {"seconds": 0, "largest_batch": 1}
    empty = zsbench.profile("zsseg", checkpoint=tmp_path / "empty.safetensors", **quick)
    untrained = zsbench.profile("zsseg", **quick)
    assert empty.statistics["clip_crops_per_image"] == 0 and "regions" not in empty.module_gmacs
    assert 0 < untrained.statistics["clip_crops_per_image"] <= untrained.options["queries"]
    regions = untrained.module_gmacs["regions"]
    assert untrained.gmacs - empty.gmacs == pytest.approx(regions, rel=0.05)


def test_rehearsals_ask_no_other_process(tmp_path, monkeypatch):
    """The others are not there: they may have rehearsed more often, or not at all as in a profile."""

    def exchange(value):
        raise AssertionError("nobody answers")

    method = zsbench.load_method("zegformer", device="cpu")
    recipe = make_plan("train", Request(method="zegformer", limit=1, out=tmp_path)).recipe
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", exchange)
    training_seconds(method, default_phases("inductive", recipe), torch.device("cpu"))
    assert without_gradient(method, 96, torch.device("cpu")) == 0
    with pytest.raises(AssertionError, match="nobody answers"):
        method.losses(torch.rand(1, 3, 96, 96), torch.zeros(1, 96, 96, dtype=torch.long))


def test_an_estimate_leaves_the_running_statistics_alone(tmp_path):
    run = Run(plan(tmp_path, method="zegformer"))
    run.tell(full_vocabulary(run.plan, run.clip))
    before = {name: tensor.clone() for name, tensor in trainable_state_dict(run.method).items()}
    assert any(name.endswith("running_mean") for name in before)
    training_seconds(run.method, default_phases("inductive", run.plan.recipe), run.device)
    assert all(tensor.cpu().equal(before[name]) for name, tensor in trainable_state_dict(run.method).items())
