"""Comparisons of methods: against loops, permutations, and how often they are wrong where nothing differs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.errors import UserError
from zsbench.metrics.intervals import bootstrap
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, statistics
from zsbench.metrics.scores import METRICS, Counts, summary
from zsbench.metrics.significance import Difference, compare, difference, holm

SEEN = np.array([True, True, True, False, False, False])
ONE = np.array([True])
Draw = Callable[..., Records]


def of_pair(a: Records, b: Records, resampling: Resampling) -> dict[str, Difference]:
    one, two = statistics([a], resampling), statistics([b], resampling)
    return {name: difference(one[name], two[name], 0.95) for name in one}


class TestDifference:
    def test_draws_the_same_images_for_both(self, random_records: Draw) -> None:
        a, b = random_records(30, 6, right=0.6), random_records(30, 6, right=0.3, run=1)
        resampling = Resampling(6, SEEN, replicates=60, seed=4)
        found = of_pair(a, b, resampling)
        one, two = statistics([a], resampling), statistics([b], resampling)
        for name in METRICS:
            assert found[name].value == one[name].value - two[name].value
            assert found[name].stderr == pytest.approx(np.nanstd(one[name].replicates - two[name].replicates, ddof=1))

    def test_p_says_what_the_interval_says(self, random_records: Draw) -> None:
        rng = np.random.default_rng(0)
        both = set()
        for run in range(60):
            right = 0.5 + rng.uniform(-0.03, 0.03)
            pair = random_records(40, 6, run=run), random_records(40, 6, run=run + 1000, right=right)
            for found in of_pair(*pair, Resampling(6, SEEN, replicates=50)).values():
                assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)
                both.add(found.p_value < 0.05)
        assert both == {True, False}

    def test_a_run_does_not_differ_from_itself(self, random_records: Draw) -> None:
        records = random_records(15, 6)
        for found in of_pair(records, records, Resampling(6, SEEN, replicates=50)).values():
            assert (found.value, found.stderr, found.low, found.high, found.p_value) == (0, 0, 0, 0, 1)

    def test_agrees_with_a_permutation_test(self, random_records: Draw) -> None:
        """The p-value of exchanging the two predictions of each image or not, which needs no distribution."""
        a, b = random_records(150, 6), random_records(150, 6, run=4, right=0.52)
        tables = [records.sorted().class_counts().dense(6) for records in (a, b)]
        rng, extreme = np.random.default_rng(0), 0

        def between(one: np.ndarray, two: np.ndarray) -> float:
            first, second = (summary(Counts(*of.sum(axis=0).T), SEEN)["mIoU"] for of in (one, two))
            return first - second

        for _ in range(2000):
            exchanged = (rng.random(150) < 0.5)[:, None, None]
            drawn = between(np.where(exchanged, tables[1], tables[0]), np.where(exchanged, tables[0], tables[1]))
            extreme += abs(drawn) >= abs(between(*tables))
        found = of_pair(a, b, Resampling(6, SEEN))["mIoU"]
        assert 0.001 < extreme / 2000 < 0.5
        assert found.p_value == pytest.approx(extreme / 2000, abs=0.03)

    def test_p_values_of_no_difference_are_uniform(self, percentages: Draw) -> None:
        rng = np.random.default_rng(0)
        p_values = []
        for seed in range(200):
            runs = [percentages(rng.integers(40, 61, 100).tolist()) for _ in "ab"]
            p_values.append(of_pair(*runs, Resampling(1, ONE, replicates=100, seed=seed))["pAcc"].p_value)
        # 200 uniform values: a share of p has standard deviation sqrt(p (1 - p) / 200)
        assert np.mean(np.array(p_values) < 0.05) < 0.05 + 4 * 0.0154
        assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=4 * 0.0354)

    def test_pairing_finds_what_separate_intervals_hide(self, percentages: Draw) -> None:
        """Images that are hard for both: the difference is far surer than either value."""
        hardness = np.random.default_rng(0).integers(0, 90, 200)
        a, b = percentages((hardness + 3 + np.arange(200) % 2).tolist()), percentages(hardness.tolist())
        alone = [bootstrap(records, 1, ONE, replicates=200)["pAcc"] for records in (a, b)]
        assert alone[0].low < alone[1].high
        found = of_pair(a, b, Resampling(1, ONE, replicates=200))["pAcc"]
        assert found.value == pytest.approx(3.5) and found.stderr < 0.1 and found.p_value < 1e-6


class TestCompare:
    def three(self, random_records: Draw) -> dict[str, list[Records]]:
        rights = {"good": 0.6, "as good": 0.6, "worse": 0.45}
        return {
            name: [random_records(60, 6, right=right, run=10 * number + seed) for seed in range(2)]
            for number, (name, right) in enumerate(rights.items())
        }

    def test_all_pairs_with_holms_correction(self, random_records: Draw) -> None:
        found = compare(self.three(random_records), Resampling(6, SEEN, replicates=100))
        assert set(found.pairs) == {("good", "as good"), ("good", "worse"), ("as good", "worse")}
        for metric in METRICS:
            pairs = [of[metric] for of in found.pairs.values()]
            assert [of.p_holm for of in pairs] == holm([of.p_value for of in pairs])
            assert pairs[0].value == pytest.approx(found.values["good"][metric] - found.values["as good"][metric])
        one, other = found.difference("good", "worse", "mIoU"), found.difference("worse", "good", "mIoU")
        assert (one.value, one.low, one.p_holm) == (-other.value, -other.high, other.p_holm) and one.low > 0

    def test_what_is_tied_with_the_best(self, random_records: Draw) -> None:
        found = compare(self.three(random_records), Resampling(6, SEEN, replicates=100))
        assert found.tied_with_best("mIoU") == ("good", "as good")
        assert found.tied_with_best("mIoU", alpha=0.0) == ("good", "as good", "worse")

    def test_a_method_alone_is_the_best(self, random_records: Draw) -> None:
        found = compare({"a": [random_records(9, 6)]}, Resampling(6, np.ones(6, bool), replicates=20))
        assert found.tied_with_best("mIoU") == ("a",) and found.tied_with_best("hIoU") == ()

    def test_seeds_that_differ_make_a_difference_unsure(self, percentages: Draw) -> None:
        """The same two means, of seeds that agree and of seeds that do not."""
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 10, 100)

        def p_value(spread: int) -> float:
            runs = {
                name: [percentages((mean + noise + shift).tolist()) for shift in (-spread, 0, spread)]
                for name, mean in (("a", 50), ("b", 46))
            }
            return compare(runs, Resampling(1, ONE, replicates=50)).pairs["a", "b"]["pAcc"].p_value

        assert p_value(0) < 1e-6 and p_value(8) > 0.3

    def test_other_images_are_refused(self, random_records: Draw) -> None:
        with pytest.raises(UserError, match="not on the same images"):
            compare({"a": [random_records(5, 6)], "b": [random_records(4, 6)]}, Resampling(6, SEEN))


class TestHolm:
    def test_as_in_the_paper(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]

    @given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=9))
    def test_rejects_what_the_procedure_rejects(self, p_values: list[float]) -> None:
        """Step by step, least first, at alpha / (tests left), until one is not rejected."""
        alpha, found = 0.05, holm(p_values)
        tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
        rejected = set()
        for step, (p, i) in enumerate(tested):
            if not p * (len(tested) - step) < alpha:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(found) if p < alpha} == rejected
        assert [math.isnan(p) for p in found] == [math.isnan(p) for p in p_values]
