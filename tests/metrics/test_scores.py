"""Every metric against exact fractions summed in loops over pixels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records
from zsbench.metrics.scores import (
    CONVENTIONS,
    METRICS,
    Convention,
    Counts,
    accuracy,
    dice,
    hiou,
    iou,
    scored,
    summaries,
    summary,
)

NAN = math.nan
Image = tuple[NDArray[np.int32], NDArray[np.int32]]


def mean(values: Iterable[Fraction | float]) -> Fraction | float:
    kept = [value for value in values if isinstance(value, Fraction)]
    return sum(kept, Fraction(0)) / len(kept) if kept else NAN


def by_hand(
    images: list[Image], num_classes: int, seen: list[bool], groups: dict[str, list[bool]], convention: str
) -> tuple[dict[str, Fraction | float], dict[str, int]]:
    """The definitions, in exact arithmetic: the metrics, and how many classes each mean of IoU is over."""
    tp, pred, gt = ([0] * num_classes for _ in range(3))
    for label, prediction in images:
        for true, guess in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            if true >= 0:
                gt[true] += 1
                tp[true] += true == guess
                if guess >= 0:
                    pred[guess] += 1

    def per_class(part: Callable[[int], int], whole: Callable[[int], int]) -> list[Fraction | float]:
        values: list[Fraction | float] = []
        for c in range(num_classes):
            left_out = whole(c) == 0 or (convention == "gt-present" and gt[c] == 0)
            absent = Fraction(0) if convention == "absent=0" else NAN
            values.append(absent if left_out else Fraction(100 * part(c), whole(c)))
        return values

    ious = per_class(lambda c: tp[c], lambda c: gt[c] + pred[c] - tp[c])
    sets = {"mIoU": [True] * num_classes, "mIoU_S": seen, "mIoU_U": [not s for s in seen], **groups}
    members = {name: [ious[c] for c in range(num_classes) if of[c]] for name, of in sets.items()}
    result = {name: mean(values) for name, values in members.items()}
    s, u = result["mIoU_S"], result["mIoU_U"]
    result["hIoU"] = NAN if s != s or u != u else Fraction(0) if s + u == 0 else 2 * s * u / (s + u)
    pixels = sum(gt)
    result["pAcc"] = Fraction(100 * sum(tp), pixels) if pixels else NAN
    result["mAcc"] = mean(per_class(lambda c: tp[c], lambda c: gt[c]))
    result["mDice"] = mean(per_class(lambda c: 2 * tp[c], lambda c: gt[c] + pred[c]))
    weighted = [Fraction(100 * gt[c] * tp[c], gt[c] + pred[c] - tp[c]) for c in range(num_classes) if gt[c]]
    result["fwIoU"] = sum(weighted, Fraction(0)) / pixels if pixels else NAN
    return result, {name: sum(isinstance(v, Fraction) for v in values) for name, values in members.items()}


def close(found: float, expected: Fraction | float) -> bool:
    return found == pytest.approx(float(expected), rel=1e-12, abs=1e-12, nan_ok=True)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[int, list[bool], list[Image]]:
    """Number of classes, which are seen, images; some empty, some all ignored, few of the classes in use."""
    num_classes = draw(st.sampled_from([1, 2, 5, 300]))
    seen = draw(st.lists(st.booleans(), min_size=num_classes, max_size=num_classes))
    used = st.sampled_from(draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=4)))
    images = []
    for _ in range(draw(st.integers(0, 5))):
        size = draw(st.integers(0, 9))
        labels = draw(st.sampled_from([used | st.just(-1), st.just(-1)]))
        pair = (draw(st.lists(values, min_size=size, max_size=size)) for values in (labels, used | st.just(-1)))
        images.append(tuple(np.array(x, dtype=np.int32) for x in pair))
    return num_classes, seen, images


def recorded(images: list[Image], num_classes: int, prefix: str = "image") -> Records:
    ids = [f"{prefix} {i:05d}" for i in range(len(images))]
    return Records.of(ids, [count(label, prediction, num_classes) for label, prediction in images])


def counts(*rows: tuple[int, int, int]) -> Counts:
    """From (tp, pred, gt) per class."""
    return Counts(*np.array(rows, dtype=np.int64).T)


class TestSummary:
    @pytest.mark.parametrize("convention", CONVENTIONS)
    @settings(max_examples=60, deadline=None)
    @given(world=worlds())
    def test_equals_exact_fractions(self, convention: Convention, world: tuple[int, list[bool], list[Image]]) -> None:
        num_classes, seen, images = world
        groups = {"even": [c % 2 == 0 for c in range(num_classes)], "none": [False] * num_classes}
        expected, number = by_hand(images, num_classes, seen, groups, convention)
        masks = {name: np.array(of) for name, of in groups.items()}
        total = Counts.of(recorded(images, num_classes), num_classes)
        found = summary(total, np.array(seen), masks, convention)
        assert tuple(found) == (*METRICS, *groups)
        assert {name for name in found if not close(found[name], expected[name])} == set()
        assert scored(total, np.array(seen), masks, convention) == number

    @settings(deadline=None)
    @given(world=worlds(), order=st.randoms(use_true_random=False))
    def test_shares_of_processes_give_the_same_floats(
        self, world: tuple[int, list[bool], list[Image]], order: random.Random
    ) -> None:
        num_classes, seen, images = world
        whole = recorded(images, num_classes)
        parts = [whole.select([image_id]) for image_id in whole.ids.tolist()]
        order.shuffle(parts)
        merged = Records.merge(parts)
        found = [summary(Counts.of(r, num_classes), np.array(seen)) for r in (whole, merged)]
        assert str(found[0]) == str(found[1])

    def test_the_conventions_differ_as_they_should(self) -> None:
        # right half the time; predicted but absent; neither
        total = counts((5, 5, 10), (0, 5, 0), (0, 0, 0))
        seen = np.array([True, False, False])
        found = {name: summary(total, seen, None, name) for name in CONVENTIONS}
        assert {name: values["mIoU"] for name, values in found.items()} == {
            "union": 25.0,
            "absent=0": pytest.approx(50 / 3),
            "gt-present": 50.0,
        }
        assert [scored(total, seen, None, name)["mIoU"] for name in CONVENTIONS] == [2, 3, 1]
        assert found["union"]["mIoU_U"] == 0 and math.isnan(found["gt-present"]["mIoU_U"])
        assert {values["pAcc"] for values in found.values()} == {50.0}
        with pytest.raises(UserError, match=r"unknown convention 'onion'.*Did you mean 'union'"):
            summary(total, seen, None, "onion")  # type: ignore[arg-type]

    def test_values_per_class(self) -> None:
        total = counts((2, 4, 6), (0, 3, 0), (0, 0, 0))
        assert iou(total).tolist() == pytest.approx([25.0, 0.0, NAN], nan_ok=True)
        assert accuracy(total).tolist() == pytest.approx([100 / 3, NAN, NAN], nan_ok=True)
        assert dice(total).tolist() == pytest.approx([40.0, 0.0, NAN], nan_ok=True)
        for per_class in (iou, accuracy, dice):
            assert np.isnan(per_class(total, "gt-present")).tolist() == [False, True, True]
            assert per_class(total, "absent=0").tolist()[1:] == [0.0, 0.0]

    def test_hiou(self) -> None:
        assert hiou(60.0, 30.0) == 40.0
        assert hiou(50.0, 0.0) == hiou(0.0, 0.0) == 0.0
        assert math.isnan(hiou(50.0, NAN)) and math.isnan(hiou(NAN, 0.0))
        pairs = hiou(np.array([60.0, 0.0, NAN]), np.array([30.0, 0.0, 1.0]))
        assert pairs.tolist() == pytest.approx([40.0, 0.0, NAN], nan_ok=True)

    def test_nothing_right_on_unseen_classes(self) -> None:
        found = summary(counts((8, 12, 8), (0, 0, 4)), np.array([True, False]))
        assert (found["mIoU_U"], found["hIoU"]) == (0.0, 0.0)
        found = summary(counts((0, 4, 8), (0, 8, 4)), np.array([True, False]))
        assert (found["mIoU_S"], found["mIoU_U"], found["hIoU"]) == (0.0, 0.0, 0.0)

    def test_no_unseen_classes_and_no_pixels(self) -> None:
        found = summary(counts((8, 12, 8), (0, 0, 4)), np.array([True, True]))
        assert math.isnan(found["mIoU_U"]) and math.isnan(found["hIoU"]) and found["mIoU_S"] == found["mIoU"]
        nothing = summary(Counts.of(Records.empty(), 3), np.array([True, True, False]))
        assert all(math.isnan(value) for value in nothing.values())

    def test_counts_are_exact_beyond_float32_and_int32(self) -> None:
        big = 2**40 + 1
        total = Counts.of(Records.of(["a", "b"], [np.array([[0, 0, big]]), np.array([[0, -1, 1]])]), 1)
        assert (total.tp.tolist(), total.gt.tolist()) == ([big], [big + 1])
        assert total.tp.dtype == np.int64

    def test_leading_axes_are_kept(self) -> None:
        rng = np.random.default_rng(0)
        tp = rng.integers(0, 3, (4, 2, 7))
        stack = Counts(tp, tp + rng.integers(0, 2, tp.shape), tp + rng.integers(0, 2, tp.shape))
        seen = np.arange(7) < 5
        found = summaries(stack, seen)
        for at in np.ndindex(4, 2):
            alone = summary(Counts(stack.tp[at], stack.pred[at], stack.gt[at]), seen)
            assert all(close(float(found[name][at]), alone[name]) for name in METRICS)

    def test_group_names(self) -> None:
        with pytest.raises(UserError, match="'hIoU' is named like a metric"):
            summary(counts((1, 1, 1)), np.array([True]), {"hIoU": np.array([True])})

    def test_another_dataset_is_refused(self) -> None:
        with pytest.raises(UserError, match="class 4, but there are 3 classes"):
            Counts.of(Records.of(["a"], [np.array([[4, 4, 1]])]), 3)
