"""A request as a file: what is printed is read again, and the command line wins."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.runs.request import Request
from zsbench.runs.request_file import overlaid, read_request, request_text
from zsbench.utils.documents import read_toml

GIVEN = {
    "method": "zegclip",
    "limit": 3,
    "options": {"prompts": "20", "rd": "t*g,t"},
    "recipe": {"crop": 64},
    "plugin": [],
    "classes": "plain",
}


def test_what_is_printed_says_the_same_again(tmp_path):
    (tmp_path / "run.toml").write_text(request_text(Request, "run", GIVEN))
    found = read_request(tmp_path / "run.toml", Request.model_fields, "run")
    again = Request.of("run", found)
    assert found["options"] == {"prompts": 20, "rd": ["t*g", "t"]} and found["recipe"] == {"crop": 64}
    assert again.command("run") == Request.of("run", GIVEN).command("run")
    assert request_text(Request, "run", found) == (tmp_path / "run.toml").read_text()


def test_every_line_that_is_commented_out_is_toml_but_for_what_has_no_value(tmp_path):
    lines = request_text(Request, "run", {}).splitlines()[1:]
    (tmp_path / "run.toml").write_text("\n".join(line.lstrip("# ") for line in lines if "= ..." not in line))
    assert read_toml(tmp_path / "run.toml", "x")["recipe"]["optimiser"] == "adamw"


def test_options_are_overlaid_one_by_one():
    stored = {"limit": 3, "options": {"a": 1, "b": 2}}
    assert overlaid(stored, {"limit": 4, "options": ["b=3"]}) == {"limit": 4, "options": {"a": 1, "b": "3"}}


def test_a_misspelt_entry_names_the_nearest(tmp_path):
    (tmp_path / "run.toml").write_text("batchsize = 3")
    with pytest.raises(
        UserError, match=r"run.toml: `zsbench run` has no option 'batchsize'. Did you mean 'batch_size'"
    ):
        read_request(tmp_path / "run.toml", Request.model_fields, "run")


def test_the_command_line_wins_and_own_options_of_a_command_may_stand_in_the_file(tmp_path):
    (tmp_path / "c.toml").write_text("seed = 3\nlimit = 2\nbatch-size = 4\noptions.prompts = 4\n")
    words = ["run", "--config", str(tmp_path / "c.toml"), "--seed", "0", "-o", "layers=2", "--print-config"]
    done = CliRunner().invoke(app, words)
    said = [line for line in done.output.splitlines() if line and line[0] not in "#["]
    assert said == ["limit = 2", "batch_size = 4", "seed = 0", "prompts = 4", "layers = 2"], done.output
    (tmp_path / "p.toml").write_text('classes = "grass, sky"\n')
    done = CliRunner().invoke(app, ["predict", "a.png", "--config", str(tmp_path / "p.toml"), "--print-config"])
    assert 'classes = "grass, sky"' in done.output


def test_a_file_says_which_command_reads_it():
    assert request_text(Request, "run", {}, command="ablate").startswith("# zsbench ablate --config FILE")
    assert request_text(Request, "eval", {}).startswith("# zsbench eval --config FILE")
