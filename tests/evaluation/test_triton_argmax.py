"""The kernel that labels an image gives the labels of the chunks, on CUDA or in Triton's interpreter on the CPU.

The interpreter must be chosen before Triton is imported, so without CUDA these tests run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.evaluation import prediction as inference
from zsbench.evaluation.argmax import window_scores
from zsbench.evaluation.tiling import Tiling
from zsbench.method import ImageBatch, Method, Options, Scoring

pytest.importorskip("triton", reason="Triton comes with PyTorch for CUDA")
CUDA, INTERPRETED = torch.cuda.is_available(), os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if CUDA else "cpu")
runs_kernel = pytest.mark.skipif(not CUDA and not INTERPRETED, reason="test_in_the_interpreter runs it")
needs_no_device = pytest.mark.skipif(CUDA or INTERPRETED, reason="here the kernel runs")
SIDES = st.integers(1, 24)


@needs_no_device
def test_in_the_interpreter() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", __file__],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "3 passed" in run.stdout, run.stdout


def scores_of(logits: Tensor, tiling: Tiling, size: tuple[int, int], scoring: Scoring) -> Tensor:
    """All scores at the label's size, as the harness defines them: float32 (C, H, W)."""
    classes = slice(0, logits.shape[1])
    if scoring.plain and len(tiling.places) == 1:
        return torch.nn.functional.interpolate(logits, size=size, mode="bilinear")[0]
    scores = window_scores(scoring, logits, classes, tiling, tiling.counts(logits.device))
    return torch.nn.functional.interpolate(scores, size=size, mode="bilinear")[0]


@st.composite
def scorings(draw: st.DrawFn, classes: int) -> Scoring:
    less = draw(st.none() | st.lists(st.floats(0, 1, width=32), min_size=classes, max_size=classes))
    return Scoring(draw(st.booleans()), None if less is None else torch.tensor(less, device=DEVICE))


@runs_kernel
@settings(max_examples=15 if CUDA else 8, deadline=None)  # the interpreter takes a second for one
@given(data=st.data())
def test_labels_have_the_highest_scores(data: st.DataObject) -> None:
    """Whatever windows, sizes, numbers of classes and scores; where rounding could decide, either label will do."""
    from zsbench.evaluation.triton_argmax import fused_labels

    shape, size = data.draw(st.tuples(SIDES, SIDES)), data.draw(st.tuples(SIDES, SIDES | st.just(131)))
    crop = data.draw(st.none() | st.integers(4, 30))
    stride = crop and data.draw(st.integers(3, crop))
    tiling = Tiling.of(shape, EvalProtocol(crop=crop, stride=stride))
    cells, classes = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9))), data.draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    logits = torch.randn(len(tiling.places), classes, *cells, generator=generator).to(DEVICE)
    scoring = data.draw(scorings(classes))
    labels = fused_labels(logits, tiling, size, scoring)
    scores = scores_of(logits, tiling, size, scoring)
    assert labels.dtype == torch.int32 and labels.shape == size
    assert (scores.amax(0) - scores.gather(0, labels.long()[None])[0]).max() < 1e-5


class Declared(Method):
    """Gives prepared logits, and says how they become scores."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(None, Options())  # type: ignore[arg-type]
        self.logits = logits
        classes = logits.shape[1]
        self.set_vocabulary(Vocabulary(tuple(map(str, range(classes))), torch.eye(classes), torch.ones(classes)))

    def predict(self, images: Tensor) -> Tensor:
        return self.logits

    @property
    def scoring(self) -> Scoring:
        return Scoring(sigmoid=True)


class Overridden(Declared):
    """The same scores as a function, that no kernel knows."""

    def score(self, logits: Tensor, classes: slice) -> Tensor:
        return logits.sigmoid()


@runs_kernel
def test_used_where_scores_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for scores that the kernel does not know, nor for background by threshold."""
    from zsbench.evaluation import triton_argmax as fused

    sizes: list[Sequence[int]] = []

    def recorded(logits: Tensor, tiling: Tiling, size: tuple[int, int], scoring: Scoring) -> Tensor:
        sizes.append(size)
        return fused.fused_labels(logits, tiling, size, scoring)

    monkeypatch.setattr(inference, "fused_labels_on", lambda device: recorded)
    logits = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    images, protocol = torch.zeros(2, 3, 20, 30, device=DEVICE), EvalProtocol(crop=None, stride=None)
    expected = inference.predict_labels(Overridden(logits), ImageBatch(images), [(20, 30), (7, 9)], protocol)
    background = replace(protocol, background_threshold=0.5)
    inference.predict_labels(Declared(logits), ImageBatch(images), [(20, 30), (7, 9)], background)
    assert not sizes
    found = inference.predict_labels(Declared(logits), ImageBatch(images), [(20, 30), (7, 9)], protocol)
    assert sizes == [(20, 30), (7, 9)]
    for one, other in zip(found, expected, strict=True):
        assert (one == other).float().mean() > 0.999


@runs_kernel
def test_a_device_on_which_it_errs_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    from zsbench.evaluation import triton_argmax as fused

    def chunks(logits: Tensor, tiling: Tiling, size: tuple[int, int], scoring: Scoring) -> Tensor:
        best = fused.RunningMax(size, DEVICE)
        fused.feed(best, scoring, logits, tiling)
        return best.label

    if not CUDA:  # the kernel's own labels are compared above; here the interpreter would take 20 seconds
        monkeypatch.setattr(fused, "fused_labels", chunks)
    fused.try_on(DEVICE)
    monkeypatch.setattr(fused, "fused_labels", lambda logits, tiling, size, scoring: logits.new_zeros(size))
    with pytest.raises(RuntimeError, match="agrees with the chunks on"):
        fused.try_on(DEVICE)


@needs_no_device
def test_without_it_labels_still_come(recwarn: pytest.WarningsRecorder) -> None:
    inference.fused_labels_on.cache_clear()
    assert inference.fused_labels_on(torch.device("cuda")) is None
    assert "labels are computed in chunks of classes" in str(recwarn[-1].message)
    assert inference.fused_labels_on(torch.device("cpu")) is None


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("sigmoid", "less"), [(False, False), (True, True)])
def test_compiles_for_cuda(capability: int, sigmoid: bool, less: bool) -> None:
    """To machine code, without such a device."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from zsbench.evaluation.triton_argmax import CLASSES, PIXELS, label_kernel

    constants = {"SIGMOID": sigmoid, "BIASED": less, "CLASSES": CLASSES, "PIXELS": PIXELS}
    pointers = {"label": "*i32", "row_cells": "*i64", "column_cells": "*i64"}
    pointers |= dict.fromkeys(["logits", "class_bias", "row_weights", "column_weights"], "*fp32")
    kinds = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in label_kernel.arg_names}
    source = ASTSource(label_kernel, kinds, {(list(kinds).index(name),): value for name, value in constants.items()})
    assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
