"""An audit believes no number that it can compute: whatever was edited is named."""

from __future__ import annotations

import numpy as np
import pytest

from zsbench.errors import UserError
from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.records import Records
from zsbench.reports.audit import audit
from zsbench.result import Result

ROWS = [np.array([[c, c, right], [c, -1, wrong]]) for c, right, wrong in ((0, 300, 300), (1, 200, 300))]
ROWS += [np.array([[c, c, right], [c, -1, wrong]]) for c, right, wrong in ((0, 200, 200), (1, 300, 200))]
"""Four images that add up to the counts of `make_result`: rows (truth, prediction, pixels)."""


def edited(result: Result, path: tuple, value) -> Result:
    content = result.model_dump(mode="json")
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return Result.model_validate(content)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("metrics", "hIoU", "value"), 99.9, "metrics.hIoU.value"),
        (("metrics", "pAcc", "value"), 50.001, "metrics.pAcc.value"),
        (("metrics", "mIoU", "value"), None, "metrics.mIoU.value"),
        (("metrics", "mIoU", "stderr"), -1.0, "metrics.mIoU"),
        (("metrics", "mIoU", "low"), 101.0, "metrics.mIoU"),
        (("metrics", "mIoU:mine"), {"value": 99, "stderr": 1, "low": 0, "high": 100}, "names of metrics"),
        (("per_class", 1, "iou"), 60.0, "per_class 'y' iou"),
        (("per_class", 1, "tp"), 600, "per_class"),
        (("per_class", 1, "seen"), True, "dataset.unseen"),
        (("dataset", "unseen"), [], "dataset.unseen"),
        (("dataset", "classes"), 3, "dataset.classes"),
        (("dataset", "classes_sha256"), "0" * 64, "dataset.classes_sha256"),
        (("per_class", 1, "name"), "z", "dataset.classes_sha256"),
        (("per_class", 1, "name"), "x", "per_class: each class once"),
        (("dataset", "groups"), {"mIoU:mine": ["y"]}, "names of metrics"),
        (("classes_scored",), 1, "classes_scored"),
    ],
)
def test_an_edited_field_is_named(make_result, tmp_path, path, value, field):
    result = make_result()
    audit(result, tmp_path / "r.json")
    with pytest.raises(UserError, match=rf"r\.json: .*{field}.*Evaluate again"):
        audit(edited(result, path, value), tmp_path / "r.json")


def test_groups_of_classes_are_computed_too(make_result):
    result = make_result()
    metrics = {**result.model_dump()["metrics"], "mIoU:mine": result.metrics["mIoU_U"].model_dump()}
    named = edited(edited(result, ("metrics",), metrics), ("dataset", "groups"), {"mIoU:mine": ["y"]})
    audit(named, "r.json")
    with pytest.raises(UserError, match=r"metrics.mIoU:mine"):
        audit(edited(named, ("metrics", "mIoU:mine", "value"), 51.0), "r.json")
    audit(edited(named, ("dataset", "groups"), None), "r.json")  # schema 1 did not say which classes


@pytest.fixture
def recorded(make_result, tmp_path):
    """A result, and the file of the records that it is made of."""
    records = Records.of(["1", "2", "3", "4"], ROWS)
    records.save(tmp_path / "records.npz")
    result = make_result(records_sha256=records.sha256())
    about = {"labels_sha256": labels_fingerprint(records), "images": 4}
    return result.model_copy(update={"dataset": result.dataset.model_copy(update=about)}), tmp_path / "records.npz"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("records_sha256",), "0" * 64, "records_sha256"),
        (("dataset", "labels_sha256"), "0" * 64, "dataset.labels_sha256"),
        (("dataset", "images"), 3, "dataset.images"),
    ],
)
def test_records_are_believed_before_a_result(recorded, path, value, field):
    result, records = recorded
    audit(result, "r.json", records)
    with pytest.raises(UserError, match=rf"r\.json: {field}: .*records\.npz"):
        audit(edited(result, path, value), "r.json", records)


def test_counts_that_agree_with_themselves_must_be_those_of_the_records(recorded, make_result):
    result, records = recorded
    better = make_result(60.0, records_sha256=result.records_sha256, dataset=result.dataset.model_dump())
    audit(better, "r.json")
    with pytest.raises(UserError, match="per_class 'x' tp: 600 is said"):
        audit(better, "r.json", records)
