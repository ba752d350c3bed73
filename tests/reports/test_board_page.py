"""The page of all leaderboards: every committed row with its files, the same bytes for the same results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zsbench.errors import UserError
from zsbench.reports.board_page import INDEX, family
from zsbench.reports.leaderboard import add_result, check_tables, tables, write_tables
from zsbench.result import Result

LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"
NASTY = "<script>alert(1)</script>|\"'&\n"


def add(folder, tmp_path, result):
    result.save(tmp_path / "result.json")
    return add_result(tmp_path / "result.json", folder)[0]


def rows(page):
    return re.findall(r"<tr data-dataset.*?</tr>", page, re.DOTALL)


def test_every_row_links_its_results_and_the_best_of_a_setting_comes_first(make_result, tmp_path):
    board = tmp_path / "board"
    for name, value, setting in (("low", 10, "inductive"), ("high", 90, "inductive"), ("other", 50, "transductive")):
        method = make_result().method.model_copy(update={"name": name}).model_dump()
        for seed in (0, 1):
            add(board, tmp_path, make_result(value, method=method, setting=setting, seed=seed))
    found = rows(tables(board)[INDEX])
    assert [re.search(r'<th scope="row">(\w+)', row)[1] for row in found] == ["high", "low", "other"]
    assert (
        'href="results/d-high-inductive-seed1.json"' in found[0]
        and 'data-setting="transductive with pixels' in found[2]
    )
    assert tables(board)[INDEX] == tables(board)[INDEX]


def test_the_committed_page_leads_to_every_committed_file():
    page = (LEADERBOARDS / INDEX).read_text(encoding="utf-8")
    linked = set(re.findall(r'href="((?:results|efficiency)/[^"]+)"', page))
    there = {
        f"{path.parent.name}/{path.name}"
        for name in ("results", "efficiency")
        for path in (LEADERBOARDS / name).iterdir()
    }
    assert linked == there


def test_check_covers_the_page(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, make_result(10.0))
    write_tables(board)
    check_tables(board)
    (board / INDEX).write_text((board / INDEX).read_text().replace("10.0", "99.9"))
    with pytest.raises(UserError, match=r"stale in .*: index\.html\."):
        check_tables(board)


def test_methods_are_of_the_family_that_their_folder_says():
    assert [family(name) for name in ("zegclip", "sclip", "zegformer", "spnet", "mine")] == [
        "zegclip",
        "training-free",
        "two-stage",
        "preclip",
        "other",
    ]


def test_names_are_harmless(make_result, tmp_path):
    board = tmp_path / "board"
    path = add(board, tmp_path, make_result(10.0))
    result = Result.load(path)
    named = result.method.model_copy(update={"name": NASTY, "variant": NASTY})
    result.model_copy(update={"method": named, "setting": NASTY}).save(path)
    page = tables(board)[INDEX]
    assert page.count("<script") == 1 and page.count("&lt;script&gt;alert(1)") >= 4
