"""What is said of a result besides its numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zsbench.reports.summary import result_lines
from zsbench.result import Result


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
    metrics = {
        name: next(iter(make_result().metrics.values())) for name in ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")
    }
    text = "\n".join(line for line, _ in result_lines(make_result(per_class=rows, metrics=metrics)))
    assert (said in text) if said else ("no pixel" not in text)
