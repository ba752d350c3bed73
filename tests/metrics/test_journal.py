"""Journals killed at any byte."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toys import ids_lists, some_records, some_rows

from zsbench.errors import UserError
from zsbench.metrics.journal import Journal, journal_path, read_journals, read_notes

ROOT = Path(__file__).parents[2]
Rows = NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    """Thousands of small writes need not wait for the disk; the runs that are killed are processes of their own, and do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def batches(number: int, size: int = 3) -> list[list[str]]:
    ids = [f"image {i:04d}" for i in range(number)]
    return [ids[at : at + size] for at in range(0, number, size)]


def fill(journal: Journal, work: list[list[str]]) -> None:
    for ids in work:
        if not journal.done.issuperset(ids):
            journal.append(ids, [some_rows(image_id) for image_id in ids])


class TestJournal:
    @settings(max_examples=30, deadline=None)
    @given(work=st.lists(ids_lists, max_size=3))
    def test_reopening_gives_what_was_appended(
        self, tmp_path_factory: pytest.TempPathFactory, work: list[list[str]]
    ) -> None:
        work = [[f"{number} {image_id}" for image_id in ids] for number, ids in enumerate(work)]
        path = tmp_path_factory.mktemp("journal") / "records.journal"
        with Journal(path, "a run \ud800") as journal:
            fill(journal, work)
            before = journal.records()
        with Journal(path, "a run \ud800") as journal:
            assert journal.done == {image_id for ids in work for image_id in ids}
            assert journal.records().sha256() == before.sha256() == some_records(list(chain(*work))).sha256()
            assert journal.records().ids.tolist() == list(chain(*work))

    def test_what_is_noted_of_a_batch_is_kept_with_it(self, tmp_path: Path) -> None:
        notes = [{"seconds": 1.5}, {}, {"seconds": 2.0, "of": ["a"]}]
        for ids, note in zip(batches(9), notes, strict=True):
            with Journal(journal_path(tmp_path), "run") as journal:
                journal.append(ids, [some_rows(image_id) for image_id in ids], note)
        records, found = read_journals(tmp_path, "run")
        assert found == notes and len(records.ids) == 9

    def test_torn_at_any_byte(self, tmp_path: Path) -> None:
        path, work = tmp_path / "records.journal", batches(6, 2)
        ends = []
        with Journal(path, "run") as journal:
            ends.append(path.stat().st_size)
            for ids in work:
                fill(journal, [ids])
                ends.append(path.stat().st_size)
        whole = path.read_bytes()
        for size in range(len(whole) + 1):
            path.write_bytes(whole[:size])
            with Journal(path, "run") as journal:
                kept = max(sum(end <= size for end in ends) - 1, 0)
                assert journal.done == set(chain(*work[:kept]))
                assert path.stat().st_size == ends[kept]
                fill(journal, work)
            assert path.read_bytes() == whole

    @settings(max_examples=50, deadline=None)
    @given(size=st.integers(0, 10_000), garbage=st.binary(max_size=40), zeros=st.integers(0, 40))
    def test_a_tail_of_garbage_is_dropped(
        self, tmp_path_factory: pytest.TempPathFactory, size: int, garbage: bytes, zeros: int
    ) -> None:
        path, work = tmp_path_factory.mktemp("journal") / "records.journal", batches(6, 2)
        with Journal(path, "run") as journal:
            least = path.stat().st_size
            fill(journal, work)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(least, size % len(whole))] + garbage + bytes(zeros))
        with Journal(path, "run") as journal:
            fill(journal, work)
            assert journal.records().sha256() == some_records(list(chain(*work))).sha256()
        assert path.read_bytes() == whole

    def test_damage_before_the_end_is_no_torn_tail(self, tmp_path: Path) -> None:
        path = tmp_path / "records.journal"
        with Journal(path, "run") as journal:
            first = path.stat().st_size
            fill(journal, batches(6, 2))
        whole = path.read_bytes()
        for at in (0, 5, 14, first, first + 3, first + 20):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(UserError, match=r"damaged at byte|no journal"):
                Journal(path, "run")
        path.write_bytes(whole + whole[first:])
        with pytest.raises(UserError, match="recorded twice"):
            Journal(path, "run")

    def test_another_file_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("years of work")
        with pytest.raises(UserError, match="is no journal"):
            Journal(path, "run")
        assert path.read_text() == "years of work"
        with pytest.raises(UserError, match="cannot write"):
            Journal(tmp_path, "run")

    def test_a_journal_of_an_earlier_version_is_refused(self, tmp_path: Path) -> None:
        path, payload = tmp_path / "records.journal", zlib.compress(b"run")
        frame = b"ZSJ1" + len(payload).to_bytes(4, "little") + payload
        path.write_bytes(frame + zlib.crc32(frame).to_bytes(4, "little"))
        with pytest.raises(UserError, match="begun by an earlier version of zsbench: delete it to start again"):
            Journal(path, "run")
        assert path.read_bytes().startswith(frame)

    def test_another_run_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "records.journal"
        with Journal(path, "zegclip, seed 0") as journal:
            fill(journal, batches(4))
        whole = path.read_bytes()
        with pytest.raises(UserError, match=r"started as 'zegclip, seed 0', this is 'zegclip, seed 1'.*delete"):
            Journal(path, "zegclip, seed 1")
        assert path.read_bytes() == whole

    def test_an_id_again_is_refused(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "records.journal", "run") as journal:
            journal.append(["a", "b"], [some_rows("a"), some_rows("b")])
            with pytest.raises(UserError, match="'b' is already recorded"):
                journal.append(["c", "b"], [some_rows("c"), some_rows("b")])
            with pytest.raises(UserError, match="recorded twice: 'd'"):
                journal.append(["d", "d"], [some_rows("d"), some_rows("d")])
            with pytest.raises(UserError, match="inconsistent"):
                journal.append(["e"], [np.array([[0, 5, -1]])])
            assert journal.done == {"a", "b"}
        with Journal(tmp_path / "records.journal", "run") as journal:
            assert journal.done == {"a", "b"}

    def test_an_append_is_on_the_disk_when_it_returns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, synced = tmp_path / "records.journal", []
        with Journal(path, "run") as journal:
            monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.stat().st_size))
            journal.append(["a"], [some_rows("a")])
            assert synced == [path.stat().st_size]

    def test_a_full_disk_loses_nothing(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        work = batches(30)
        with Journal(tmp_path / "records.journal", "run") as journal:
            fill(journal, work[:5])
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 300, hard))
                with pytest.raises(UserError, match=r"15 images are recorded.*--resume"):
                    fill(journal, [list(chain(*work[5:]))])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            before = journal.path.stat().st_size  # part of a frame, longer than the next one
            fill(journal, [["small"]])
            assert journal.path.stat().st_size < before
            fill(journal, work)
        with Journal(tmp_path / "records.journal", "run") as journal:
            assert journal.records().sha256() == some_records(["small", *chain(*work)]).sha256()


