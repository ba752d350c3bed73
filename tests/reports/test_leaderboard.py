"""Leaderboards: a pure function of committed results, which refuses what is not comparable."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import recorded_result

from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts, hiou
from zsbench.reports.leaderboard import add_result, check_tables, read_entries, tables, write_tables
from zsbench.result import Result
from zsbench.utils.files import make_folder

ROWS = [np.array([[0, 0, right], [0, -1, 9], [1, 1, 9], [1, 0, 3]]) for right in (5, 20)]
LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"


def method(make_result, name, **changes):
    return make_result().method.model_copy(update={"name": name, **changes}).model_dump()


def add(folder, tmp_path, result):
    result.save(tmp_path / "result.json")
    return add_result(tmp_path / "result.json", folder)[0]


def test_rows_are_ranked_by_hiou_and_link_their_results(make_result, tmp_path):
    board = tmp_path / "board"
    for name, value in (("low", 10.0), ("high", 90.0)):
        add(board, tmp_path, make_result(value, method=method(make_result, name)))
    page = tables(board)["d.md"]
    assert page.index("| high") < page.index("| low")
    assert "[0](results/d-high-inductive-seed0.json)" in page
    assert "90.0 ± 1.0" in page


def test_seeds_are_joined_by_mean_and_standard_deviation(make_result, tmp_path):
    for seed, value in enumerate((10.0, 20.0, 30.0)):
        add(tmp_path / "board", tmp_path, make_result(value, seed=seed))
    assert "20.0 ± 10.0" in tables(tmp_path / "board")["d.md"]


def test_seeds_that_predicted_the_same_have_the_error_of_one(make_result, tmp_path):
    """No drawing, no deviation: ± 0.0 would look surer than one seed does."""
    for seed in (0, 1, 2):
        add(tmp_path / "board", tmp_path, make_result(20.0, seed=seed))
    assert "20.0 ± 1.0" in tables(tmp_path / "board")["d.md"]


def test_what_was_changed_by_hand_is_a_row_of_its_own(make_result, tmp_path):
    board, moved = tmp_path / "board", method(make_result, "m", learnt_from="coco-stuff")
    off = method(make_result, "m", options={"rd": "off"})
    add(board, tmp_path, make_result(10.0))
    add(board, tmp_path, make_result(20.0, request={"options": {"rd": "off"}, "iterations": 5, "seed": 3}, method=off))
    add(board, tmp_path, make_result(30.0, request={"transfer": True}, method=moved))
    page = tables(board)["d.md"]
    for label, value in (("", "10.0"), ("--iterations 5 -o rd=off", "20.0"), ("from coco-stuff", "30.0")):
        row = next(line for line in page.splitlines() if f"{value} ± 1.0" in line)
        assert [cell.strip() for cell in row.split("|")[1:4]] == ["m", label, "1"]


def test_a_result_replaces_that_of_its_row_and_seed_and_no_other(make_result, tmp_path):
    board = tmp_path / "board"
    first = add(board, tmp_path, make_result(10.0, date="then"))
    make_result(20.0, date="now", request={"out": {"name": "o", "sha256": None}}).save(tmp_path / "result.json")
    assert add_result(tmp_path / "result.json", board) == (first, "then")
    weights = make_result().method.weights.model_copy(update={"sha256": "9" * 64})
    other = add(board, tmp_path, make_result(30.0, method=method(make_result, "m", weights=weights)))
    assert other != first and Result.load(first).date == "now" and len(list(first.parent.iterdir())) == 2
    page = tables(board)["d.md"]
    assert page.index("weights 99999999") < page.index("weights 00000000")


def test_results_on_another_ground_truth_are_no_seeds_of_one_row(make_result, tmp_path):
    board = tmp_path / "board"
    labels = make_result().dataset.model_copy(update={"labels_sha256": "f" * 64}).model_dump()
    first = add(board, tmp_path, make_result(10.0))
    assert add(board, tmp_path, make_result(20.0, dataset=labels)) != first
    add(board, tmp_path, make_result(30.0, dataset=labels, seed=1))
    page = tables(board)["d.md"]
    assert "labels `bbbbbbbbbbbb`" in page and "labels `ffffffffffff`" in page and page.count("\n### ") == 2
    assert "| 2       | 25.0 ± 7.1 |" in page and "| 1       | 10.0 ± 1.0 |" in page


def leaves(content, at=()):
    """The places of all texts in JSON."""
    if isinstance(content, str):
        yield at
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in pairs:
        yield from leaves(value, (*at, name))


def test_no_word_of_a_result_or_of_the_published_rows_is_opened_or_imported(make_result, tmp_path, bait):
    """A path in any of their fields, and in all of them, is a word like another, or an error."""
    whole = make_result(request={"dataset": "d", "clip": "c", "options": {"a": "b"}}).model_dump(mode="json")
    places = list(leaves(whole))
    assert len(places) > 20
    for place in places:
        content = json.loads(json.dumps(whole))
        inner = functools.reduce(lambda part, name: part[name], place[:-1], content)
        inner[place[-1]] = str(bait)
        (tmp_path / "result.json").write_text(json.dumps(content))
        with contextlib.suppress(UserError):
            add_result(tmp_path / "result.json", tmp_path / "board")
            tables(tmp_path / "board")
        shutil.rmtree(tmp_path / "board", ignore_errors=True)
    (tmp_path / "board").mkdir()
    columns = (LEADERBOARDS / "published.csv").read_text().partition("\n")[0].split(",")
    for number in range(len(columns)):
        row = ["d" if name == "dataset_id" else "1" for name in columns]
        row[number] = str(bait)
        (tmp_path / "board" / "published.csv").write_text("\n".join(map(",".join, (columns, row))))
        with contextlib.suppress(UserError):
            write_tables(tmp_path / "board")


def test_one_run_is_in_a_leaderboard_once(make_result, tmp_path):
    path = add(tmp_path / "board", tmp_path, make_result())
    shutil.copy(path, path.with_name("copy.json"))
    with pytest.raises(UserError, match=r"copy\.json and .*seed0\.json are the same run with the same seed"):
        tables(tmp_path / "board")


def test_what_a_result_says_is_computed_again(make_result, tmp_path):
    edited = make_result().metrics["pAcc"].model_copy(update={"value": 99.9})
    result = make_result(metrics={**make_result().metrics, "pAcc": edited})
    with pytest.raises(UserError, match=r"result\.json: metrics\.pAcc\.value: 99.9 is said"):
        add(tmp_path / "board", tmp_path, result)
    path = add(tmp_path / "board", tmp_path, make_result())
    write_tables(tmp_path / "board")
    path.write_text(path.read_text().replace('"tp": 500', '"tp": 499', 1))
    with pytest.raises(UserError, match=r"d-m-inductive-seed0\.json: per_class 'x' iou"):
        check_tables(tmp_path / "board")


def test_records_come_with_their_result_and_are_checked(make_result, tmp_path):
    records = Records.of(["one", "two"], ROWS)
    records.save(tmp_path / "records.npz")
    result = recorded_result(records)
    path = add(tmp_path / "board", tmp_path, result)
    assert Records.load(path.with_suffix(".records.npz")).sha256() == records.sha256()
    with pytest.raises(UserError, match="records_sha256"):
        add(tmp_path / "board", tmp_path, make_result(60.0, dataset=result.dataset.model_dump()))
    (tmp_path / "records.npz").unlink()
    with pytest.raises(UserError, match=r"would replace .*seed0\.json, which its records bear out, and comes without"):
        add(tmp_path / "board", tmp_path, make_result(60.0, dataset=result.dataset.model_dump()))
    assert path.read_text() == result.model_dump_json(indent=1) + "\n"


@pytest.mark.parametrize("end", ["stderr", "low", "high"])
def test_errors_and_intervals_are_those_of_the_records(tmp_path, end):
    records = Records.of(["one", "two"], ROWS)
    records.save(tmp_path / "records.npz")
    result = recorded_result(records)
    metric = result.metrics["pAcc"]
    narrower = metric.model_copy(update={end: metric.value if end != "stderr" else 0.01})
    with pytest.raises(UserError, match=rf"result\.json: metrics\.pAcc\.{end}: .*records\.npz, by a bootstrap"):
        add(tmp_path / "board", tmp_path, recorded_result(records, metrics={**result.metrics, "pAcc": narrower}))
    with pytest.raises(UserError, match=r"result\.json: note: None is said"):
        add(tmp_path / "board", tmp_path, recorded_result(records, note=None))


def test_records_of_another_result_are_refused(make_result, tmp_path):
    for name, ids in (("a", ("one", "two")), ("b", ("one", "three"))):
        records = Records.of(ids, ROWS)
        make_folder(tmp_path / name)
        recorded_result(records, method=method(make_result, name)).save(tmp_path / name / "result.json")
        records.save(tmp_path / name / "records.npz")
    paths = [add_result(tmp_path / name / "result.json", tmp_path / "board")[0] for name in "ab"]
    write_tables(tmp_path / "board")
    first, second = (path.with_suffix(".records.npz") for path in paths)
    swapped = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swapped)
    with pytest.raises(UserError, match=r"d-a-inductive-seed0\.json: records_sha256"):
        write_tables(tmp_path / "board")


def test_the_committed_results_follow_from_their_records():
    assert read_entries(LEADERBOARDS)


def test_one_training_is_not_two_seeds(make_result, tmp_path):
    learnt = method(make_result, "m", checkpoint_sha256="5" * 64)
    add(tmp_path / "board", tmp_path, make_result(method=learnt))
    with pytest.raises(UserError, match="of the same learnt weights, under two seeds"):
        add(tmp_path / "board", tmp_path, make_result(method=learnt, seed=1))


def test_other_unseen_classes_replace_nothing_and_are_another_table(make_result, tmp_path):
    true, board = make_result(counts=Counts(*np.array([[5, 1], [6, 9], [10, 10]]))), tmp_path / "board"
    path = add(board, tmp_path, true)
    rows = [row.model_copy(update={"seen": row.name == "y"}) for row in true.per_class]
    metrics = {**true.metrics, "mIoU_S": true.metrics["mIoU_U"], "mIoU_U": true.metrics["mIoU_S"]}
    dataset = true.dataset.model_copy(update={"unseen": ["x"]}).model_dump()
    add(board, tmp_path, true.model_copy(update={"per_class": rows, "metrics": metrics, "dataset": dataset}))
    page = tables(board)["d.md"]
    assert Result.load(path) == true
    assert [line.rpartition(", ")[2] for line in page.splitlines() if line[:4] == "### "] == ["unseen x", "unseen y"]


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "nul\0", "x" * 300])
def test_no_dataset_writes_outside_the_folder(make_result, tmp_path, name):
    result = make_result(dataset=make_result().dataset.model_copy(update={"name": name}).model_dump())
    with pytest.raises(UserError, match=r"result\.json: dataset\.name: .*cannot be part of a file name"):
        add(tmp_path / "a" / "board", tmp_path, result)
    result.save(make_folder(tmp_path / "a" / "board" / "results") / "r.json")
    with pytest.raises(UserError, match=r"r\.json: .*cannot be part of a file name"):
        write_tables(tmp_path / "a" / "board")
    assert not list(tmp_path.rglob("*escaped*"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_foreign_words_stay_in_their_cells(make_result, tmp_path, name, value):
    board = Path(tempfile.mkdtemp(dir=tmp_path))
    info = method(make_result, name, variant=value, options={"o": value})
    dataset = make_result().dataset.model_copy(update={"names": value}).model_dump()
    asked = {"options": {"o": value}, "templates": name}
    path = add(board, tmp_path, make_result(method=info, dataset=dataset, request=asked))
    assert path.parent == board / "results"
    lines = tables(board)["d.md"].split("\n")
    rows = [line for line in lines if "](results/" in line]
    assert len(rows) == 1 and rows[0].count("|") == 11 and len([line for line in lines if line.startswith("### ")]) == 1


@pytest.mark.parametrize("make", [lambda folder: None, Path.mkdir])
def test_a_folder_without_anything_is_no_leaderboard(tmp_path, make):
    make(tmp_path / "board")
    for do in (check_tables, write_tables):
        with pytest.raises(UserError, match="holds no leaderboard: expected results"):
            do(tmp_path / "board")


def test_the_committed_tables_are_checked_without_torch():
    code = f"""
