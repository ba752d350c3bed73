"""The public names: each said once, all of them there, none of them heavy until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zsbench


def test_every_public_name_is_there_and_documented():
    for name in dir(zsbench):
        assert getattr(zsbench, name).__doc__, name
    verbs = {"run", "train", "evaluate", "profile", "predict", "ablate", "sweep", "load_method", "load_dataset"}
    assert verbs <= set(dir(zsbench))
    for name in verbs:
        assert f"zsbench.{name}(" in getattr(zsbench, name).__doc__, f"{name} has an example"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        zsbench.evalute  # noqa: B018


def test_importing_is_instant():
    code = "import sys, zsbench; zsbench.UserError; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_import_names_of_version_0_1_are_kept():
    """`main` twice: importing the commands does not put a module in the place of the function."""
    code = """
import sys
from zsbench.cli import main
from zsbench.api import evaluate, load_dataset, load_method, profile, run, train
from zsbench.templates import read_templates
assert not {"torch", "typer"} & set(sys.modules)
import zsbench.cli.app
from zsbench.cli import main as again
assert again is main and callable(main)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
