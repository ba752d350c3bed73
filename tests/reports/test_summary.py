"""What is said of a result besides its numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zsbench.reports.summary import result_lines, seeds_lines
from zsbench.result import Constant, Extra, File, Metric, Result

METRICS = ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")


@pytest.mark.parametrize(
    ("gt", "said"),
    [
        ((5, 0), "no pixel of grass in the labels of these images"),
        ((0, 0), "no pixel of these images has a class, all are ignored"),
        ((5, 5), None),
    ],
)
def test_classes_that_nobody_could_find_are_named(
    make_result: Callable[..., Result], gt: tuple[int, ...], said: str | None
) -> None:
    row = make_result().per_class[0]
    rows = [row.model_copy(update={"name": name, "gt": n}) for name, n in zip(("sky", "grass"), gt, strict=True)]
    metrics = dict.fromkeys(METRICS, next(iter(make_result().metrics.values())))
    text = "\n".join(line for line, _ in result_lines(make_result(per_class=rows, metrics=metrics)))
    assert (said in text) if said else ("no pixel" not in text)


def test_an_error_that_is_not_known_is_not_shown(make_result: Callable[..., Result]) -> None:
    alone = Metric(value=12.34, stderr=float("nan"), low=float("nan"), high=float("nan"))
    extra = Extra(value=12.34, stderr=float("nan"), metric="Edges", source=File(name="edges.py", sha256="0"))
    result = make_result(metrics=dict.fromkeys(METRICS, alone), extra={"edges": extra})
    text = "\n".join(line for line, _ in [*result_lines(result), *seeds_lines([result])])
    assert text.count("12.3") == 11 and "Edges  edges 12.34" in text and "nan" not in text


def test_a_calibration_that_was_taken_over_is_told(make_result: Callable[..., Result]) -> None:
    chosen = Constant(value=0.05, chosen_on="40 held-out training images of squares", stand_ins=["x"])
    metrics = dict.fromkeys(METRICS, next(iter(make_result().metrics.values())))
    text = "\n".join(line for line, _ in result_lines(make_result(metrics=metrics, constants={"calibration": chosen})))
    assert "calibration 0.05, chosen on 40 held-out training images of squares" in text


def test_seeds_that_change_nothing_are_told(make_result: Callable[..., Result]) -> None:
    first, second = make_result(), make_result().model_copy(update={"seed": 1})
    assert "All 2 seeds gave the same" in "\n".join(line for line, _ in seeds_lines([first, second]))
    other = second.model_copy(update={"records_sha256": "other"})
    assert "gave the same" not in "\n".join(line for line, _ in seeds_lines([first, other]))
