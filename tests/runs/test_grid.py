"""Grids: cells are named by what varies, finished ones are kept, and one that fails harms no other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from zsbench.errors import UserError
from zsbench.runs.asked import asked
from zsbench.runs.grid import PROFILES, RUNS, Cell, arranged, make_cells, run_grid
from zsbench.runs.request import Request


def finish(cell, make_result):
    """What a run leaves."""
    cell.out.mkdir(parents=True, exist_ok=True)
    make_result(request=asked(cell.request)).save(cell.outcome)
    return True


class Backend:
    """Runs a cell by a function."""

    def __init__(self, run):
        self.run, self.stopped = run, False

    def stop(self):
        self.stopped = True


def cells_in(folder, count=1, **request):
    return [Cell(RUNS, "row", Request(seed=seed, out=folder / str(seed), **request)) for seed in range(count)]


def test_a_name_says_what_varies_and_what_is_no_default(tmp_path):
    axes = {("dtype",): ["float32", "bfloat16"], ("options", "layers"): [1, 2], ("method",): ["zegclip"]}
    found = [cell.row for cell in make_cells(PROFILES, {"dataset": "a/b.toml", "tf32": True}, axes, tmp_path)]
    assert found == [f"zegclip-b-dtype={t}-layers={n}" for t in ("float32", "bfloat16") for n in (1, 2)]


def test_profiles_are_commands_too(tmp_path):
    given = {"options": {"layers": 2}, "seconds": 1.0}
    (cell,) = make_cells(PROFILES, given, {("size",): ["8x9"]}, tmp_path)
    assert cell.words == ["profile", "--out", str(cell.out), "--size", "8x9", "--seconds", "1.0", "-o", "layers=2"]
    assert cell.outcome == tmp_path / "zegclip-miniworld" / "profile.json"
    with pytest.raises(UserError, match="unknown option of `zsbench profile`: 'seed'"):
        list(make_cells(PROFILES, {"seed": 1}, {}, tmp_path))


def test_cells_are_there_once_and_every_word_is_known(tmp_path):
    cells = cells_in(tmp_path, 2)
    assert arranged([cells[1], cells[0], cells[1]]) == cells
    with pytest.raises(UserError, match="two different cells would be called 0"):
        arranged([*cells, *cells_in(tmp_path, limit=3)])
    with pytest.raises(UserError, match="Did you mean 'zegclip'"):
        arranged(cells_in(tmp_path, method="zegclop"))


def test_finished_cells_are_kept_and_failing_ones_told(tmp_path, make_result):
    cells, said, attempts = cells_in(tmp_path, 3), [], []
    finish(cells[1], make_result)

    def run(cell):
        attempts.append(cell.request.seed)
        cell.log.write_text("here\nerror: no data\nthere\n")
        return cell.request.seed == 0 and finish(cell, make_result)

    finished = run_grid(cells, Backend(run), say=said.append)
    assert attempts == [0, 2] and finished.failed == [cells[2]]
    assert cells[2].failure == f"2: error: no data ({tmp_path / '2.log'})"
    assert said == ["[1/3] 0 ...", "[2/3] 1: done before", "[3/3] 2 ...", "    2 failed"]
    assert len(finished.results["row"]) == 2 and finished.rows == {"row": cells}


def test_jobs_run_together(tmp_path, make_result):
    together = threading.Barrier(2, timeout=10)

    def run(cell):
        together.wait()
        return finish(cell, make_result)

    assert run_grid(cells_in(tmp_path, 4), Backend(run), jobs=2).failed == []


def test_what_another_command_left_is_no_finished_cell(tmp_path, make_result):
    finish(cells_in(tmp_path)[0], make_result)
    with pytest.raises(UserError, match="not `zsbench run --limit 3`"):
        run_grid(cells_in(tmp_path, limit=3), Backend(lambda cell: True))


def test_when_told_to_end_nothing_more_is_started(tmp_path):
    started = []

    def run(cell):
        started.append(cell)
        raise KeyboardInterrupt

    backend = Backend(run)
    with pytest.raises(KeyboardInterrupt):
        run_grid(cells_in(tmp_path, 5), backend)
    assert backend.stopped and len(started) < 5


def test_a_cell_that_never_began_has_a_reason_all_the_same():
    assert Cell(RUNS, "row", Request(out=Path("nowhere/cell"))).failure == "cell:  (nowhere/cell.log)"