import sys
from zsbench.cli.app import app
app(["leaderboard", "--check", "--folder", {str(LEADERBOARDS)!r}], standalone_mode=False)
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "up to date" in done.stdout, done.stdout + done.stderr


def test_names_that_were_shown_before_the_test_make_a_table_of_their_own(make_result, tmp_path):
    add(tmp_path / "board", tmp_path, make_result(10.0))
    add(tmp_path / "board", tmp_path, make_result(20.0, shown={"pixels": "seen", "names": "all"}))
    page = tables(tmp_path / "board")["d.md"]
    assert "### inductive, class" in page and "### inductive with pixels seen and names all, class" in page


def test_other_words_for_the_classes_overwrite_nothing(make_result, tmp_path):
    own = make_result().dataset.model_copy(update={"names": "mine", "classes_sha256": "f" * 64}).model_dump()
    first = add(tmp_path / "board", tmp_path, make_result(1.0))
    second = add(tmp_path / "board", tmp_path, make_result(2.0, dataset=own, request={"classes": "mine"}))
    assert first != second and len(list(first.parent.iterdir())) == 2


def test_other_class_names_and_settings_are_other_tables(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, make_result(1.0))
    other = make_result().dataset.model_copy(update={"names": "mine", "classes_sha256": "f" * 64}).model_dump()
    add(board, tmp_path, make_result(2.0, dataset=other, method=method(make_result, "other")))
    add(board, tmp_path, make_result(3.0, setting="transductive"))
    assert tables(board)["d.md"].count("\n### ") == 3


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("dataset", {"complete": False}, "only 2 images"),
        ("request", {"limit": 2}, "only 2 images"),
        (
            "method",
            {"weights": {"source": "random", "sha256": None, "random": True, "missing": [], "unexpected": []}},
            "random",
        ),
        (
            "method",
            {"weights": {"source": "random", "sha256": None, "random": False, "missing": [], "unexpected": []}},
            "random",
        ),
    ],
)
def test_what_means_nothing_is_refused(make_result, tmp_path, part, change, message):
    changed = {**make_result().model_dump()[part], **change}
    with pytest.raises(UserError, match=message):
        add(tmp_path / "board", tmp_path, make_result(**{part: changed}))


