"""Methods over data sets: means where all are there, ranks on each, Borda ranks with intervals from records."""

from __future__ import annotations

import numpy as np
import pytest
from toys import build_result, recorded_result

from zsbench.data.suite import Suite
from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.reports.rows import StoredResult, records_beside
from zsbench.reports.suites import borda, ranking, suite_page

IMAGES = 40
THREE = Suite(name="three", summary="Three sets.", datasets=("a", "b", "c"))


@pytest.fixture
def stored(tmp_path):
    """A result on a data set with an IoU of about `right` percent in its images, and its records beside it."""

    def call(method, dataset, right, seed=0, bare=False, **changes):
        rng = np.random.default_rng([ord(dataset), ord(method), seed])
        hits = rng.binomial(100, right / 100, (IMAGES, 2))
        rows = [np.array([[c, p, n] for c in (0, 1) for p, n in ((c, h[c]), (1 - c, 100 - h[c])) if n]) for h in hits]
        records = Records.of([f"{number:02d}" for number in range(IMAGES)], rows)
        named = build_result().method.model_copy(update={"name": method, **changes}).model_dump()
        result = recorded_result(records, method=named, seed=seed)
        result = result.model_copy(update={"dataset": result.dataset.model_copy(update={"name": dataset})})
        found = StoredResult(result, tmp_path / f"{dataset}-{method}-{seed}.json")
        if not bare:
            records.save(records_beside(found.path))
        return found

    return call


def lines(page):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_ranks_and_borda_points_are_those_of_a_plain_count():
    values = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 2.0], [1.0, 0.0, 9.0]])  # methods x data sets
    assert ranking(values.T).tolist() == [[1, 2, 3], [2, 1, 3], [2.5, 2.5, 1]]
    ahead = [
        [sum((a > b) + (a == b) / 2 for j, b in enumerate(col) if j != i) for i, a in enumerate(col)]
        for col in values.T
    ]
    assert borda(values).tolist() == np.sum(ahead, axis=0).tolist()
    many = np.random.default_rng(0).integers(0, 4, (5, 3, 4)).astype(float)
    assert np.array_equal(borda(many), np.stack([borda(each) for each in many]))


def test_a_clear_order_is_sure_and_a_close_one_is_not(stored):
    entries = [stored(m, d, right) for d in "abc" for m, right in (("g", 90), ("h", 70), ("i", 70))]
    found = lines(suite_page(THREE, entries))
    assert next(iter(found)) == "g" and found["g"]["rank"] == "1" and found["g"]["95 % interval"] == "1 to 1"
    assert found["g"]["Borda"] == "6" and found["g"]["a"].endswith("(1)")
    low, high = map(float, found["h"]["95 % interval"].split(" to "))
    assert low == 2 and high == 3
    value = np.mean([entry.result.metrics["hIoU"].value for entry in entries if entry.result.method.name == "g"])
    assert found["g"]["mean"] == f"{value:.1f}"


def test_a_method_that_lacks_a_data_set_has_no_mean_and_moves_no_rank(stored):
    entries = [stored(m, d, right) for d in "abc" for m, right in (("g", 80), ("h", 60))]
    entries += [stored("x", "a", 99), stored("x", "c", 99)]
    found = lines(suite_page(THREE, entries))
    assert found["x"]["mean"] == "-" and found["x"]["missing"] == "b" and list(found)[-1] == "x"
    assert found["g"]["a"].endswith("(1)") and found["g"]["rank"] == "1" and found["g"]["missing"] == ""


def test_seeds_are_resampled_too(stored):
    wild = [stored("w", d, right, seed) for d in "abc" for seed, right in enumerate((95, 30))]
    found = lines(suite_page(THREE, wild + [stored("s", d, 61, seed) for d in "abc" for seed in (0, 1)]))
    assert found["w"]["95 % interval"] == "1 to 2" == found["s"]["95 % interval"]


def test_without_records_there_is_no_interval_and_the_page_says_so(stored):
    entries = [stored(m, d, right, bare=m == "h") for d in "abc" for m, right in (("g", 80), ("h", 60))]
    page = suite_page(THREE, entries)
    assert lines(page)["g"]["95 % interval"] == "-" and lines(page)["g"]["rank"] == "1"
    assert "No interval of ranks: no records beside results of h." in page


def test_oracles_and_runs_that_the_suite_does_not_mean_are_left_out(stored):
    entries = [stored("g", d, 80) for d in "abc"] + [stored("o", d, 99, oracle=True) for d in "abc"]
    assert list(lines(suite_page(THREE, entries))) == ["g"]
    with pytest.raises(UserError, match="no result on any data set of the suite three: a, b, c"):
        suite_page(THREE.model_copy(update={"run": {"transfer": True}}), entries)
