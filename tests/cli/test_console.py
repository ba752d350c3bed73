"""What is printed: plain text, whatever it holds and whatever the terminal can show."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from zsbench.cli.console import say, show_result

NASTY = "runs/[/red]o[final]"


@pytest.fixture
def shown():
    """What a terminal of 400 columns shows of a call."""

    def call(show, *arguments):
        console = Console(file=io.StringIO(), width=400)
        show(console, *arguments)
        return console.file.getvalue()

    return call


def test_brackets_are_text(shown, make_result):
    assert shown(say, f"written to {NASTY}") == f"written to {NASTY}\n"
    info = make_result().method.model_copy(update={"name": NASTY}).model_dump()
    machine = make_result().environment.model_copy(update={"device_name": NASTY}).model_dump()
    text = shown(show_result, make_result(method=info, environment=machine))
    assert f"{NASTY} on d, inductive, seed 0" in text and "50.0 ± 1.0" in text


def test_what_to_know_before_a_number_is_trusted_is_said(shown, make_result):
    assert "3 classes rest on one image" in shown(show_result, make_result(note="3 classes rest on one image"))
    part = make_result().dataset.model_copy(update={"complete": False}).model_dump()
    assert "only 2 images of the split" in shown(show_result, make_result(dataset=part))
