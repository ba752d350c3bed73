"""Records in any order, from any process, of this version and the one before; and their files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toys import ids_lists, some_records, some_rows

from zsbench.errors import UserError
from zsbench.metrics.records import Records

ROOT = Path(__file__).parents[2]
Rows = NDArray[np.int64]


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
        assert merged.sorted().ids.tolist() == whole.sorted().ids.tolist()
        assert np.array_equal(merged.sorted().table, whole.sorted().table)

    def test_canonical_order(self) -> None:
        ordered = some_records(["b", "a10", "a9", ""]).sorted()
        assert ordered.ids.tolist() == ["", "a10", "a9", "b"]
        rows = ordered.table[:3].T.tolist()
        assert rows == sorted(rows) and len(rows) > 20

    def test_any_change_changes_the_hash(self) -> None:
        base = some_records(["a", "b", "c"])
        assert base.table.size
        hashes = {base.sha256(), some_records(["a", "b"]).sha256(), Records.empty().sha256()}
        hashes.add(Records.of(["a", "b", "d"], [some_rows(i) for i in "abc"]).sha256())
        for column in (1, 2, 3):
            table = base.table.copy()
            table[column, -1] += 100
            hashes.add(Records(base.ids, table).sha256())
        assert len(hashes) == 7

    def test_an_image_in_two_parts_is_named(self) -> None:
        with pytest.raises(UserError, match="recorded twice: 'b'"):
            Records.merge([some_records(["a", "b"]), some_records(["b", "c"])])

    def test_images_without_rows_are_kept(self) -> None:
        empty = np.empty((0, 3), np.int64)
        records = Records.of(["void", "x", "nothing"], [empty, np.array([[2, 1, 1]]), empty])
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

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ([[0], [0], [0], [0]], "pixels > 0"),
            ([[0], [-1], [0], [1]], "truth >= 0"),
            ([[0], [0], [-2], [1]], "prediction >= -1"),
            ([[1], [0], [0], [1]], "out of range"),
            ([[-1], [0], [0], [1]], "out of range"),
            ([[0], [2**40], [2**40], [1]], "out of range"),
            ([[0, 0], [1, 1], [2, 2], [3, 4]], "two rows for one class"),
            ([[0], [0], [2], [1], [2]], "expected 0 <= tp"),
            ([[0], [0], [-1], [1], [2]], "expected 0 <= tp"),
            ([[0], [0], [0], [0], [0]], r"pred \+ gt > 0"),
            ([[0], [-1], [0], [1], [2]], "out of range"),
            ([[0, 0], [0, 0], [1, 0], [1, 1], [1, 0]], "two rows for one class"),
            ([[0], [0], [1]], "records need the columns image, truth, prediction, pixels"),
        ],
    )
    def test_nonsense_is_no_record(self, table: list[list[int]], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Records(np.array(["a"]), np.array(table))

    def test_as_many_rows_as_images(self) -> None:
        with pytest.raises(ValueError, match="2 image ids, but rows of 1"):
            Records.of(["a", "b"], [np.array([[0, 0, 1]])])

    @settings(deadline=None)
    @given(ids_lists)
    def test_confusion_sums_the_images(self, ids: list[str]) -> None:
        expected = np.zeros((9, 10), int)
        for image_id in ids:
            for truth, prediction, pixels in some_rows(image_id).tolist():
                expected[truth, prediction if prediction >= 0 else 9] += pixels
        found = some_records(ids).confusion(9)
        assert found.dtype == np.int64 and np.array_equal(found, expected)

    def test_a_class_too_many_is_refused(self) -> None:
        with pytest.raises(UserError, match="class 8, but there are 5 classes"):
            Records.of(["a"], [np.array([[0, 8, 1]])]).confusion(5)

    def test_worst_images_first(self) -> None:
        good, bad = np.array([[0, 0, 9], [0, -1, 1]]), np.array([[0, 0, 1], [0, 2, 9], [1, 0, 5]])
        records = Records.of(["good", "bad", "void"], [good, bad, np.empty((0, 3), np.int64)])
        assert records.worst() == [("bad", pytest.approx(100 / 15 / 3)), ("good", pytest.approx(90))]
        assert records.worst(1) == records.worst()[:1]


def counts_only(records: Records) -> Records:
    """What the version before recorded: the counts of each class, no confusion."""
    counts = records.class_counts()
    return Records(records.ids, np.stack([counts.image, counts.cls, counts.tp, counts.pred, counts.gt]))


def save_as_before(records: Records, path: Path) -> str:
    """The file and the hash of the version before, for records without confusion."""
    ordered = records.sorted()
    digest = hashlib.sha256(json.dumps(["zsbench-records-1", ordered.ids.tolist()]).encode())
    columns = dict(zip(("image", "cls", "tp", "pred", "gt"), ordered.table, strict=True))
    for column in columns.values():
        digest.update(column.astype("<i8").tobytes())
    np.savez_compressed(path, schema="zsbench-records-1", sha256=digest.hexdigest(), ids=ordered.ids, **columns)
    return digest.hexdigest()


class TestEarlierVersion:
    """Counts without confusion: read, merged and compared as what they are."""

    def test_the_file_is_read(self, tmp_path: Path) -> None:
        records = some_records(["b", "a", "c"])
        digest = save_as_before(counts_only(records), tmp_path / "records.npz")
        old = Records.load(tmp_path / "records.npz")
        assert old.sha256() == digest and not old.has_confusion
        for name in ("image", "cls", "tp", "pred", "gt"):
            assert np.array_equal(getattr(old.class_counts(), name), getattr(records.sorted().class_counts(), name))
        assert old.worst() == records.worst()

    def test_confusion_is_no_longer_known(self) -> None:
        old = counts_only(some_records(["a"]))
        with pytest.raises(UserError, match=r"no confusion.*earlier version of zsbench: evaluate again"):
            old.confusion(9)
        with pytest.raises(UserError, match="only some of the records hold confusion"):
            Records.merge([old, some_records(["b"])])

    @settings(deadline=None)
    @given(ids_lists, st.randoms(use_true_random=False))
    def test_order_of_arrival_does_not_matter(self, ids: list[str], rng: random.Random) -> None:
        wanted = rng.sample(ids, len(ids))
        old = counts_only(some_records(ids))
        parts = [counts_only(some_records([image_id])) for image_id in wanted]
        assert Records.merge([old.select([]), *parts]).sha256() == old.select(wanted).sha256() == old.sha256()


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
        arrays["pixels"][0] += 1
        np.savez(path, **arrays)
        with pytest.raises(UserError, match="do not match its checksum"):
            Records.load(path)
        arrays["pixels"][0] = 0
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


def test_numbers_need_no_torch() -> None:
    modules = ", ".join(f"zsbench.metrics.{path.stem}" for path in (ROOT / "zsbench" / "metrics").glob("*.py"))
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
