"""Ties: tested when tables are written, kept with the hashes of the records they came from, shown by every table."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import build_result, recorded_result

from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.reports import ties
from zsbench.reports.board_page import INDEX
from zsbench.reports.comparison import compare
from zsbench.reports.leaderboard import add_result, check_tables, tables, write_tables
from zsbench.reports.rows import records_beside
from zsbench.utils.files import make_folder

IMAGES = 60


def recorded(name, ease, seed=0, noise=0, **method):
    """A method that has about 50 % + `ease` of the pixels right, in the same images more than in others."""
    hard = np.random.default_rng(0).uniform(0.3, 0.7, (IMAGES, 1))
    right = np.random.default_rng(noise).binomial(100, np.clip(hard + ease, 0, 1), (IMAGES, 2))
    rows = [
        np.array([[c, p, n] for c in (0, 1) for p, n in ((c, hits[c]), (1 - c, 100 - hits[c])) if n]) for hits in right
    ]
    records = Records.of([f"image{number:03d}" for number in range(IMAGES)], rows)
    about = build_result().method.model_copy(update={"name": name, **method}).model_dump()
    return recorded_result(records, method=about, seed=seed), records


@pytest.fixture
def board(tmp_path):
    """A leaderboard of the runs given, each with its records unless its name ends in `-bare`."""

    def call(*runs):
        folder = make_folder(tmp_path / "board")
        for result, records in runs:
            result.save(tmp_path / "result.json")
            (tmp_path / "records.npz").unlink(missing_ok=True)
            if not result.method.name.endswith("-bare"):
                records.save(tmp_path / "records.npz")
            add_result(tmp_path / "result.json", folder)
        write_tables(folder)
        return folder

    return call


def bold(page, column="hIoU"):
    """The methods whose number in a column is marked."""
    lines = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("|")]
    place = lines[0].index(column)
    return [line[1] for line in lines[2:] if line[place].startswith("**")]


SAME = (recorded("good", 0.2, noise=1), recorded("as-good", 0.2, noise=2), recorded("bad", -0.1, noise=3))


def test_the_best_and_what_is_tied_with_it_are_bold(board):
    folder = board(*SAME)
    page = tables(folder)["d.md"]
    assert sorted(bold(page)) == ["as-good", "good"]
    assert f"over the same {IMAGES} images;" in page and "correction over 3 pairs)" in page
    assert tables(folder)[INDEX].count("<strong>") == page.count("**") // 2
    check_tables(folder)


def test_what_is_kept_are_the_p_values_of_a_comparison(board):
    folder = board(*SAME)
    (kept,) = json.loads((folder / ties.FILE).read_text())["tables"]
    found = compare(*(folder / "results" / name for name in kept["records"]))
    values = {name: of["hIoU"] for name, of in found.values.items()}
    best = max(values, key=values.get)
    for name in values:
        stored = kept["p_values"]["hIoU"][f"d-{name}-inductive-seed0.json"]
        pairs = [pair for pair in found.pairs if {pair.a, pair.b} == {name, best}]
        assert stored == pytest.approx(pairs[0].metrics["hIoU"].p_holm if pairs else 1.0, rel=0.01)


def test_seeds_and_images_both_decide(board):
    """Two seeds that differ wildly: their mean is far ahead, and one more seed might be anywhere."""
    wild = [recorded("wild", ease, seed, noise=seed) for seed, ease in enumerate((0.28, 0.0))]
    page = tables(board(*wild, SAME[2], recorded("bad", -0.1, 1, noise=4)))["d.md"]
    assert sorted(bold(page)) == ["bad", "wild"] and "images and over seeds;" in page
    steady = [recorded("wild", 0.14, seed, noise=seed) for seed in (0, 1)]
    page = tables(board(*steady))["d.md"]
    assert bold(page) == ["wild"]


def test_without_all_records_nothing_is_marked_and_the_page_says_so(board):
    folder = board(*SAME[:2], recorded("third-bare", 0, noise=5))
    page = tables(folder)["d.md"]
    assert (
        bold(page) == [] and "Ties with the best are not marked: no records beside the results of third-bare." in page
    )
    assert "Not marked, as records are missing: d, inductive." in tables(folder)[INDEX]
    assert not (folder / ties.FILE).exists()
    check_tables(folder)


def test_an_oracle_is_never_the_best(board):
    page = tables(board(*SAME[1:], recorded("seer", 0.29, noise=6, oracle=True)))["d.md"]
    assert bold(page) == ["as-good"] and "over 1 pair)" in page


def test_a_row_alone_has_nothing_to_be_compared_with(board):
    page = tables(board(SAME[0]))["d.md"]
    assert "**" not in page and "Ties" not in page and "Bold" not in page


def test_check_reads_no_records_for_ties_and_finds_them_stale(board, monkeypatch):
    folder = board(*SAME)
    monkeypatch.setattr(ties, "tested", lambda rows: pytest.fail("tested again"))
    check_tables(folder)
    write_tables(folder)  # nor is what is there made again
    text = (folder / ties.FILE).read_text()
    (folder / ties.FILE).write_text('{"tables": []}')
    with pytest.raises(UserError, match=r"stale in .*: d\.md, index\.html, ties\.json\."):
        check_tables(folder)
    (folder / ties.FILE).write_text(text.replace('"sha256"', '"sha265"', 1))
    with pytest.raises(UserError, match=r"entry of .*ties\.json: tables\.0\.sha256: Field required"):
        check_tables(folder)
    (folder / ties.FILE).write_text(text)
    dropped = next((folder / "results").glob("d-bad-*.json"))
    records_beside(dropped).unlink()
    dropped.unlink()
    with pytest.raises(UserError, match=r"ties\.json"):
        check_tables(folder)
