"""What is printed: plain text, whatever it holds and whatever the terminal can show."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from typer.testing import CliRunner

from zsbench.cli import errors
from zsbench.cli.app import app
from zsbench.cli.console import say, show_result
from zsbench.cli.streams import text_console
from zsbench.utils.progress import progress_bar

NASTY = "runs/[/red]o[final]:car:"


@pytest.fixture
def shown():
    """What a terminal of 400 columns shows of a call."""

    def call(show, *arguments):
        console = text_console()
        console.file, console.width = io.StringIO(), 400
        show(console, *arguments)
        return console.file.getvalue()

    return call


def test_brackets_are_text(shown, make_result):
    assert shown(say, f"written to {NASTY}") == f"written to {NASTY}\n"
    info = make_result().method.model_copy(update={"name": NASTY}).model_dump()
    machine = make_result().environment.model_copy(update={"device_name": NASTY}).model_dump()
    text = shown(show_result, make_result(method=info, environment=machine))
    assert f"{NASTY} on d, inductive, seed 0" in text and "50.0 ± 1.0" in text


CARD = """name = "leaves"
classes = ["sky", "leaf"]
root = "."
[splits.val]
images = "{id}.jpg"
masks = "{id}.png"
"""


def test_folders_are_shown_as_they_are_called(tmp_path, monkeypatch):
    """In what a command prints and in its messages, to the end of the line."""
    folder = tmp_path / NASTY
    folder.mkdir(parents=True)
    (folder / "leaves.toml").write_text(CARD)
    for suffix, mode in (("jpg", "RGB"), ("png", "L")):
        Image.new(mode, (8, 8)).save(folder / f"a.{suffix}")
    monkeypatch.chdir(tmp_path)
    for words in (["check"], ["show", "--out", f"{NASTY}/shown.png"], ["show", "--out", f"{NASTY}/a.jpg/shown.png"]):
        assert NASTY in CliRunner().invoke(app, ["data", *words, f"{NASTY}/leaves.toml"]).output, words


def test_a_plugin_is_listed_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / NASTY).mkdir(parents=True)
    plugin = tmp_path / NASTY / "pennants.py"
    plugin.write_text(
        '@register_dataset("pennants", needs=("no[bold]such",))\nclass Pennants:\n    """[/red] :car:."""\n'
    )
    monkeypatch.setattr(errors.console, "_width", 1000)
    output = CliRunner().invoke(app, ["list", "datasets", "--plugin", str(plugin)]).output
    assert f"[/red] :car:. (from file {plugin.resolve()}) (needs no[bold]such, missing)" in output


def test_progress_takes_titles_as_they_are(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = text_console()
    console.file, console.width = io.StringIO(), 400
    with progress_bar(console, NASTY, 2) as bar:
        bar.reach(2, "[/red]")
    assert NASTY in console.file.getvalue() and "[/red]" in console.file.getvalue()


def test_what_to_know_before_a_number_is_trusted_is_said(shown, make_result):
    assert "3 classes rest on one image" in shown(show_result, make_result(note="3 classes rest on one image"))
    part = make_result().dataset.model_copy(update={"complete": False}).model_dump()
    assert "only 2 images of the split" in shown(show_result, make_result(dataset=part))
