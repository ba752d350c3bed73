"""Commands are made from the fields of a request: every option is offered, with its help, bounds and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.cli.options import made_from, split_commas
from zsbench.runs.request import ProfileRequest, Request, flags

WIDE = {"COLUMNS": "300"}


@pytest.mark.parametrize(
    ("command", "model", "verb", "other"),
    [
        ("run", Request, "run", ()),
        ("train", Request, "train", ()),
        ("eval", Request, "eval", ()),
        ("profile", ProfileRequest, "profile", ()),
        ("predict", Request, "predict", ("method", "dataset", "classes", "out")),
        ("ablate", Request, "run", ("method", "variant", "seed", "resume")),
    ],
)
def test_the_help_of_a_command_has_every_option(command, model, verb, other):
    text = CliRunner().invoke(app, [command, "-h"], env=WIDE).output
    for name, field in model.offered(verb).items():
        if name not in other:
            assert f"{flags(name, field)[0]} " in text and field.description in text, name
    assert "[x>=1]" in text or command == "predict"


def given_to(words, model=Request, verb="run", **settings):
    """What the body of a command is called with."""
    seen = []
    small = typer.Typer()

    @small.command()
    @made_from(model, verb, **settings)
    def command(given: dict[str, Any], own: Annotated[int, typer.Option()] = 1) -> None:
        seen.extend([given, own])

    done = CliRunner().invoke(small, words)
    return seen or done.output


def test_the_body_gets_what_was_given_and_its_own():
    words = ["--limit", "3", "-o", "a=1", "-o", "b=2", "--transfer", "--plugin", "p.py", "--own", "4", "--seed", "0"]
    given = {"limit": 3, "options": ["a=1", "b=2"], "transfer": True, "plugin": [Path("p.py")]}
    assert given_to(words) == [given, 4]
    assert given_to([]) == [{}, 1]


def test_bounds_and_names_are_the_fields():
    assert "--limit" in given_to(["--limit", "0"]) and "--limit" in given_to(["--limitt", "3"])
    assert "--seed" in given_to(["--seed", "3"], leave_out=["seed"])


def test_a_listed_option_takes_several_values():
    words = ["--method", "a,b", "--method", "c"]
    assert given_to(words, ProfileRequest, "profile", listed=["method"]) == [{"method": ["a,b", "c"]}, 1]
    assert split_commas(["a,b", " c "]) == ["a", "b", "c"]


def test_the_version():
    assert CliRunner().invoke(app, ["-V"]).output == "zsbench 0.1.0\n"
