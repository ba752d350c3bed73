"""Leaderboards: a pure function of committed results, which refuses what is not comparable."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from zsbench.errors import UserError
from zsbench.metrics.scores import hiou
from zsbench.reports.leaderboard import add_result, check_tables, tables, write_tables

LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"


def with_hiou(make_result, value, **changes):
    metric = {"value": value, "stderr": 1.0, "low": 0.0, "high": 100.0}
    return make_result(metrics={name: metric for name in ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")}, **changes)


def method(make_result, name, **changes):
    return make_result().method.model_copy(update={"name": name, **changes}).model_dump()


def add(folder, tmp_path, result):
    result.save(tmp_path / "result.json")
    return add_result(tmp_path / "result.json", folder)


def test_rows_are_ranked_by_hiou_and_link_their_results(make_result, tmp_path):
    board = tmp_path / "board"
    for name, value in (("low", 10.0), ("high", 90.0)):
        add(board, tmp_path, with_hiou(make_result, value, method=method(make_result, name)))
    page = tables(board)["d.md"]
    assert page.index("| high") < page.index("| low")
    assert "[0](results/d-high-inductive-seed0.json)" in page
    assert "90.0 ± 1.0" in page


def test_seeds_are_joined_by_mean_and_standard_deviation(make_result, tmp_path):
    for seed, value in enumerate((10.0, 20.0, 30.0)):
        add(tmp_path / "board", tmp_path, with_hiou(make_result, value, seed=seed))
    assert "20.0 ± 10.0" in tables(tmp_path / "board")["d.md"]


def test_what_was_changed_by_hand_is_a_row_of_its_own(make_result, tmp_path):
    board, moved = tmp_path / "board", method(make_result, "m", learnt_from="coco-stuff")
    add(board, tmp_path, with_hiou(make_result, 10.0))
    add(board, tmp_path, with_hiou(make_result, 20.0, command="zsbench run -o rd=off --iterations 5 --seed 3"))
    add(board, tmp_path, with_hiou(make_result, 30.0, command="zsbench eval --checkpoint c --transfer", method=moved))
    page = tables(board)["d.md"]
    for label, value in (("", "10.0"), ("-o rd=off --iterations 5", "20.0"), ("from coco-stuff", "30.0")):
        row = next(line for line in page.splitlines() if f"{value} ± 1.0" in line)
        assert [cell.strip() for cell in row.split("|")[1:4]] == ["m", label, "1"]


def test_checkpoints_that_were_trained_otherwise_are_rows_of_their_own(make_result, tmp_path):
    """With what was changed in training, as if it had been evaluated there; a choice in evaluation stands in its place."""
    board = tmp_path / "board"
    rows = {
        "zsbench train --seed 3": ("", "10.0"),
        "zsbench run --limit 8 -o rd=off -o prompts=4 -r learning_rate=1": (
            "--limit 8 -o rd=off -o prompts=2 -r learning_rate=1",
            "20.0",
        ),
        "zsbench train --variant v": ("trained with --variant v", "30.0"),
    }
    for command, (label, value) in rows.items():
        evaluation = "zsbench eval --checkpoint c" + (" -o prompts=2" if "prompts" in label else "")
        training = {"dataset": "d", "recipe": {}, "command": command}
        add(board, tmp_path, with_hiou(make_result, float(value), command=evaluation, training=training))
    page = tables(board)["d.md"]
    for label, value in rows.values():
        row = next(line for line in page.splitlines() if f"{value} ± 1.0" in line)
        assert [cell.strip() for cell in row.split("|")[1:4]] == ["m", label, "1"]


def test_other_words_for_the_classes_overwrite_nothing(make_result, tmp_path):
    own = make_result().dataset.model_copy(update={"names": "mine", "classes_sha256": "f" * 64}).model_dump()
    first = add(tmp_path / "board", tmp_path, with_hiou(make_result, 1.0))
    second = add(
        tmp_path / "board", tmp_path, with_hiou(make_result, 2.0, dataset=own, command="zsbench run --classes mine.txt")
    )
    assert first != second and len(list(first.parent.iterdir())) == 2


def test_other_class_names_and_settings_are_other_tables(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, with_hiou(make_result, 1.0))
    other = make_result().dataset.model_copy(update={"classes_sha256": "f" * 64}).model_dump()
    add(board, tmp_path, with_hiou(make_result, 2.0, dataset=other, method=method(make_result, "other")))
    add(board, tmp_path, with_hiou(make_result, 3.0, setting="transductive"))
    assert tables(board)["d.md"].count("\n### ") == 3


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("dataset", {"complete": False}, "only 2 images"),
        (
            "method",
            {"weights": {"source": "random", "sha256": None, "random": True, "missing": [], "unexpected": []}},
            "random",
        ),
    ],
)
def test_what_means_nothing_is_refused(make_result, tmp_path, part, change, message):
    changed = {**getattr(make_result(), part).model_dump(), **change}
    with pytest.raises(UserError, match=message):
        add(tmp_path / "board", tmp_path, make_result(**{part: changed}))


def test_check_finds_a_stale_page(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, with_hiou(make_result, 10.0))
    with pytest.raises(UserError, match=r"stale.*d\.md"):
        check_tables(board)
    write_tables(board)
    check_tables(board)
    (board / "d.md").write_text("edited")
    with pytest.raises(UserError, match="stale"):
        check_tables(board)


def test_published_rows_stand_apart(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, with_hiou(make_result, 10.0))
    columns = ("dataset_id", "method", "setting", "backbone", "pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU", "source")
    with (board / "published.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerow(["d", "theirs", "inductive", "", "", "", "90", "80", "84.7", "a paper"])
    page = tables(board)["d.md"]
    assert page.index("## Measured") < page.index("## Reported in publications") < page.index("theirs")


def test_hiou_of_the_founding_paper_follows_from_its_parts_but_for_six_rows():
    """Printed hIoU is 2SU/(S+U) up to the rounding of S and U, except where the paper's own table disagrees with itself."""
    with (LEADERBOARDS / "published.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if "founding paper" in row["source"] and row["hIoU"]]
    differing = {
        (row["method"], row["dataset"], row["setting"])
        for row in rows
        if abs(hiou(float(row["mIoU_S"]), float(row["mIoU_U"])) - float(row["hIoU"])) > 0.105
    }
    assert differing == {
        ("CaGNet [17]", "COCO-Stuff164K (156/15)", "inductive"),
        ("CaGNet [17]", "PASCAL Context (50/10)", "inductive"),
        ("zsseg [49]", "VOC2012 (15/5)", "inductive"),
        ("STRICT [34]", "COCO-Stuff164K (156/15)", "transductive"),
        ("zsseg+ST [49]", "VOC2012 (15/5)", "transductive"),
        ("ZegCLIP (Ours)", "PASCAL Context (50/10)", "supervised"),
    }


def test_ablation_rows_have_a_page_of_their_own(make_result, tmp_path):
    board = tmp_path / "board"
    zegclip = make_result().method.model_copy(update={"name": "zegclip"})
    for seed in (0, 1):
        for variant, value in (("loss-plain", 10.0 + 2 * seed), ("loss-plus", 50.0), (None, 60.0)):
            info = zegclip.model_copy(update={"variant": variant}).model_dump()
            if variant != "loss-plus":
                add(board, tmp_path, with_hiou(make_result, value, method=info, seed=seed))
    assert set(tables(board)) == {"d.md"} and "loss-plain" in tables(board)["d.md"]  # half a table is none
    info = zegclip.model_copy(update={"variant": "loss-plus"}).model_dump()
    other = make_result().dataset.model_copy(update={"names": "mine", "classes_sha256": "f" * 64}).model_dump()
    named = {"dataset": other, "command": "zsbench run --classes mine.txt"}
    add(board, tmp_path, with_hiou(make_result, 50.0, method=info, **named))
    assert set(tables(board)) == {"d.md"}  # nor are two halves under different class names
    add(board, tmp_path, with_hiou(make_result, 50.0, method=info))
    pages = tables(board)
    assert "loss-plain" not in pages["d.md"].split("class names mine")[0] and "60.0 ± 0.0" in pages["d.md"]
    assert "table 6 of its paper" in pages["d-ablation.md"]
    lines = pages["d-ablation.md"].splitlines()
    assert next(line for line in lines if line.startswith("| plain")).split("|")[2:4] == [" 2       ", " 11.0 ± 1.4 "]
