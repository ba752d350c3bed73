"""The page of costs: a pure function of committed profiles, the paper's numbers beside them, devices apart."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from zsbench.errors import UserError
from zsbench.reports.costs import add_profile, efficiency_pages
from zsbench.reports.leaderboard import check_tables, tables
from zsbench.result import Efficiency, Profile, Result

PUBLISHED = """dataset_id,method_id,setting,pAcc,method,backbone,mIoU,mIoU_S,mIoU_U,hIoU,params_M,flops_G,fps,source
d,quick,efficiency,,,,,,,,13.8,110.4,9.0,a paper
d,slow,efficiency,,,,,,,,60.3,1829.3,1.7,a paper
d,slow,inductive,50,,,,,,,,,,another table
"""
OLD = {
    "learnable_params": 13_800_000,
    "learnable_without_gradient": 0,
    "image_path_params": 150_000_000,
    "gmacs": 100.0,
    "gflops": 200.0,
    "text_gmacs": 1.0,
    "input_size": [512, 512],
    "windows": 1,
    "latency_ms": 100.0,
    "latency_p10_ms": 90.0,
    "latency_p90_ms": 110.0,
    "latency_runs": 9,
    "fps": 10.0,
    "timed": "end-to-end: windows, model, upsampling, argmax",
}
"""What an efficiency held before throughput, memory and energy were measured."""
SLOW = {"latency_ms": 1000.0, "latency_p90_ms": 1100.0, "fps": 1.0}


@pytest.fixture
def board(tmp_path):
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "published.csv").write_text(PUBLISHED)
    return folder


@pytest.fixture
def add(make_result, tmp_path, board):
    """Take a profile in: `environment` and other fields may be changed."""

    def call(method="quick", environment=(), **changes):
        described = {"date": "2026-01-01", "command": "zsbench profile", "variant": None, "options": {}, "clip": "c"}
        described |= {"request": {}}
        described |= {"weights": "random", "dataset": "d", "classes": 2, "size": None, "image_size": [512, 512]}
        machine = make_result().environment.model_dump() | dict(environment)
        profile = Profile.model_validate(
            OLD | described | {"method": method, "protocol": {}, "environment": machine} | changes
        )
        profile.save(tmp_path / "profile.json")
        return add_profile(tmp_path / "profile.json", board)

    return call


@pytest.fixture
def page(board):
    return lambda: efficiency_pages(board)["efficiency.md"]


def test_older_efficiencies_still_load():
    cost = Efficiency.model_validate(OLD)
    assert cost.peak_memory is None and cost.throughput != cost.throughput and not cost.compiled


def test_measured_numbers_stand_beside_printed_ones(add, page):
    add()
    add("slow", **SLOW, gmacs=1900.0, gflops=3800.0, learnable_params=60_300_000)
    text = page()
    assert "13.80 *13.8*" in text and "100.0 *110.4*" in text and "10 *9.0*" in text
    row = next(line for line in text.splitlines() if "quick over slow" in line)
    assert "10.0 *5.3*" in row and "19.0 *16.6*" in row


def test_devices_types_and_sizes_are_not_mixed(add, page):
    add()
    assert "## CUDA\n\nNot measured yet" in page()
    add("slow", **SLOW, environment={"device": "cuda", "device_name": "GPU"})
    add("slow", **SLOW, environment={"dtype": "bfloat16"})
    add("slow", **SLOW, environment={"threads": 2})
    add("slow", **SLOW, size="64x64")
    add("slow", **SLOW, timed="model: all windows")
    text = page()
    assert "over" not in text and "Not measured" not in text
    assert text.index("## GPU") < text.index("## x, 1 thread\n") < text.index("## x, 2 threads\n")
    add(
        "slow",
        **SLOW,
        compiled=True,
        environment={"device": "cuda", "device_name": "GPU", "flags": {"matmul_tf32": True}},
    )
    assert "| tf32 compiled |" in page()


def test_checkpoints_are_rows_of_their_own(add, page):
    files = {add(checkpoint_sha256=digest)[0] for digest in (None, "1" * 64, "2" * 64)}
    assert len(files) == 3
    cells = {cell.strip() for line in page().splitlines() for cell in line.split("|")}
    assert {"quick", "quick, checkpoint 11111111", "quick, checkpoint 22222222"} <= cells


def test_what_nobody_can_measure_again_is_refused(add):
    with pytest.raises(UserError, match="uncommitted changes"):
        add(environment={"dirty": True})
    with pytest.raises(UserError, match="options of its own"):
        add(request={"options": {"prompts": "4"}})
    add(command="zsbench profile --templates '- a -o {}'")  # what a command line holds is for people


@pytest.mark.parametrize(
    "change", [{"fps": 99.0}, {"gflops": 1.0}, {"latency_ms": 50.0, "fps": 20.0}, {"learnable_params": 10**9}]
)
def test_an_edited_cost_is_named(add, change):
    with pytest.raises(UserError, match=rf"profile\.json: .*{next(iter(change))}.*Measure again"):
        add(**change)


def test_measuring_again_replaces_a_profile_and_says_so(add):
    path, replaced = add(date="then")
    assert replaced is None and add(date="now") == (path, "then")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=300))
def test_no_name_leaves_the_folder_or_the_table(add, page, board, name):
    for path in (board / "efficiency").glob("*"):
        path.unlink()
    try:
        path, _ = add(dataset=name, environment={"device_name": name})
    except (UserError, ValidationError):  # halves of characters are no text
        return
    assert path.parent == board / "efficiency" and path.is_file()
    rows = [line for line in page().splitlines() if "[json]" in line]
    assert len(rows) == 1 and rows[0].count("|") == 13


def test_the_page_is_checked_with_the_others(add, board):
    add()
    for name, text in tables(board).items():
        (board / name).write_text(text)
    check_tables(board)
    add("slow")
    with pytest.raises(UserError, match=r"stale.*: efficiency\.md"):
        check_tables(board)


def test_a_result_is_no_profile(make_result, tmp_path):
    make_result().save(tmp_path / "r.json")
    with pytest.raises(UserError, match="no valid profile"):
        Profile.load(tmp_path / "r.json")
    with pytest.raises(UserError, match="absent: no such result"):
        Result.load("absent")
