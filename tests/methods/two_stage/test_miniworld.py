"""Both methods on the embedded data set, in both settings, through the whole harness; a few steps, no quality."""

import math

import pytest

from zsbench.checkpoint import learnt_state
from zsbench.estimate import training_seconds
from zsbench.plan import Request, make_plan
from zsbench.run import Run, carry_out

pytest.importorskip("transformers")
pytest.importorskip("scipy")


def plan(tmp_path, **request):
    return make_plan("run", Request(limit=3, out=tmp_path / "run", **request))


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
@pytest.mark.parametrize("method", ["zegformer", "zsseg"])
def test_it_trains_and_evaluates(tmp_path, method, setting):
    result = carry_out(plan(tmp_path, method=method, setting=setting, iterations=2, batch_size=2), profile=False)
    assert result.setting == setting
    assert math.isfinite(result.training.final_loss)
    shares = [result.statistics[f"share_{stage}"] for stage in ("proposals", "regions", "fusion")]
    assert sum(shares) == pytest.approx(1)
    crops, queries = result.statistics["clip_crops_per_image"], result.method.options["queries"]
    assert crops == queries if method == "zegformer" else crops <= queries  # zsseg leaves empty masks out


def test_an_estimate_leaves_the_running_statistics_alone(tmp_path):
    run = Run(plan(tmp_path, method="zegformer"))
    run.method.set_vocabulary(run.full_vocabulary())
    before = {name: tensor.clone() for name, tensor in learnt_state(run.method).items()}
    assert any(name.endswith("running_mean") for name in before)
    training_seconds(run.method, 60, run.plan.recipe, run.device)
    assert all(tensor.equal(before[name]) for name, tensor in learnt_state(run.method).items())
