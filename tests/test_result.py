"""Result files: complete, described, and refused when they are something else."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import BaseModel

from zsbench import Result
from zsbench import result as schema
from zsbench.errors import UserError


def test_round_trip_keeps_unrounded_floats_and_undefined_values(make_result, tmp_path):
    exact = {"value": 100 / 3, "stderr": 0.1 + 0.2, "low": 0.0, "high": 1.0}
    absent = {
        "name": "x",
        "seen": True,
        "iou": math.nan,
        "accuracy": math.nan,
        "dice": math.nan,
        "tp": 0,
        "pred": 0,
        "gt": 0,
    }
    result = make_result(metrics={"hIoU": exact}, per_class=[absent])
    result.save(tmp_path / "r.json")
    again = Result.load(tmp_path / "r.json")
    assert again.metrics["hIoU"].value == 100 / 3 and again.metrics["hIoU"].stderr == 0.1 + 0.2
    assert math.isnan(again.per_class[0].iou)
    assert json.loads((tmp_path / "r.json").read_text())["per_class"][0]["iou"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "schema version None"),
        ('{"schema_version": 99}', "schema version 99"),
        ("[1]", "schema version None"),
        ("not json", "not a readable result in JSON, .* take another copy, or run its command again"),
        ('{"schema_version": 1}', "no valid result: 'command' is missing"),
        ('{"schema_version": 2}', "no valid result"),
        ('{"schema_version": 2, "date": "\\ud800"}', "no valid result"),
        ('{"schema_version": 2, "request": ' + 100_000 * "[", "in JSON"),
        ('{"schema_version": 2, "seed": ' + 5_000 * "9" + "}", "in JSON|no valid result"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Result.load(tmp_path / "r.json")


@pytest.mark.parametrize("value", ["\ud800", [[]]])
def test_what_no_file_can_hold_is_refused_when_it_is_read(make_result, tmp_path, value):
    for _ in range(400 if isinstance(value, list) else 0):
        value = [value]
    content = make_result().model_dump(mode="json") | {"request": {"options": {"o": value}}}
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"r\.json is no valid result"):
        Result.load(tmp_path / "r.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: no such result"):
        Result.load(tmp_path / "absent.json")


def test_every_field_is_described():
    models = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, BaseModel)]
    undescribed = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


def test_a_folder_of_a_run_stands_for_its_result(make_result, tmp_path):
    make_result().save(tmp_path / "result.json")
    assert Result.load(tmp_path) == Result.load(tmp_path / "result.json")
