"""Every metric against exact fractions summed in loops over pixels; the bootstrap against a loop and against theory."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import zsbench.metrics.intervals
from zsbench.errors import UserError
from zsbench.metrics.counts import count
from zsbench.metrics.intervals import bootstrap, draws, paired_bootstrap
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


def random_images(number: int, num_classes: int, seed: int, right: float = 0.5) -> list[Image]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(number):
        label = rng.choice(rng.integers(-1, num_classes, 4), (8, 8)).astype(np.int32)
        guess = rng.integers(0, num_classes, label.shape)
        images.append((label, np.where(rng.random(label.shape) < right, label, guess).astype(np.int32)))
    return images


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
        total = Counts.of(Records.of(["a", "b"], [np.array([[0, big, big, big]]), np.array([[0, 0, 1, 1]])]), 1)
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
            Counts.of(Records.of(["a"], [np.array([[4, 1, 1, 1]])]), 3)


def quantile(values: list[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    values = sorted(values)
    at = q * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def replicates_by_hand(images: list[Image], num_classes: int, seen: list[bool], weights: NDArray) -> list[dict]:
    """Metrics of each draw, the images repeated as often as they were drawn."""
    return [
        by_hand(
            [image for image, times in zip(images, row.tolist(), strict=True) for _ in range(times)],
            num_classes,
            seen,
            {},
            "union",
        )[0]
        for row in weights
    ]


class TestBootstrap:
    SEEN = (True, True, True, False, False, False)

    @pytest.mark.parametrize("block", [1, 100, 1 << 23])
    def test_equals_a_loop_over_draws(self, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
        monkeypatch.setattr(zsbench.metrics.intervals, "_BLOCK", block)
        images = random_images(7, 6, seed=0)
        found = bootstrap(recorded(images, 6), 6, np.array(self.SEEN), replicates=40, seed=3, level=0.9)
        loop = replicates_by_hand(images, 6, list(self.SEEN), draws(7, 40, 3))
        whole, _ = by_hand(images, 6, list(self.SEEN), {}, "union")
        for name in METRICS:
            defined = [float(metrics[name]) for metrics in loop if metrics[name] == metrics[name]]
            assert len(defined) > 20
            assert close(found[name].value, whole[name])
            assert found[name].stderr == pytest.approx(statistics.stdev(defined), rel=1e-9)
            assert found[name].low == pytest.approx(quantile(defined, 0.05), rel=1e-9)
            assert found[name].high == pytest.approx(quantile(defined, 0.95), rel=1e-9)

    def test_draws_are_multinomial(self) -> None:
        images, replicates = 300, 4000
        weights = draws(images, replicates, 1).astype(np.float64)
        assert (weights.sum(axis=1) == images).all()
        assert weights.var() == pytest.approx(1 - 1 / images, rel=0.01)
        assert np.abs(weights.mean(axis=0) - 1).max() < 6 / math.sqrt(replicates)
        pair = np.mean((weights[:, 0] - 1) * (weights[:, 1:].sum(axis=1) - images + 1))
        assert pair == pytest.approx(-1, rel=0.1)  # one more of an image is one less of the others
        assert (draws(images, 3, 1) == draws(images, 3, 1)).all()
        assert (draws(images, 3, 1) != draws(images, 3, 2)).any()

    def test_standard_error_of_a_mean(self) -> None:
        """Images of equal size: pAcc is a mean over images, with a known standard error and a normal interval."""
        right = np.random.default_rng(0).integers(0, 101, 400)
        records = Records.of([f"{i:03d}" for i in range(400)], [np.array([[0, r, r, 100]]) for r in right])
        found = bootstrap(records, 1, np.array([True]), replicates=4000)["pAcc"]
        expected = right.std() / math.sqrt(400)
        assert found.value == pytest.approx(right.mean())
        assert found.stderr == pytest.approx(expected, rel=0.04)
        assert (found.high - found.low) / 2 == pytest.approx(1.96 * expected, rel=0.06)

    def test_order_of_arrival_does_not_matter(self) -> None:
        records = recorded(random_images(20, 6, seed=2), 6)
        backwards = Records.merge(records.select([image_id]) for image_id in records.ids.tolist()[::-1])
        seen = np.array(self.SEEN)
        assert bootstrap(records, 6, seen, replicates=50) == bootstrap(backwards, 6, seen, replicates=50)
        other = bootstrap(records, 6, seen, replicates=50, seed=1)
        assert other["mIoU"] != bootstrap(records, 6, seen, replicates=50)["mIoU"]

    def test_groups_and_conventions(self) -> None:
        records = recorded(random_images(20, 6, seed=2), 9)
        seen, groups = np.arange(9) < 3, {"things": np.arange(9) % 2 == 0}
        for convention in CONVENTIONS:
            found = bootstrap(records, 9, seen, groups, replicates=50, convention=convention)
            expected = summary(Counts.of(records, 9), seen, groups, convention)
            assert {name: estimate.value for name, estimate in found.items()} == expected
            assert all(e.low <= e.value <= e.high and e.stderr > 0 for e in found.values())

    def test_undefined_metrics_and_no_images(self) -> None:
        found = bootstrap(recorded(random_images(5, 3, seed=0), 3), 3, np.ones(3, bool), replicates=20)
        assert all(math.isnan(x) for x in (found["hIoU"].value, found["hIoU"].stderr, found["hIoU"].low))
        assert found["mIoU"].stderr > 0
        for records in (Records.empty(), recorded([(np.full(4, -1), np.zeros(4, int))], 3)):
            found = bootstrap(records, 3, np.array([True, True, False]), replicates=20)
            assert all(math.isnan(estimate.value) and math.isnan(estimate.stderr) for estimate in found.values())

    def test_arguments_are_checked(self) -> None:
        with pytest.raises(UserError, match="at least 2 replicates"):
            bootstrap(Records.empty(), 1, np.array([True]), replicates=1)
        with pytest.raises(UserError, match="between 0 and 1"):
            bootstrap(Records.empty(), 1, np.array([True]), level=95)


class TestPaired:
    SEEN = np.array([True, True, True, False, False, False])

    def test_equals_a_loop_over_draws(self) -> None:
        one, two = (
            random_images(9, 6, seed=5, right=0.6),
            random_images(9, 6, seed=5, right=0.3),
        )
        two = [(label, prediction) for (label, _), (_, prediction) in zip(one, two, strict=True)]
        found = paired_bootstrap(recorded(one, 6), recorded(two, 6), 6, self.SEEN, replicates=60, seed=4)
        weights, seen = draws(9, 60, 4), self.SEEN.tolist()
        pairs = list(zip(*(replicates_by_hand(x, 6, seen, weights) for x in (one, two)), strict=True))
        whole = [by_hand(x, 6, seen, {}, "union")[0] for x in (one, two)]
        for name in METRICS:
            differences = [float(a[name] - b[name]) for a, b in pairs if a[name] == a[name]]
            assert close(found[name].value, whole[0][name] - whole[1][name])
            assert found[name].stderr == pytest.approx(statistics.stdev(differences), rel=1e-9)
            rarer = min(sum(d <= 0 for d in differences), sum(d >= 0 for d in differences))
            assert found[name].p_value == min(1, 2 * (rarer + 1) / (len(differences) + 1))

    def test_order_of_arrival_does_not_matter_and_signs_flip(self) -> None:
        images = random_images(15, 6, seed=1)
        worse = [(label, np.where(label > 2, 0, prediction)) for label, prediction in images]
        a, b = recorded(images, 6), recorded(worse, 6)
        one = paired_bootstrap(a, b, 6, self.SEEN, replicates=50)
        shuffled = b.select(b.ids.tolist()[::-1])
        assert paired_bootstrap(a, shuffled, 6, self.SEEN, replicates=50) == one
        other = paired_bootstrap(b, a, 6, self.SEEN, replicates=50)
        assert other["mIoU_U"].value == -one["mIoU_U"].value < 0
        assert other["mIoU_U"].p_value == one["mIoU_U"].p_value < 0.05
        assert one["mIoU_U"].low > 0

    def test_a_run_does_not_differ_from_itself(self) -> None:
        records = recorded(random_images(15, 6, seed=1), 6)
        for difference in paired_bootstrap(records, records, 6, self.SEEN, replicates=50).values():
            assert (difference.value, difference.stderr, difference.p_value) == (0, 0, 1)

    def test_p_values_of_no_difference_are_uniform(self) -> None:
        rng = np.random.default_rng(0)
        ids = [f"{i:03d}" for i in range(100)]
        p_values = []
        for seed in range(200):
            runs = [Records.of(ids, [np.array([[0, r, r, 100]]) for r in rng.integers(40, 61, 100)]) for _ in "ab"]
            found = paired_bootstrap(*runs, 1, np.array([True]), replicates=200, seed=seed)
            p_values.append(found["pAcc"].p_value)
        # 200 uniform values: a share of p has standard deviation sqrt(p (1 - p) / 200)
        assert np.mean(np.array(p_values) < 0.05) < 0.05 + 4 * 0.0154
        assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=4 * 0.0354)

    def test_pairing_finds_what_separate_intervals_hide(self) -> None:
        """Images that are hard for both: the difference is far surer than either value."""
        rng = np.random.default_rng(0)
        hardness = rng.integers(0, 90, 200)
        ids = [f"{i:03d}" for i in range(200)]
        a = Records.of(ids, [np.array([[0, h + 3, h + 3, 100]]) for h in hardness])
        b = Records.of(ids, [np.array([[0, h, h, 100]]) for h in hardness])
        alone = [bootstrap(r, 1, np.array([True]), replicates=200)["pAcc"] for r in (a, b)]
        assert alone[0].low < alone[1].high
        found = paired_bootstrap(a, b, 1, np.array([True]), replicates=200)["pAcc"]
        assert found.value == pytest.approx(3) and found.stderr == pytest.approx(0, abs=1e-9)
        assert found.p_value == 2 / 201

    def test_other_images_or_labels_are_refused(self) -> None:
        a, b = (Records.of([name, "x"], [np.array([[0, 1, 1, 2]])] * 2) for name in "ab")
        with pytest.raises(UserError, match="not on the same images: 2 are in one only, such as 'a'"):
            paired_bootstrap(a, b, 1, np.array([True]))
        c = Records.of(["a", "x"], [np.array([[0, 1, 1, 2]]), np.array([[0, 1, 1, 3]])])
        with pytest.raises(UserError, match="other labels"):
            paired_bootstrap(a, c, 1, np.array([True]))
