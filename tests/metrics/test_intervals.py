"""The bootstrap against a loop and against theory."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from numpy.typing import NDArray

import zsbench.metrics.intervals
from zsbench.errors import UserError
from zsbench.metrics.counts import count
from zsbench.metrics.intervals import bootstrap, draws, paired_bootstrap
from zsbench.metrics.records import Records
from zsbench.metrics.scores import CONVENTIONS, METRICS, Counts, summary

Image = tuple[NDArray[np.int32], NDArray[np.int32]]


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


def right_of_100(right: int) -> NDArray[np.int64]:
    """An image of 100 pixels of one class, the rest of them abstained from."""
    return np.array([row for row in ([0, 0, right], [0, -1, 100 - right]) if row[2]])


def quantile(values: list[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    values = sorted(values)
    at = q * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def replicates_by_hand(images: list[Image], num_classes: int, seen: NDArray[np.bool_], weights: NDArray) -> list[dict]:
    """Metrics of each draw, the images repeated as often as they were drawn."""
    return [
        summary(
            Counts.of(recorded([images[i] for i in np.repeat(range(len(row)), row)], num_classes), num_classes), seen
        )
        for row in weights
    ]


class TestBootstrap:
    SEEN = (True, True, True, False, False, False)

    @pytest.mark.parametrize("block", [1, 100, 1 << 23])
    def test_equals_a_loop_over_draws(self, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
        monkeypatch.setattr(zsbench.metrics.intervals, "_BLOCK", block)
        images = random_images(7, 6, seed=0)
        found = bootstrap(recorded(images, 6), 6, np.array(self.SEEN), replicates=40, seed=3, level=0.9)
        loop = replicates_by_hand(images, 6, np.array(self.SEEN), draws(7, 40, 3))
        whole = summary(Counts.of(recorded(images, 6), 6), np.array(self.SEEN))
        for name in METRICS:
            defined = [float(metrics[name]) for metrics in loop if metrics[name] == metrics[name]]
            assert len(defined) > 20
            assert found[name].value == whole[name]
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
        records = Records.of([f"{i:03d}" for i in range(400)], [right_of_100(r) for r in right])
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
        weights = draws(9, 60, 4)
        pairs = list(zip(*(replicates_by_hand(x, 6, self.SEEN, weights) for x in (one, two)), strict=True))
        whole = [summary(Counts.of(recorded(x, 6), 6), self.SEEN) for x in (one, two)]
        for name in METRICS:
            differences = [float(a[name] - b[name]) for a, b in pairs if a[name] == a[name]]
            assert found[name].value == whole[0][name] - whole[1][name]
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
            runs = [Records.of(ids, [right_of_100(r) for r in rng.integers(40, 61, 100)]) for _ in "ab"]
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
        a = Records.of(ids, [right_of_100(h + 3) for h in hardness])
        b = Records.of(ids, [right_of_100(h) for h in hardness])
        alone = [bootstrap(r, 1, np.array([True]), replicates=200)["pAcc"] for r in (a, b)]
        assert alone[0].low < alone[1].high
        found = paired_bootstrap(a, b, 1, np.array([True]), replicates=200)["pAcc"]
        assert found.value == pytest.approx(3) and found.stderr == pytest.approx(0, abs=1e-9)
        assert found.p_value == 2 / 201

    def test_other_images_or_labels_are_refused(self) -> None:
        a, b = (Records.of([name, "x"], [np.array([[0, 0, 1], [0, -1, 1]])] * 2) for name in "ab")
        with pytest.raises(UserError, match="not on the same images: 2 are in one only, such as 'a'"):
            paired_bootstrap(a, b, 1, np.array([True]))
        c = Records.of(["a", "x"], [np.array([[0, 0, 1], [0, -1, 1]]), np.array([[0, 0, 1], [0, -1, 2]])])
        with pytest.raises(UserError, match="other labels"):
            paired_bootstrap(a, c, 1, np.array([True]))
