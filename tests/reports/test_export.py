"""Results as tables: what is printed is rounded and escaped, what is read again is neither."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.reports.export import TEXTS, write_parquet
from zsbench.result import Curve

NASTY = "=a|b<script>&_%$\n"
CURVE = Curve(gamma=[0.0], seen=[1.0], unseen=[2.0], area=3.0, best_hiou=4.0, best_gamma=0.0, own_gamma=0.0)


@pytest.fixture
def nasty(make_result):
    result = make_result()
    method = result.method.model_copy(update={"name": NASTY})
    return result.model_copy(update={"method": method, "curve": CURVE})


def test_csv_has_every_value_unrounded_and_no_formula(make_result, nasty):
    plain = make_result(percent=12.3)
    rows = list(csv.DictReader(io.StringIO(TEXTS["csv"]([plain, nasty]))))
    assert [row["method"] for row in rows] == ["m", "'=a|b<script>&_%$"]
    for name, metric in plain.metrics.items():
        assert [float(rows[0][name + end]) for end in ("", "_stderr", "_low", "_high")] == [
            metric.value, metric.stderr, metric.low, metric.high,
        ]  # fmt: skip
    assert rows[0]["curve_area"] == "" and rows[1]["curve_area"] == "3.0"


def test_tables_are_escaped(nasty):
    markdown = TEXTS["markdown"]([nasty])
    assert len(markdown.splitlines()) == 3 and "<script" not in markdown and "50.0 ± 1.0" not in markdown.split("\n")[0]
    latex = TEXTS["latex"]([nasty])
    assert r"\&\_\%\$" in latex and r"$\pm$ 1.0" in latex and r"\toprule" in latex


def test_frames_and_parquet_hold_the_same_values(make_result, nasty, tmp_path):
    pandas = pytest.importorskip("pandas")
    plain = make_result()
    frame = plain.to_frame()
    assert len(frame) == 1 and frame["hIoU"][0] == plain.metrics["hIoU"].value
    assert list(plain.to_frame(per_class=True)["iou"]) == [row.iou for row in plain.per_class]
    records = Records.of(["b", "a"], [np.array([[0, 1, 5], [1, -1, 2]]), np.array([[1, 1, 3]])])
    table = records.to_frame(["x", "y"])
    table = table.astype(object).where(table.notna(), None)
    assert table.values.tolist() == [["b", "x", "y", 5], ["b", "y", None, 2], ["a", "y", "y", 3]]
    assert records.to_frame()["prediction"].tolist() == [1, -1, 1]
    pytest.importorskip("pyarrow")
    write_parquet([plain, nasty], tmp_path / "new" / "t.parquet")
    read = pandas.read_parquet(tmp_path / "new" / "t.parquet")
    assert list(read["method"]) == ["m", NASTY] and read["hIoU"][0] == plain.metrics["hIoU"].value


def test_without_pandas_it_says_what_to_install(make_result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (make_result().to_frame, Records.empty().to_frame):
        with pytest.raises(UserError, match=r"pip install 'zsbench\[frames\]'"):
            call()


def test_the_command_takes_folders_and_files(make_result, tmp_path):
    make_result().save(tmp_path / "result.json")
    for given in (tmp_path, tmp_path / "result.json"):
        done = CliRunner().invoke(app, ["export", str(given), "--to", "csv", "--out", str(tmp_path / "t.csv")])
        assert done.exit_code == 0 and (tmp_path / "t.csv").read_text().startswith("method,dataset,")
    assert CliRunner().invoke(app, ["export", str(tmp_path)]).stdout.startswith("| method")
    assert CliRunner().invoke(app, ["export", str(tmp_path), "--to", "parquet"]).exit_code == 2


def test_a_number_that_was_edited_is_not_printed(make_result, tmp_path):
    make_result().save(tmp_path / "result.json")
    told = json.loads((tmp_path / "result.json").read_text())
    told["metrics"]["hIoU"]["value"] = 99.0
    (tmp_path / "result.json").write_text(json.dumps(told))
    done = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert done.exit_code == 2 and "metrics.hIoU.value: 99.0 is said" in " ".join(done.output.split())
