"""torch.compile is used as long as it is asked for, gives the same labels, and says politely what it lacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import zsbench
from zsbench.errors import UserError
from zsbench.utils.compiler import check_compiler, compiled, telling_compiler


@pytest.fixture
def eagerly(monkeypatch):
    """torch.compile that compiles nothing, and remembers how it was asked."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda call, **how: asked.append(how) or call)
    return asked


def test_a_method_is_compiled_only_within(eagerly):
    module = nn.Linear(2, 2)
    with compiled(module, "forward"):
        assert "forward" in module.__dict__ and eagerly == [{"options": {"fallback_random": True}}]
    assert "forward" not in module.__dict__


@pytest.mark.parametrize("named", ["/nowhere/g++", None])
def test_a_missing_compiler_is_told_before_anything_runs(monkeypatch, tmp_path, named, eagerly):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", named) if named else monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler.*(no program|none) here.*Without --compile"):
        zsbench.evaluate("maskclip", "miniworld", limit=1, compile=True, device="cpu")
    assert not eagerly and not list(tmp_path.glob("runs/*/*.npz"))


def test_what_the_compiler_says_is_one_line_and_faults_of_methods_are_their_own(monkeypatch):
    def fail(call, **how):
        raise RuntimeError("Python.h: no such file\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UserError, match=r"torch\.compile failed: Python\.h: no such file\. It needs"):
        check_compiler(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), telling_compiler():
        raise ZeroDivisionError


@pytest.mark.slow
def test_compiled_predictions_are_those_of_the_method_as_it_is(tmp_path):
    """Measured: all labels of these images are equal; 1 in 10,000 may differ by rounding."""
    found = {}
    for how in (False, True):
        saved = tmp_path / f"maps{how}"
        given = {"limit": 16, "compile": how, "save_predictions": saved, "device": "cpu", "out": tmp_path / f"{how}"}
        found[how] = zsbench.evaluate("maskclip", "miniworld", **given)
    from PIL import Image

    maps = [[np.asarray(Image.open(path)) for path in sorted((tmp_path / f"maps{how}").glob("*.png"))] for how in found]
    differing = sum(int((a != b).sum()) for a, b in zip(*maps, strict=True))
    assert differing <= 1e-4 * sum(each.size for each in maps[0]) and len(maps[0]) == 16
    assert found[True].environment.flags["compiled"] and "compiled" not in found[False].environment.flags
    assert found[True].metrics["mIoU"].value == pytest.approx(found[False].metrics["mIoU"].value, abs=0.05)