def test_a_table_says_what_the_weights_have_seen(make_result, tmp_path):
    weights = make_result().method.weights.model_copy(update={"source": "t", "trained_on": "all | of it"})
    seen = make_result().method.model_copy(update={"name": "n", "weights": weights})
    for number, changed in enumerate((make_result().method, seen)):
        add(tmp_path / "board", tmp_path, make_result(float(number), method=changed.model_dump()))
    line = "What the weights have seen. `t`: all &#124; of it; `w`: not known, which is not clean."
    assert line in tables(tmp_path / "board")["d.md"]


def test_check_finds_a_stale_page(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, make_result(10.0))
    with pytest.raises(UserError, match=r"stale.*d\.md"):
        check_tables(board)
    write_tables(board)
    check_tables(board)
    (board / "d.md").write_text("edited")
    with pytest.raises(UserError, match="stale"):
        check_tables(board)


def test_published_rows_stand_apart(make_result, tmp_path):
    board = tmp_path / "board"
    add(board, tmp_path, make_result(10.0))
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
                add(board, tmp_path, make_result(value, method=info, seed=seed))
    assert (
        set(tables(board)) == {"d.md", "index.html"} and "loss-plain" in tables(board)["d.md"]
    )  # half a table is none
    info = zegclip.model_copy(update={"variant": "loss-plus"}).model_dump()
    other = make_result().dataset.model_copy(update={"names": "mine", "classes_sha256": "f" * 64}).model_dump()
    named = {"dataset": other, "request": {"classes": "mine"}}
    add(board, tmp_path, make_result(50.0, method=info, **named))
    assert set(tables(board)) == {"d.md", "index.html"}  # nor are two halves under different class names
    add(board, tmp_path, make_result(50.0, method=info))
    pages = tables(board)
    assert "loss-plain" not in pages["d.md"].split("class names mine")[0] and "60.0 ± 1.0" in pages["d.md"]
    assert "table 6 of its paper" in pages["d-ablation.md"]
    lines = pages["d-ablation.md"].splitlines()
    assert next(line for line in lines if line.startswith("| plain")).split("|")[2:4] == [" 2       ", " 11.0 ± 1.4 "]
    chosen = {"request": {"options": {"scale": 9}}}
    add(board, tmp_path, make_result(20.0, method=info | {"options": {"scale": 9}}, **chosen))
    assert tables(board)["d-ablation.md"].count("table 6 of") == 1  # another half
    info = zegclip.model_copy(update={"variant": "loss-plain", "options": {"scale": 9}}).model_dump()
    add(board, tmp_path, make_result(30.0, method=info, **chosen))
    assert "table 6 of its paper, -o scale=9" in tables(board)["d-ablation.md"]
    assert "--seeds 1 -o scale=9`" in tables(board)["d-ablation.md"]