RUN = """
import sys, time, importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("helpers", sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
sys.modules["helpers"] = helpers
spec.loader.exec_module(helpers)
from zsbench.metrics.journal import Journal
with Journal(Path(sys.argv[2]), "run") as journal:
    for ids in helpers.batches(450):
        if not journal.done.issuperset(ids):
            helpers.fill(journal, [ids])
            print(len(journal.done), flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", RUN, __file__, str(path)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=path.parent
    )


class TestNotes:
    def test_notes_are_read_again_with_their_images(self, tmp_path: Path) -> None:
        path = journal_path(tmp_path)
        with Journal(path, "run") as journal:
            journal.append(["a", "b"], [some_rows("a"), some_rows("b")], notes=[{"x": [1, 2]}, {}])
            journal.append(["c"], [some_rows("c")])
            assert dict(journal.notes()) == {"a": {"x": [1, 2]}, "b": {}}
            journal.append(["d"], [some_rows("d")], notes=["\ud800"])  # reading has not moved where it writes
        assert dict(read_notes(tmp_path, "run")) == {"a": {"x": [1, 2]}, "b": {}, "d": "\ud800"}
        assert read_journals(tmp_path, "run")[0].sha256() == some_records(list("abcd")).sha256()


class TestKilled:
    def test_a_killed_run_resumes_to_the_same_records(self, tmp_path: Path) -> None:
        path, reference = tmp_path / "killed.journal", tmp_path / "whole.journal"
        acknowledged = 0
        for lines in (1, 7, 23):
            process = start(path)
            assert process.stdout
            for _ in range(lines):
                acknowledged = int(process.stdout.readline() or acknowledged)
            process.kill()
            rest = process.communicate()[0].split()
            acknowledged = int(rest[-1]) if rest else acknowledged
            with Journal(path, "run") as journal:
                assert acknowledged <= len(journal.done)
        process = start(path)
        assert process.communicate()[1] == "" and process.returncode == 0
        with Journal(reference, "run") as whole, Journal(path, "run") as resumed:
            fill(whole, batches(450))
            whole.records().save(tmp_path / "whole.npz")
            resumed.records().save(tmp_path / "killed.npz")
        assert path.read_bytes() == reference.read_bytes()
        assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "killed.npz").read_bytes()

    @pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
    def test_two_processes_do_not_write_one_journal(self, tmp_path: Path) -> None:
        with Journal(tmp_path / "records.journal", "run"):
            process = start(tmp_path / "records.journal")
            assert "another process is writing" in process.communicate()[1]


def test_whole_frames_in_another_order_are_damage(tmp_path):
    path = tmp_path / "records.journal"
    with Journal(path, "run") as journal:
        head = path.stat().st_size
        journal.append(["a"], [np.array([[0, 0, 3]])])
    content = path.read_bytes()
    for shuffled in (content[head:] + content[:head], content[:head] * 2, content[:head] + content[:head]):
        path.write_bytes(shuffled)
        with pytest.raises(UserError, match=r"records\.journal (is damaged|belongs to another run)"):
            Journal(path, "run")
