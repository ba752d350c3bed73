"""Fine-grained means against loops over images and classes."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts, ImageConvention
from zsbench.metrics.fine_grained import fine_grained

Table = dict[tuple[int, int], tuple[int, int, int]]
"""(tp, pred, gt) by image and class."""


@st.composite
def tables(draw: st.DrawFn) -> Table:
    found = {}
    for image in range(draw(st.integers(0, 6))):
        for cls in draw(st.sets(st.integers(0, 3))):
            tp, more, missed = (draw(st.integers(0, 4)) for _ in range(3))
            if tp + more + missed:
                found[image, cls] = (tp, tp + more, tp + missed)
    return found


def class_counts(table: Table) -> ClassCounts:
    rows = np.array([[*key, *table[key]] for key in sorted(table)], dtype=np.int64).reshape(-1, 5)
    return ClassCounts(7, *rows.T)


def mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def lowest(values: list[float], percent: int) -> list[float]:
    return sorted(values)[: max(1, percent * len(values) // 100)]


def by_hand(table: Table, convention: str, q: int) -> dict[str, float]:
    ious = {
        key: 100 * tp / (gt + pred - tp) for key, (tp, pred, gt) in table.items() if gt > 0 or convention == "union"
    }
    images = [[iou for (image, _), iou in ious.items() if image == wanted] for wanted in range(7)]
    classes = [[iou for (_, cls), iou in ious.items() if cls == wanted] for wanted in range(4)]
    of_images, of_classes = [mean(of) for of in images if of], [of for of in classes if of]
    return {
        "mIoU_I": mean(of_images),
        "mIoU_C": mean([mean(of) for of in of_classes]),
        f"mIoU_I{q}": mean(lowest(of_images, q)),
        f"mIoU_C{q}": mean([mean(lowest(of, q)) for of in of_classes]),
    }


@pytest.mark.parametrize("convention", ["union", "gt-present"])
@settings(deadline=None)
@given(table=tables(), q=st.sampled_from([1, 5, 34, 50, 100]))
def test_equals_loops(convention: ImageConvention, table: Table, q: int) -> None:
    found = fine_grained(class_counts(table), convention, q)
    assert found == {name: pytest.approx(v, nan_ok=True) for name, v in by_hand(table, convention, q).items()}


def test_all_of_the_worst_are_all() -> None:
    rng = np.random.default_rng(0)
    table = {(i, c): (int(t), int(t) + 3, int(t) + 2) for i in range(7) for c, t in enumerate(rng.integers(0, 9, 4))}
    found = fine_grained(class_counts(table), q=100)
    assert found["mIoU_I100"] == pytest.approx(found["mIoU_I"])
    assert found["mIoU_C100"] == pytest.approx(found["mIoU_C"])


def test_the_better_method_can_hang_on_the_convention() -> None:
    """One wrong pixel of a class that is not there costs half of the image's mean, or nothing."""
    careful = class_counts({(0, 0): (90, 90, 100)})
    careless = class_counts({(0, 0): (99, 99, 100), (0, 1): (0, 1, 0)})
    union, present = (
        [fine_grained(c, name)["mIoU_I"] for c in (careful, careless)] for name in ("union", "gt-present")
    )
    assert union == [90, 49.5] and present == [90, 99]


def test_the_share_of_worst_images_is_a_percentage() -> None:
    for q in (0, 101):
        with pytest.raises(UserError, match="1 to 100"):
            fine_grained(class_counts({}), q=q)
