"""A broken plugin is told what is wrong and where, before training starts."""

from __future__ import annotations

import inspect

import pytest
from toys import WordColours
from typer.testing import CliRunner

from zsbench import registry
from zsbench.cli.app import app

HEAD = f"""
import torch
from torch import nn
from zsbench import Method, register_method


@register_method("tried")
{inspect.getsource(WordColours)}"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_files", [])
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))

    def call(old, new, *words):
        assert not old or old in HEAD
        (tmp_path / "tried.py").write_text(HEAD.replace(old, new) if old else HEAD)
        done = CliRunner().invoke(app, [*words, "--device", "cpu"])
        return done.exit_code, " ".join((done.output + (done.stderr or "")).split())

    return call


def test_a_sound_plugin_passes_in_every_setting_and_leaves_nothing(call, tmp_path):
    code, text = call("", "", "check-plugin", "tried.py")
    assert code == 0 and "wrong" not in text, text
    assert text.count("training in the") == 3 and text.count("evaluation") == 3
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["tried.py"]


BROKEN = [
    ("ignore_index=-1)", "ignore_index=255)", "in losses). Labels are indices"),
    ("labels.clamp(min=-1)", "labels", "training in the transductive setting, all phases"),
    ("def losses", "def loss", "defines losses(images, labels), a dictionary of scalars"),
    ("return {", "self.predict(images)\n        return None and {", "gave as losses nothing (None)"),
    (
        "self.map = nn.Conv2d(3, clip.dim, 1)",
        "self.map = nn.Conv2d(3, clip.dim, 1).requires_grad_(False)",
        "no parameter",
    ),
    ("self.map(images), ", "self.map(images.double()), ", "in predict"),
    ("self.map(images), ", "self.map(images).detach(), ", "The losses follow from nothing that learns"),
    ("        super().__init__(clip, options)\n", "", "begins with super().__init__(clip, options)"),
    ("return torch.einsum(", "return 0 * images + torch.einsum(", "in predict"),
    (
        "self.map(images), ",
        "self.map(images) * torch.randn(images.shape).mean(1, True), ",
        "another class. What decides",
    ),
    (
        "self.map(images), ",
        "self.map(images - images.mean(0)), ",
        "may depend neither on chance nor on the images beside",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=lambda text: str(text)[:20])
def test_what_is_wrong_is_said_with_its_place(call, old, new, said):
    code, text = call(old, new, "check-plugin", "tried.py")
    assert code == 1 and said in text and "Traceback" not in text, text


def test_a_run_is_told_before_it_trains_in_phases_that_come_later_as_well(call, tmp_path):
    words = (
        "run",
        "--plugin",
        "tried.py",
        "--method",
        "tried",
        "--setting",
        "transductive",
        "--limit",
        "2",
        "--out",
        "r",
    )
    code, text = call("labels.clamp(min=-1)", "labels", *words, "--iterations", "4")
    assert code == 2 and "a training step of the phase self-train on made-up images: IndexError: Target -2" in text, (
        text
    )
    assert not (tmp_path / "r" / "train.jsonl").exists()
