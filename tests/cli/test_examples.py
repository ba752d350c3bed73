"""The examples of the help are commands that exist, with options that they have."""

from __future__ import annotations

import shlex
from itertools import chain

import pytest
import typer
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.cli.examples import EXAMPLES
from zsbench.runs.request import PANELS

COMMANDS = typer.main.get_command(app).commands


def test_every_command_has_examples():
    assert EXAMPLES.keys() | {"data"} == COMMANDS.keys()


@pytest.mark.parametrize("example", list(chain.from_iterable(EXAMPLES.values())))
def test_an_example_is_read_as_it_stands(example):
    program, name, *words = shlex.split(example)
    assert program == "zsbench" and example in EXAMPLES[name]
    if "--config" not in words:
        COMMANDS[name].make_context(name, words)


def test_the_help_shows_groups_in_order_and_examples():
    text = CliRunner().invoke(app, ["run", "-h"], env={"COLUMNS": "80"}).output
    places = [text.find(f"─ {panel} ─") for panel in PANELS if panel != "Profile"]
    assert places == sorted(places) and -1 not in places
    assert text.find("zsbench run --method zegclip --dataset miniworld") > places[-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval --method maskc", ["maskclip", "maskclip-plus"]),
        ("run --setting ", ["inductive", "transductive", "supervised", "training-free"]),
        ("train -r crop", ["crop=", "crop_width="]),
    ],
)
def test_a_shell_completes_names_and_choices(line, words, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", f"zsbench {line}")
    monkeypatch.setenv("COMP_CWORD", "3")
    done = CliRunner().invoke(
        app, env={"_ROOT_COMPLETE": "complete_bash", "_ZSBENCH_COMPLETE": "complete_bash"}, prog_name="zsbench"
    )
    assert done.output.split() == words
