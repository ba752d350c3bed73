"""Whether one data set ranks methods as papers do on another: the same methods, settings apart, ranks compared."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from toys import build_result

from zsbench.reports.agreement import Agreement, rank_correlation
from zsbench.reports.published import COLUMNS
from zsbench.reports.rows import StoredResult

SVG = "{http://www.w3.org/2000/svg}"


def measured(tmp_path, method, percent, seed=0, **changes):
    told = build_result().method.model_copy(update={"name": method, **changes}).model_dump()
    return StoredResult(build_result(percent, method=told, seed=seed), tmp_path / f"{method}-{percent}-{seed}.json")


def printed(dataset, method, hiou, variant="", setting="inductive"):
    told = {"dataset_id": dataset, "method_id": method, "variant_id": variant, "setting": setting, "hIoU": hiou}
    return dict.fromkeys(COLUMNS, "") | told


@pytest.fixture
def entries(tmp_path):
    rows = [("low", 10.0), ("middle", 20.0), ("high", 30.0)]
    return [measured(tmp_path, name, value) for name, value in rows]


def test_methods_stand_beside_what_is_printed_of_them(entries, tmp_path):
    published = [printed("other", name, hiou) for name, hiou in (("high", "50"), ("middle", "70"), ("low", "40"))]
    published += [printed("other", "high", "1"), printed("few", "low", "1"), printed("few", "high", "2")]
    entries += [measured(tmp_path, "middle", 22.0, seed=1), measured(tmp_path, "middle", 99.0, variant="tuned")]
    found = Agreement.of("d", entries, published)
    assert found is not None and list(found.printed) == ["other"]
    assert found.correlation("other") == pytest.approx(0.5)
    text = "\n".join(found.text)
    assert (
        "| B  | middle   |           | inductive |           | 21.0 | 70.0    |" in text
        and "other 0.50 (3 rows)" in text
    )
    dots = [dot.text for dot in ET.fromstring(found.drawn).iter(f"{SVG}title")][1:]
    assert dots == [
        "high, other: 50 printed, 30.0 here",
        "middle, other: 70 printed, 21.0 here",
        "low, other: 40 printed, 10.0 here",
    ]


def test_variants_are_systems_of_their_own(entries, tmp_path):
    entries += [measured(tmp_path, "high", 5.0, variant="v", options={"changed": True})]
    entries += [measured(tmp_path, "low", 11.0, variant="same")]  # what changes nothing is its method, and counted once
    published = [printed("other", name, "1") for name in ("low", "high")] + [printed("other", "high", "7", variant="v")]
    published += [printed("other", "low", "1", variant="same")]
    found = Agreement.of("d", entries, published)
    assert found is not None and [system.name for system in found.measured] == ["high", "low", "high v"]
    assert "| C  | high     | v         | inductive |           | 5.0  | 7.0     |" in "\n".join(found.text)


def test_other_variants_other_settings_and_the_data_set_itself_are_left_out(entries):
    names = ("low", "middle", "high")
    assert Agreement.of("d", entries, [printed("other", name, "1", variant="v") for name in names]) is None
    assert Agreement.of("d", entries, [printed("other", name, "1", setting="supervised") for name in names]) is None
    assert Agreement.of("d", entries, [printed("d", name, "1") for name in names]) is None
    assert Agreement.of("d", entries, [printed("other", name, "") for name in names]) is None


def test_equal_numbers_stand_by_name_in_every_process(tmp_path):
    names = [f"m{number}" for number in range(9)]
    tied = Agreement.of("d", [measured(tmp_path, n, 0.0) for n in names], [printed("other", n, "1") for n in names])
    assert tied is not None and [system.name for system in tied.measured] == names


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_the_rank_correlation_is_scipys(pairs):
    one, other = map(list, zip(*pairs, strict=True))
    found = rank_correlation(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic)
