"""What stands below the table of a grid."""

from __future__ import annotations

from collections.abc import Callable

from zsbench.reports.remarks import remarks, table_remarks
from zsbench.result import Result, WeightsInfo


def test_each_remark_stands_once_with_the_rows_that_it_is_about(make_result: Callable[..., Result]) -> None:
    method = make_result().method.model_copy(
        update={"weights": WeightsInfo(source="random", sha256=None, random=True, missing=[], unexpected=[])}
    )
    part = make_result().dataset.model_copy(update={"complete": False, "images": 4})
    fine, trial = (
        make_result(protocol={"split": "val"}, **changed) for changed in ({}, {"method": method, "dataset": part})
    )
    assert list(remarks(trial)) == [
        "Random weights: these numbers mean nothing.",
        "Only 4 images of the split were evaluated.",
    ]
    assert list(table_remarks({"voc": [fine], "coco": [None]})) == []
    assert list(table_remarks({"voc": [trial, trial], "coco": [None]})) == list(remarks(trial))
    assert list(table_remarks({"voc": [fine], "a|b": [None, trial]})) == [
        f"a&#124;b: {said}" for said in remarks(trial)
    ]


def test_seeds_that_draw_nothing_are_told(make_result: Callable[..., Result]) -> None:
    """The deviation over them is 0.0, and no measure of anything."""
    fine = {"protocol": {"split": "val"}}
    same = [make_result(**fine, seed=seed) for seed in (0, 1)]
    assert list(table_remarks({"voc": same})) == [
        "All 2 seeds gave the same: nothing here is drawn, so ± 0.0 says nothing."
    ]
    assert list(table_remarks({"voc": [same[0], same[1].model_copy(update={"records_sha256": "another"})]})) == []
    assert list(table_remarks({"voc": same[:1]})) == []
