"""Results, records, journals and published tables, damaged or altered: no false number, no trace outside of the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fuzzing import ODD, altered, as_json, damaged, from_bytes, fuzz, outside
from toys import build_result

from zsbench.metrics.journal import Journal
from zsbench.metrics.records import Records
from zsbench.reports.leaderboard import add_result, check_tables, write_tables
from zsbench.reports.published import read_published
from zsbench.result import Profile, Result
from zsbench.utils.files import write_text

pytestmark = pytest.mark.slow
LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
ROWS = [np.array([[0, 0, 300], [1, 0, 2]]), np.array([[1, -1, 5]])]


def test_results_in_a_leaderboard(tmp_path: Path) -> None:
    """What is taken in is either the true result or says itself that it is another one."""
    content = json.loads(build_result().model_dump_json())
    path, folder = tmp_path / "inner" / "r.json", tmp_path / "inner" / "L"
    path.parent.mkdir()
    before = outside(tmp_path / "inner")

    def read(altered_one) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        path.write_bytes(as_json(altered_one))
        add_result(path, folder)
        write_tables(folder)
        check_tables(folder)
        assert outside(tmp_path / "inner") == before

    fuzz(lambda rng: altered(content, rng), read)


@pytest.mark.parametrize("folder", ["results", "efficiency"])
def test_committed_files_of_any_damage(tmp_path: Path, folder: str) -> None:
    original = min((LEADERBOARDS / folder).glob("*.json"))
    content, path = original.read_bytes(), tmp_path / "r.json"

    def make(rng) -> bytes:
        return damaged(content, rng) if rng.random() < 0.3 else as_json(altered(json.loads(content), rng))

    def read(found: bytes) -> None:
        path.write_bytes(found)
        (Profile if folder == "efficiency" else Result).load(path)

    fuzz(make, read)


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "records.npz"
    records = Records.of(["a", "b"], ROWS)
    records.save(path)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        assert Records.load(path).sha256() == records.sha256()

    fuzz(from_bytes([path.read_bytes()]), read)


def test_journals(tmp_path: Path) -> None:
    path = tmp_path / "records.journal"
    with Journal(path, "run") as journal:
        journal.append(["a"], ROWS[:1])
        journal.append(["b"], ROWS[1:])
    whole = Records.of(["a", "b"], ROWS)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with Journal(path, "run") as journal:
            found = journal.records()
        assert found.sha256() == whole.select(found.ids.tolist()).sha256()

    fuzz(from_bytes([path.read_bytes()]), read)


def test_published_numbers(tmp_path: Path) -> None:
    lines = (LEADERBOARDS / "published.csv").read_text().splitlines()[:6]
    path = tmp_path / "published.csv"

    def make(rng) -> bytes:
        cells = [line.split(",") for line in lines]
        row = cells[int(rng.integers(len(cells)))]
        row[int(rng.integers(len(row)))] = str(ODD[int(rng.integers(len(ODD)))])
        text = "\n".join(",".join(row) for row in cells).encode("utf-8", "surrogatepass")
        return damaged(text, rng) if rng.random() < 0.5 else text

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_published(path)
        write_tables(tmp_path)
        check_tables(tmp_path)

    write_text(path, "\n".join(lines))
    fuzz(make, read)
