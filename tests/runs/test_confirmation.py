"""What will take longer than a day asks first, says what would make it feasible, and never asks a program."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zsbench.cli import console as terminal
from zsbench.errors import UserError
from zsbench.runs import execution
from zsbench.runs.confirmation import question, warn

HOUR = 3600.0


@pytest.fixture
def plan():
    recipe, request = SimpleNamespace(iterations=20_000), SimpleNamespace(yes=False, resume=False)
    return SimpleNamespace(
        device=torch.device("cpu"), recipe=recipe, eval_ids=range(5000), request=request, trains=False, verb="eval"
    )


def test_it_says_how_long_and_what_would_make_it_feasible(plan):
    text = question(plan, 2360 * HOUR, 4 * HOUR)
    assert "about 2364.0 h on this device (cpu): about 2360.0 h of training, about 4.0 h of evaluation" in text
    assert "GPU" in text and "--iterations 101 instead of 20000" in text and "--limit" not in text
    assert "--limit 600 instead of all 5000 images" in question(plan, 0.0, 100 * HOUR)


@pytest.mark.parametrize(
    ("hours", "request_", "begun", "asked"),
    [(25, {}, [], 1), (23, {}, [], 0), (25, {"yes": True}, [], 0), (25, {"resume": True}, ["x"], 0)],
)
def test_beyond_a_day_it_asks_once_before_anything_runs(plan, monkeypatch, tmp_path, hours, request_, begun, asked):
    vars(plan.request).update(request_)
    monkeypatch.setattr(execution, "leftovers", lambda folder: begun)
    texts = []
    run = SimpleNamespace(
        plan=plan,
        accelerator=SimpleNamespace(num_processes=1),
        left=lambda: None,
        estimate=lambda: (0.0, hours * HOUR),
        console=SimpleNamespace(print=lambda text: None),
        out=tmp_path,
        evaluate=lambda: texts.append("evaluated"),
        conclude=lambda profile: None,
    )
    execution.carry_out(run, False, texts.append)
    assert len(texts) == 1 + asked and texts[-1] == "evaluated"


def test_without_a_terminal_it_is_an_error_that_names_the_option():
    with pytest.raises(UserError, match=r"2364 hours\. To run it as it is: --yes"):
        terminal.confirm("2364 hours.")


@pytest.mark.parametrize("answer", [True, False])
def test_at_a_terminal_somebody_decides(monkeypatch, answer):
    monkeypatch.setattr(terminal.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(terminal, "errors", SimpleNamespace(is_terminal=True, print=lambda *words, **how: None))
    monkeypatch.setattr(terminal.typer, "confirm", lambda *words, **how: answer)
    if answer:
        terminal.confirm("long.")
    else:
        with pytest.raises(UserError, match="nothing was run"):
            terminal.confirm("long.")


def test_a_program_is_warned():
    with pytest.warns(UserWarning, match="2364 hours"):
        warn("2364 hours")
