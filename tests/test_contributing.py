"""The examples of CONTRIBUTING.md are programs, and they are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zsbench.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
COMMANDS = re.findall(
    r"^    (zsbench (?:eval|run) .*--(?:plugin|metric) .*)$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_runs_as_written(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, code in BLOCKS:
        (tmp_path / name).write_text(code)
    run = CliRunner().invoke(app, [*command.split()[1:], "--limit", "8", "--out", "out"])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "out" / "result.json").exists()
    assert "hIoU" in run.stdout


def test_all_examples_are_there():
    assert [name for name, _ in BLOCKS] == ["my_method.py", "my_student.py", "my_dataset.py", "my_metric.py"]
    assert len(COMMANDS) == 4
    assert all(len(code.splitlines()) <= 45 for _, code in BLOCKS)
