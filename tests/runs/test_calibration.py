"""A calibration is the best on held-out training images, and what is measured with it says so."""

from __future__ import annotations

import pytest

import zsbench
from zsbench.metrics.scores import hiou
from zsbench.runs.resolve import check_chosen_with

PLUGIN = '''
import os

import torch
from pydantic import Field
from toys import Squares

from zsbench.dataset import Defaults, EvalProtocol
from zsbench.method import Method, Options, Scoring
from zsbench.registry import register_dataset, register_method


@register_dataset("coloured")
class Coloured(Squares):
    def __init__(self, root=None):
        self.defaults = Defaults(os.environ["TINY_CLIP"], "random", protocol=EvalProtocol("val", None, None, None, None))


class ShiftedOptions(Options):
    calibration: float = Field(0.0, ge=0)
    temperature: float = Field(1.0, gt=0)


@register_method("shifted")
class Shifted(Method):
    """Knows colours, and prefers the seen ones."""

    Options = ShiftedOptions

    def predict(self, images):
        words, device = self.vocabulary.words, images.device
        colours = torch.tensor([Coloured.palette[Coloured.classes.index(word)] for word in words], device=device) / 255
        noise = torch.linspace(-0.15, 0.15, images.shape[-1], device=device)
        near = 0.45 * self.vocabulary.seen[:, None, None] - (images[:, None] - colours[..., None, None]).abs().mean(2)
        return near + noise * (torch.arange(len(colours), device=device) % 2)[:, None, None]

    @property
    def scoring(self):
        return Scoring(class_bias=self.options.calibration * self.vocabulary.seen)


@register_method("fixed")
class Fixed(Shifted):
    """Has no option."""

    Options = Options
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "shifted.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def plugin(file, tmp_path, tiny_clip_config, monkeypatch):
    monkeypatch.setenv("TINY_CLIP", tiny_clip_config)
    monkeypatch.chdir(tmp_path)
    return file


def test_what_is_chosen_is_the_best_and_is_taken_over(plugin, monkeypatch):
    found = zsbench.calibrate("shifted", "coloured", plugin=plugin, out="chosen", stand_ins="red", held_out=5)
    chosen, curve = found.constants["calibration"], found.curve
    assert chosen.stand_ins == ["red"] == found.dataset.unseen and chosen.chosen_on.startswith(
        "5 held-out training images"
    )
    assert (found.verb, found.dataset.split, found.dataset.complete) == ("calibrate", "held-out", False)
    values = {gamma: hiou(s, u) for gamma, s, u in zip(curve.gamma, curve.seen, curve.unseen, strict=True)}
    assert values[chosen.value] == max(value for gamma, value in values.items() if gamma >= 0) > values[0.0]
    assert "--stand-ins red" in found.command and found.command.startswith("zsbench calibrate")
    monkeypatch.setattr("zsbench.runs.execution.Run.profile", lambda run: None)  # it takes five seconds
    given = {"plugin": plugin, "limit": 3}
    result = zsbench.evaluate("shifted", "coloured", calibrated="chosen", **given)
    assert result.method.options["calibration"] == chosen.value
    source = result.constants["calibration"].source
    assert source.name == "result.json" and result.constants["calibration"].stand_ins == ["red"]
    with pytest.raises(zsbench.UserError, match="leave one out"):
        zsbench.evaluate("shifted", "coloured", calibrated="chosen", options={"calibration": 0.1}, **given)
    with pytest.raises(zsbench.UserError, match=r"chosen with temperature=1\.0, and here it is 0\.5\. A constant fits"):
        zsbench.evaluate("shifted", "coloured", calibrated="chosen", options={"temperature": 0.5}, **given)
    with pytest.raises(zsbench.UserError, match="chosen for shifted on coloured"):
        zsbench.evaluate("fixed", "coloured", calibrated="chosen/result.json", **given)


def test_an_option_that_is_newer_than_the_choice_does_not_matter(tmp_path):
    check_chosen_with(tmp_path, {"scale": 2}, {"scale": 2, "masks": str(tmp_path), "calibration": 0.1})
    with pytest.raises(zsbench.UserError, match="chosen with scale=2, and here it is 3"):
        check_chosen_with(tmp_path, {"scale": 2}, {"scale": 3})


def test_what_cannot_be_calibrated_is_refused(plugin):
    with pytest.raises(zsbench.UserError, match="fixed has no option calibration"):
        zsbench.calibrate("fixed", "coloured", plugin=plugin)
    with pytest.raises(zsbench.UserError, match="unknown option of `zsbench calibrate`: 'transfer'"):
        zsbench.calibrate("shifted", "coloured", plugin=plugin, transfer=True)
