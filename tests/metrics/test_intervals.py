"""Standard errors and intervals against theory, scipy, and the truth that they are to hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from zsbench.errors import UserError
from zsbench.metrics.intervals import Sampling, Support, bootstrap, estimate, over_seeds
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, Statistic, statistics
from zsbench.metrics.scores import CONVENTIONS, Counts, summary

SEEN = np.array([True, True, True, False, False, False])
ONE = np.array([True])
Draw = Callable[..., Records]


class TestBootstrap:
    def test_of_a_mean(self, percentages: Draw) -> None:
        """Images of equal size: pAcc is a mean over images, whose standard error and interval every textbook has."""
        right = np.random.default_rng(0).normal(50, 12, 400).round().clip(0, 100).astype(int)
        found = bootstrap(percentages(right.tolist()), 1, ONE, replicates=4000)["pAcc"]
        low, high = scipy.stats.t.interval(0.95, 399, right.mean(), scipy.stats.sem(right))
        assert found.value == pytest.approx(right.mean())
        assert found.stderr == pytest.approx(scipy.stats.sem(right), rel=0.04)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.06)  # the bias of a draw is not quite 0

    def test_agrees_with_scipy_on_many_images(self, random_records: Draw) -> None:
        """BCa, where both hold: many images, each class in plenty of them."""
        records = random_records(400, 6)
        dense = records.sorted().class_counts().dense(6)

        def miou(images: np.ndarray, axis: int) -> np.ndarray:
            tables = dense[images].sum(axis=axis % images.ndim)
            ious = tables[..., 0] / (tables[..., 1] + tables[..., 2] - tables[..., 0])
            return 100 * ious.mean(axis=-1)

        reference = scipy.stats.bootstrap(
            (np.arange(400),),
            miou,
            n_resamples=2000,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(0),
            batch=100,
        )
        found = bootstrap(records, 6, SEEN)["mIoU"]
        assert found.stderr == pytest.approx(reference.standard_error, rel=0.08)
        ends = reference.confidence_interval
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.25 * found.stderr)

    def test_holds_the_truth(self, random_records: Draw) -> None:
        """What docs/statistics.md measures at length, in small: 95 % of 200, give or take three standard deviations."""
        world = random_records(2000, 6)
        truth = summary(Counts.of(world, 6), SEEN)
        held = dict.fromkeys(("mIoU", "mIoU_S", "mIoU_U", "hIoU"), 0)
        rng = np.random.default_rng(0)
        for _ in range(200):
            sample = world.select(world.ids[np.sort(rng.choice(2000, 60, replace=False))].tolist())
            found = bootstrap(sample, 6, SEEN, replicates=150)
            for name in held:
                held[name] += found[name].low <= truth[name] <= found[name].high
        assert min(held.values()) > 180 and max(held.values()) <= 200

    def test_order_of_arrival_does_not_matter(self, random_records: Draw) -> None:
        records = random_records(20, 6)
        backwards = Records.merge(records.select([image_id]) for image_id in records.ids.tolist()[::-1])
        assert bootstrap(records, 6, SEEN, replicates=50) == bootstrap(backwards, 6, SEEN, replicates=50)
        other = bootstrap(records, 6, SEEN, replicates=50, seed=1)
        assert other["mIoU"] != bootstrap(records, 6, SEEN, replicates=50)["mIoU"]

    def test_groups_and_conventions(self, random_records: Draw) -> None:
        records = random_records(20, 6)
        seen, groups = np.arange(9) < 3, {"things": np.arange(9) % 2 == 0}
        for convention in CONVENTIONS:
            found = bootstrap(records, 9, seen, groups, replicates=50, convention=convention)
            expected = summary(Counts.of(records, 9), seen, groups, convention)
            assert {name: of.value for name, of in found.items()} == expected
            assert all(of.low < of.high and of.stderr > 0 for of in found.values())

    def test_undefined_metrics_and_few_images(self, random_records: Draw) -> None:
        found = bootstrap(random_records(5, 3), 3, np.ones(3, bool), replicates=20)
        assert all(math.isnan(x) for x in (found["hIoU"].value, found["hIoU"].stderr, found["hIoU"].low))
        assert found["mIoU"].stderr > 0
        alone = bootstrap(random_records(1, 6), 6, SEEN, replicates=20)["mAcc"]
        assert alone.value > 0 and all(math.isnan(x) for x in (alone.stderr, alone.low, alone.high))
        assert all(math.isnan(of.value) for of in bootstrap(Records.empty(), 6, SEEN, replicates=20).values())

    def test_options_are_checked(self) -> None:
        with pytest.raises(UserError, match="at least 2 replicates"):
            bootstrap(Records.empty(), 1, ONE, replicates=1)
        with pytest.raises(UserError, match="between 0 and 1"):
            bootstrap(Records.empty(), 1, ONE, level=95)


numbers = st.lists(st.floats(0, 100) | st.just(math.nan), min_size=2, max_size=30).map(np.array)


class TestEstimate:
    @settings(deadline=None, max_examples=50)
    @given(value=st.floats(0, 100), replicates=numbers, without=numbers, level=st.floats(0.01, 0.99))
    def test_an_interval_holds_its_value(
        self, value: float, replicates: np.ndarray, without: np.ndarray, level: float
    ) -> None:
        found = estimate(Statistic(value, replicates, without), level)
        if not math.isnan(found.low):
            assert 0 <= found.low <= value <= found.high <= 100
            assert found.stderr == pytest.approx(np.nanstd(replicates, ddof=1))

    def test_bias_is_taken_off(self) -> None:
        """Draws that come out 2 too low of a value of 40 say that it is itself 2 below the truth."""
        rng = np.random.default_rng(0)
        sampling = Sampling.of(Statistic(40.0, 38 + rng.normal(0, 1, 10_000), 40 + rng.normal(0, 0.01, 100)))
        assert sampling.centre == pytest.approx(42, abs=0.05)

    def test_errors_of_normal_changes_have_as_many_degrees_of_freedom_as_images(self) -> None:
        rng = np.random.default_rng(0)
        changes = rng.normal(0, 1, 20_000)
        even = Sampling.of(Statistic(50.0, changes, 50 + changes / 20_000))
        assert even.error == pytest.approx(1 / math.sqrt(20_000), rel=0.02) and even.freedom > 19_000
        one_decides = np.zeros(20_000)
        one_decides[0] = 1
        assert Sampling.of(Statistic(50.0, changes, 50 + one_decides)).freedom == pytest.approx(2, rel=0.01)


class TestOverSeeds:
    def test_both_variances_add_up(self, random_records: Draw) -> None:
        runs = [random_records(40, 6, run=run, right=0.5 + 0.05 * run) for run in range(3)]
        resampling = Resampling(6, SEEN, replicates=200)
        found = over_seeds(runs, resampling)["mIoU"]
        values = [bootstrap(records, 6, SEEN, replicates=2)["mIoU"].value for records in runs]
        images = statistics(runs, resampling)["mIoU"].replicates
        assert found.value == pytest.approx(np.mean(values)) and found.seeds == 3
        assert found.seed_deviation == pytest.approx(np.std(values, ddof=1))
        assert found.stderr**2 == pytest.approx(np.var(images, ddof=1) + np.var(values, ddof=1) / 3)

    def test_few_seeds_that_differ_make_it_wide(self, percentages: Draw) -> None:
        """Hardly an image differs from the others: Student's interval of three numbers is all there is."""
        rng = np.random.default_rng(0)
        means = (40, 50, 54)
        runs = [percentages((mean + rng.integers(0, 2, 300)).tolist()) for mean in means]
        found = over_seeds(runs, Resampling(1, ONE))["pAcc"]
        values = [records.class_counts().tp.mean() for records in runs]
        low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.1)

    def test_one_seed_is_no_sample_of_seeds(self, random_records: Draw) -> None:
        with pytest.raises(UserError, match="at least two"):
            over_seeds([random_records(5, 6)], Resampling(6, SEEN))


class TestSupport:
    def test_says_how_few_images_classes_rest_on(self) -> None:
        rows = [
            np.array([[0, 0, 9], *([[1, 2, 1]] if i < 3 else []), *([[2, 2, 1]] if i < 20 else [])]) for i in range(120)
        ]
        found = Support.of(Records.of([f"{i}" for i in range(120)], rows), 5)
        assert (found.images, found.classes, found.few, found.rarest) == (120, 3, 1, 3)
        assert found.warning == (
            "1 of 3 classes are in fewer than 20 images (the rarest in 3): intervals may be too narrow."
        )

    def test_enough_needs_no_word(self) -> None:
        enough = Records.of([f"{i}" for i in range(100)], [np.array([[0, 0, 1], [1, -1, 1]])] * 100)
        assert Support.of(enough, 2).warning is None
        few = Support.of(enough.select(enough.ids[:99].tolist()), 2).warning
        assert few == "measured on 99 images only: below 100, intervals may be too narrow."
        assert Support.of(Records.empty(), 2).warning
