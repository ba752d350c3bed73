"""A result's request once more, and what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import HALVES_SOURCE
from typer.testing import CliRunner

import zsbench
from zsbench import Result
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.reports.run_list import columns, list_runs, rows
from zsbench.runs.rerun import again, outcome

PLUGIN = "import os\nimport numpy as np\nfrom zsbench.dataset import Dataset, Defaults, EvalProtocol, Sample\n" + (
    "from zsbench.registry import register_dataset\n"
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_clip_config):
    """Two evaluations of a file's dataset, which differ in an option."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "plugin.py").write_text(PLUGIN + HALVES_SOURCE.replace('"halves"', '"run-halves"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_CLIP", tiny_clip_config)
        patch.setenv("ZSBENCH_CACHE", str(folder / "cache"))
        given = {"plugin": folder / "plugin.py", "limit": 2, "device": "cpu"}
        for name, options in (("a", {}), ("b", {"pamr": 1})):
            zsbench.evaluate("maskclip", "run-halves", out=folder / "runs" / name, options=options, **given)
        yield folder


def test_a_request_is_said_again_with_files_by_their_content(ran, monkeypatch):
    monkeypatch.chdir(ran)
    found = again(Path("runs/b"), out=Path("c"))
    assert found.verb == "eval" and found.request.options == {"pamr": 1} and found.request.limit == 2
    assert found.request.plugin == (Path("plugin.py"),) and found.request.out == Path("c")
    assert not any("plugin.py" in line for line in found.differences)
    (ran / "other").mkdir(exist_ok=True)
    (ran / "other" / "plugin.py").write_text("another")
    monkeypatch.chdir(ran / "other")
    assert any("plugin.py has another content" in line for line in again(ran / "runs" / "b").differences)
    assert not any("plugin.py" in line for line in again(ran / "runs" / "b", [ran]).differences)


def test_a_file_that_is_nowhere_is_named(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"given a file plugin.py \(sha256 .*give it, or its folder, by --files"):
        again(ran / "runs" / "a")


def test_the_command_says_that_the_predictions_are_the_same(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["rerun", str(ran / "runs" / "a"), "--files", str(ran), "--out", "again"])
    assert done.exit_code == 0, done.output
    assert "the same predictions in every pixel that was counted" in done.output
    assert Result.load("again/result.json").records_sha256 == Result.load(ran / "runs/a/result.json").records_sha256


def test_other_numbers_and_versions_are_said(ran):
    a, b = (Result.load(ran / "runs" / name / "result.json") for name in "ab")
    moved = {"mIoU": a.metrics["mIoU"].model_copy(update={"value": a.metrics["mIoU"].value + 1})}
    other = b.model_copy(update={"metrics": {**b.metrics, **moved}, "records_sha256": "x"})
    assert any("(+1.000; its error is" in line for line in outcome(a, other))


def test_the_runs_of_a_folder_begin_with_what_was_changed(ran):
    (ran / "runs" / "broken").mkdir(exist_ok=True)
    (ran / "runs" / "broken" / "result.json").write_text("{")
    runs = list_runs(ran / "runs")
    chosen = columns(runs)
    assert chosen[:4] == ["run", "-o pamr", "method", "dataset"] and "-r limit" not in chosen and "state" in chosen
    table = list(rows(runs, chosen))
    assert [line[:2] for line in table] == [["a", ""], ["b", "1"], ["broken", ""]] and "unreadable" in table[2][-1]
    done = CliRunner().invoke(app, ["runs", str(ran / "runs")])
    assert done.exit_code == 0 and done.output.splitlines()[0].split()[:3] == ["run", "-o", "pamr"]
    with pytest.raises(UserError, match="there is no such folder"):
        list_runs(ran / "absent")


def test_in_python_it_gives_the_result_and_what_differs(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = zsbench.rerun(ran / "runs" / "b", files=[ran], out=tmp_path / "again", progress=False)
    assert found.result.records_sha256 == Result.load(ran / "runs" / "b" / "result.json").records_sha256
    assert "the same predictions in every pixel that was counted" in found.differences
    with pytest.raises(UserError, match="devise"):
        zsbench.rerun(ran / "runs" / "b", files=[ran], devise="cpu")


def test_a_training_is_listed_by_what_its_checkpoint_says(ran):
    given = {"plugin": ran / "plugin.py", "limit": 2, "device": "cpu", "recipe": {"learning_rate": 0.5}}
    zsbench.train("linear-head", "run-halves", out=ran / "trainings" / "one", **given)
    (run,) = list_runs(ran / "trainings")
    assert run.state == "trained" and run.changed["-r learning_rate"] == "0.5"
    assert (run.about["method"], run.about["dataset"], run.about["verb"]) == ("linear-head", "run-halves", "train")


def test_an_unfinished_run_is_listed_with_what_was_changed_in_it(ran, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("zsbench.runs.execution.evaluate_records", stop)
    given = {"plugin": ran / "plugin.py", "limit": 2, "device": "cpu", "options": {"pamr": 2}}
    with pytest.raises(KeyboardInterrupt):
        zsbench.evaluate("maskclip", "run-halves", out=ran / "stopped" / "one", **given)
    (run,) = list_runs(ran / "stopped")
    assert run.state == "unfinished" and run.changed["-o pamr"] == "2" and run.about["method"] == "maskclip"
