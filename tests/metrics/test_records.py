"""Counting against loops over pixels, records in any order, and journals killed at any byte."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError
from zsbench.metrics.counts import count, count_on_device
from zsbench.metrics.journal import Journal
from zsbench.metrics.records import COLUMNS, Records

ROOT = Path(__file__).parents[2]
Rows = NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def quick_disk() -> Iterator[None]:
    """Thousands of small writes need not wait for the disk; the runs that are killed are processes of their own, and do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def counted_by_hand(label: NDArray[np.integer], prediction: NDArray[np.integer]) -> list[list[int]]:
    tp: Counter[int] = Counter()
    pred: Counter[int] = Counter()
    gt: Counter[int] = Counter()
    for true, guess in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true < 0:
            continue
        gt[true] += 1
        if guess >= 0:
            pred[guess] += 1
        if guess == true:
            tp[true] += 1
    return [[c, tp[c], pred[c], gt[c]] for c in sorted(set(pred) | set(gt))]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Number of classes, label, prediction; few classes are in use, so that agreement is not rare."""
    num_classes = draw(st.sampled_from([1, 2, 21, 70, 256, 847, 30_000]))
    used = st.sampled_from(draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=4)))
    shape = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    size = shape[0] * shape[1]
    label = draw(st.lists(used | st.sampled_from([IGNORE, UNLABELLED, -7]), min_size=size, max_size=size))
    prediction = draw(st.lists(used | st.sampled_from([-1, -3]), min_size=size, max_size=size))
    return num_classes, *(np.array(x, dtype=np.int32).reshape(shape) for x in (label, prediction))


def some_rows(image_id: str, num_classes: int = 9) -> Rows:
    """The same rows for the same id, always; none for some."""
    rng = random.Random(ascii(image_id))
    label = np.array([rng.randrange(-1, num_classes) for _ in range(rng.choice([0, 12, 40]))], dtype=np.int32)
    prediction = np.array([rng.choice([c, rng.randrange(num_classes)]) for c in label.tolist()], dtype=np.int32)
    return count(label, prediction, num_classes)


def some_records(ids: list[str]) -> Records:
    return Records.of(ids, [some_rows(image_id) for image_id in ids])


ids_lists = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=[]), max_size=6), unique=True)


class TestCount:
    @settings(deadline=None)
    @given(scenes())
    def test_equals_a_loop_over_pixels(self, scene: tuple[int, NDArray[np.int32], NDArray[np.int32]]) -> None:
        num_classes, label, prediction = scene
        rows = count(label, prediction, num_classes)
        assert rows.dtype == np.int64 and rows.shape[1:] == (4,)
        assert rows.tolist() == counted_by_hand(label, prediction)
        on_device = count_on_device(torch.from_numpy(label), torch.from_numpy(prediction), num_classes)
        assert on_device.dtype == np.int64 and on_device.tolist() == rows.tolist()

    @pytest.mark.parametrize("num_classes", [3, 40, 171, 300, 847])
    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
    def test_both_ways_of_counting_agree(self, num_classes: int, dtype: type) -> None:
        rng = np.random.default_rng(num_classes)
        label = rng.integers(-2, num_classes, (70, 91)).astype(dtype)
        prediction = np.where(rng.random(label.shape) < 0.5, label, rng.integers(-1, num_classes, label.shape))
        assert count(label, prediction, num_classes).tolist() == counted_by_hand(label, prediction)

    def test_unsigned_and_strided_arrays(self) -> None:
        label = np.arange(48, dtype=np.uint8).reshape(6, 8)[::2, ::-1] % 5
        assert count(label, label.copy(), 5)[:, 1].sum() == label.size

    def test_what_is_predicted_on_ignored_pixels_does_not_matter(self) -> None:
        label = np.array([[0, IGNORE, UNLABELLED, 1]], dtype=np.int32)
        rows = [count(label, np.array([[0, a, b, 1]]), 3).tolist() for a in (-1, 0, 2) for b in (-1, 1)]
        assert rows == [[[0, 1, 1, 1], [1, 1, 1, 1]]] * len(rows)

    def test_abstaining_is_an_error(self) -> None:
        assert count(np.array([0, 0]), np.array([0, -1]), 1).tolist() == [[0, 1, 1, 2]]

    @pytest.mark.parametrize("num_classes", [3, 500])
    def test_values_outside_the_classes_are_refused(self, num_classes: int) -> None:
        good, bad = np.zeros((8, 8), np.int32), np.full((8, 8), num_classes, np.int32)
        with pytest.raises(UserError, match=rf"label holds the value {num_classes}: expected class indices 0\.\."):
            count(bad, good, num_classes)
        with pytest.raises(UserError, match=rf"prediction holds the value {num_classes}"):
            count(good, bad, num_classes)

    def test_shapes_and_dtypes_are_checked(self) -> None:
        with pytest.raises(UserError, match=r"shape \(2, 3\), its prediction \(3, 2\)"):
            count(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)
        with pytest.raises(UserError, match="dtype float64"):
            count(np.zeros(3), np.zeros(3, int), 2)


class TestRecords:
    @settings(deadline=None)
    @given(ids_lists, st.randoms(use_true_random=False))
    def test_order_of_arrival_does_not_matter(self, ids: list[str], rng: random.Random) -> None:
        whole = some_records(ids)
        shuffled = rng.sample(ids, len(ids))
        cuts = sorted(rng.randrange(len(ids) + 1) for _ in range(3))
        parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
        merged = Records.merge(map(some_records, parts))
        assert merged.sha256() == whole.sha256()
        assert sorted(merged.ids.tolist()) == sorted(ids)
        for name in ("ids", *COLUMNS):
            assert np.array_equal(getattr(merged.sorted(), name), getattr(whole.sorted(), name))

    def test_canonical_order(self) -> None:
        ordered = some_records(["b", "a10", "a9", ""]).sorted()
        assert ordered.ids.tolist() == ["", "a10", "a9", "b"]
        pairs = list(zip(ordered.image.tolist(), ordered.cls.tolist(), strict=True))
        assert pairs == sorted(pairs)

    def test_any_change_changes_the_hash(self) -> None:
        base = some_records(["a", "b", "c"])
        assert base.cls.size
        hashes = {base.sha256(), some_records(["a", "b"]).sha256(), Records.empty().sha256()}
        hashes.add(Records.of(["a", "b", "d"], [some_rows(i) for i in "abc"]).sha256())
        for name in ("pred", "gt"):
            columns = {column: getattr(base, column).copy() for column in COLUMNS}
            columns[name][0] += 1
            hashes.add(Records(base.ids, **columns).sha256())
        assert len(hashes) == 6

    def test_an_image_in_two_parts_is_named(self) -> None:
        with pytest.raises(UserError, match="recorded twice: 'b'"):
            Records.merge([some_records(["a", "b"]), some_records(["b", "c"])])

    def test_images_without_rows_are_kept(self) -> None:
        empty = np.empty((0, 4), np.int64)
        records = Records.of(["void", "x", "nothing"], [empty, np.array([[2, 1, 1, 1]]), empty])
        assert len(records.ids) == 3 and records.image.tolist() == [1]
        assert len(Records.merge([Records.empty(), records, Records.empty()]).ids) == 3

    @settings(deadline=None)
    @given(ids_lists, st.randoms(use_true_random=False))
    def test_select(self, ids: list[str], rng: random.Random) -> None:
        wanted = rng.sample(ids, rng.randrange(len(ids) + 1))
        chosen = some_records(ids).select(wanted)
        assert chosen.ids.tolist() == wanted
        assert chosen.sha256() == some_records(wanted).sha256()

    def test_select_names_what_is_missing(self) -> None:
        with pytest.raises(UserError, match=r"no record of image 'z' \(1 of 2"):
            some_records(["a", "b"]).select(["a", "z"])

    @settings(deadline=None)
    @given(ids_lists)
    def test_dense_holds_every_row(self, ids: list[str]) -> None:
        table = some_records(ids).dense(9)
        assert table.shape == (len(ids), 9, 3) and table.dtype == np.int64
        for image_id, of_image in zip(ids, table, strict=True):
            rows = [[c, *of_image[c].tolist()] for c in range(9) if of_image[c].any()]
            assert rows == some_rows(image_id).tolist()

    def test_a_class_too_many_is_refused(self) -> None:
        with pytest.raises(UserError, match="class 8, but there are 5 classes"):
            Records.of(["a"], [np.array([[8, 0, 1, 0]])]).dense(5)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([[0, 2, 1, 2]], "inconsistent: expected 0 <= tp"),
            ([[0, -1, 1, 2]], "inconsistent"),
            ([[-1, 0, 1, 2]], "inconsistent"),
            ([[0, 0, 0, 0]], "pred \\+ gt > 0"),
            ([[0, 1, 1, 1], [0, 0, 1, 0]], "two rows for one class"),
        ],
    )
    def test_nonsense_is_no_record(self, rows: list[list[int]], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Records.of(["a"], [np.array(rows)])
        with pytest.raises(ValueError, match="2 image ids, but rows of 1"):
            Records.of(["a", "b"], [np.array(rows)])

    def test_worst_images_first(self) -> None:
        good, bad = np.array([[0, 9, 10, 10]]), np.array([[0, 1, 10, 10], [1, 0, 0, 5]])
        records = Records.of(["good", "bad", "void"], [good, bad, np.empty((0, 4), np.int64)])
        assert records.image_miou().tolist()[:2] == pytest.approx([100 * 9 / 11, 50 / 19])
        assert [image_id for image_id, _ in records.worst()] == ["bad", "good"]
        assert records.worst(1) == [("bad", pytest.approx(50 / 19))]


class TestFile:
    @settings(max_examples=30, deadline=None)
    @given(ids=ids_lists)
    def test_save_and_load(self, tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
        folder = tmp_path_factory.mktemp("records")
        first, second = folder / "one", folder / "two.npz"
        some_records(ids).save(first)
        some_records(ids[::-1]).save(second)
        assert first.read_bytes() == second.read_bytes()
        assert Records.load(first).sha256() == some_records(ids).sha256()
        assert sorted(os.listdir(folder)) == ["one", "two.npz"]

    def test_truncated_anywhere(self, tmp_path: Path) -> None:
        path = tmp_path / "records.npz"
        some_records(["a", "b", "c"]).save(path)
        whole = path.read_bytes()
        for size in {*range(0, len(whole), 11), len(whole) - 1}:
            path.write_bytes(whole[:size])
            with pytest.raises(UserError, match=r"records\.npz"):
                Records.load(path)

    def test_a_flipped_bit_is_noticed_or_harmless(self, tmp_path: Path) -> None:
        path, records = tmp_path / "records.npz", some_records(["a", "b", "c"])
        records.save(path)
        whole = path.read_bytes()
        for at in range(0, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            try:
                assert Records.load(path).sha256() == records.sha256()
            except UserError as error:
                assert str(path) in str(error)

    def test_counts_changed_by_hand_are_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "records.npz"
        some_records(["a", "b", "c"]).save(path)
        arrays = dict(np.load(path))
        arrays["gt"][0] += 1
        np.savez(path, **arrays)
        with pytest.raises(UserError, match="do not match its checksum"):
            Records.load(path)
        arrays["gt"][0] = -1
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=r"records\.npz is damaged: records are inconsistent"):
            Records.load(path)

    def test_other_files(self, tmp_path: Path) -> None:
        np.save(tmp_path / "array.npy", np.arange(3))
        np.savez(tmp_path / "other.npz", a=np.arange(3))
        np.savez(tmp_path / "code.npz", schema=np.array([print], dtype=object))
        (tmp_path / "text").write_text("hello")
        for name in ("array.npy", "other.npz", "code.npz", "text"):
            with pytest.raises(UserError, match=f"{name} is no records file"):
                Records.load(tmp_path / name)
        with pytest.raises(UserError, match=r"cannot read .*absent"):
            Records.load(tmp_path / "absent")

    def test_unwritable(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot write"):
            Records.empty().save(tmp_path / "no such folder" / "records.npz")


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
                journal.append(["e"], [np.array([[0, 5, 1, 1]])])
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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, __file__, str(path)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=path.parent
    )


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


def test_numbers_need_no_torch() -> None:
    code = "import sys, zsbench.metrics.intervals; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
