"""What methods/README.md says was measured is what the committed results say."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest

from zsbench.result import Result

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\S+) \| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "methods/README.md").read_text(encoding="utf-8"))


def test_there_are_rows():
    assert len(ROWS) == 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
def test_a_row_is_what_was_measured(row):
    name, setting, *printed = row
    method = name.lower().replace("+", "-plus")
    files = sorted((ROOT / "leaderboards/results").glob(f"miniworld-{method}-{setting}-seed?.json"))
    assert len(files) == 3
    metrics = [Result.load(file).metrics for file in files]
    means = [fmean(found[metric].value for found in metrics) for metric in ("mIoU_S", "mIoU_U", "hIoU")]
    assert [f"{mean:.1f}" for mean in means] == printed
