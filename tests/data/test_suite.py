"""Suites are data: those that come with zsbench, and a user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsbench import registry
from zsbench.data.suite import read_suite, suites
from zsbench.errors import UserError
from zsbench.runs.request import Request


def test_every_suite_names_registered_data_sets_and_options_of_a_run() -> None:
    installed = {plugin.name for plugin in registry.plugins("dataset")}
    assert [suite.name for suite in suites()] == ["gzlss", "medical", "training-free-8", "transfer-coco"]
    for suite in suites():
        assert installed.issuperset(suite.datasets) and suite.summary
        Request.of("run", suite.run)
    assert len(read_suite("training-free-8").datasets) == 8 and len(read_suite("medical").datasets) == 6


def test_a_file_of_a_users_own_is_a_suite(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('datasets = ["miniworld", "voc20"]\nmetric = "mIoU"\nrun.limit = 4\n')
    suite = read_suite(str(tmp_path / "mine.toml"))
    assert (suite.name, suite.datasets, suite.run) == ("mine", ("miniworld", "voc20"), {"limit": 4})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = []", "datasets"),
        ("dataset = ['miniworld']", r"unknown entry of .*mine\.toml: 'dataset'. Did you mean 'datasets'"),
        (
            "datasets = ['miniword']",
            r"mine\.toml: 'miniword' is no data set that is installed; .*Did you mean 'miniworld'",
        ),
        ("datasets = ['../secret/card.toml']", r"'../secret/card\.toml' is no data set that is installed"),
        ("datasets = ['voc20', 'voc20']", "voc20 is there twice"),
        ("datasets = ['voc20']\nmetric = 'hiou'", "expected one of .*Did you mean 'hIoU'"),
        ("datasets = [", "not a readable suite"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_suite(str(tmp_path / "mine.toml"))


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(UserError, match=r"expected gzlss, medical, .* or a file.*Did you mean 'gzlss'"):
        read_suite("gzls")
