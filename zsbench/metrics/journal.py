"""Records on disk while they are made, so that no death of the process loses or repeats an image."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.records import Records
from zsbench.utils.files import sync_folder

if sys.platform != "win32":
    import fcntl

_MAGIC, _EARLIER = b"ZSJ3", (b"ZSJ1", b"ZSJ2")
_HEAD = struct.Struct("<4sI")  # magic, length of the payload
_CHECK = struct.Struct("<I")  # crc32 of all that precedes it in the frame
Lap = Mapping[str, Any]
"""What is told of a batch beside its rows, as JSON has it."""


class Journal:
    """Records on disk while they are made: whatever kills the process, a batch is kept wholly or not at all.

    The file is a sequence of frames (magic, length, zlib-compressed payload, crc32). The first holds the
    fingerprint, a string that says which run this is; each other one holds a batch of images with what is told of it, and
    is on the disk when `append` returns. Opening an existing journal takes up all whole frames and drops what a killed
    process left of the last one.

    Raises `UserError` for a file that is no journal, is damaged elsewhere than at its end, belongs to a run
    with another fingerprint, is being written by another process, or cannot be written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._ids: list[str] = []
        self._rows: list[Ints] = []
        self.laps: list[Lap] = []
        """What was noted of each batch beside its rows."""
        self._end = 0
        self.done: set[str] = set()
        """Ids of the images recorded; grows with `append`."""
        try:
            self._file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)), "r+")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}.") from error
        try:
            _lock(self._file, path)
            self._recover(self._file.readall(), fingerprint)
        except BaseException:
            self._file.close()
            raise

    def append(
        self,
        ids: Sequence[str],
        rows: Sequence[NDArray[np.integer[Any]]],
        lap: Lap = MappingProxyType({}),
        notes: Sequence[Any] = (),
    ) -> None:
        """Record images with the rows that `count` gave for each; an id recorded before is a `UserError`.

        `lap`: what is told of them together. `notes`: what else is known of each, which stays on the disk alone. Both are
        as JSON holds it.
        """
        again = [image_id for image_id in ids if image_id in self.done]
        if again:
            raise UserError(
                f"image {again[0]!r} is already recorded in {self.path}: ids must be unique within a split."
            )
        Records.of(ids, rows)  # nothing inconsistent reaches the disk
        if ids:
            self._write(_frame(_pack(ids, rows, lap, notes)))
            self._take(ids, rows, lap)

    def records(self) -> Records:
        """Everything recorded so far, in the order of arrival. Costs time in proportion to all of it."""
        return Records.of(self._ids, self._rows)

    def notes(self) -> Iterator[tuple[str, Any]]:
        """The id and the note of each image that was recorded with one, in the order of arrival, read from the disk."""
        self._file.seek(0)
        for frame in _whole_frames(self._file.read(self._end))[0][1:]:
            ids, *_, notes = _unpack(zlib.decompress(frame))
            yield from zip(ids, notes, strict=True) if notes else ()

    def close(self) -> None:
        """Let another process have the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, ids: Sequence[str], rows: Sequence[NDArray[np.integer[Any]]], lap: Lap) -> None:
        self.laps.append(lap)
        self._ids.extend(map(str, ids))
        self._rows.extend(table.astype(np.int64) for table in rows)
        self.done.update(self._ids[-len(ids) :])

    def _write(self, frame: bytes) -> None:
        try:
            self._file.truncate(self._end)  # what an interrupted write may have left
            self._file.seek(self._end)
            rest = memoryview(frame)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror or error}. {len(self.done)} images are recorded: "
                "put this right and run again with --resume."
            ) from error
        self._end += len(frame)

    def _recover(self, data: bytes, fingerprint: str) -> None:
        if data.startswith(_EARLIER):
            raise UserError(f"{self.path} was begun by an earlier version of zsbench: delete it to start again.")
        if not data.startswith(_MAGIC[: len(data)]):
            raise UserError(f"{self.path} is no journal of zsbench: choose another output folder or move it away.")
        frames, self._end = _whole_frames(data)
        if any(_read_frame(data, at) for at in _places(data, _MAGIC, self._end)):
            raise UserError(f"{self.path} is damaged at byte {self._end}, before its end. Delete it to start again.")
        if not frames:
            self._write(_frame(fingerprint.encode("utf-8", "surrogatepass")))
            sync_folder(self.path.parent)
            return
        stored = zlib.decompress(frames[0])
        if stored != fingerprint.encode("utf-8", "surrogatepass"):
            recorded = stored.decode("utf-8", "backslashreplace")
            raise UserError(
                f"{self.path} belongs to another run: it was started as {recorded!r}, "
                f"this is {fingerprint!r}. Repeat that run's options to resume it, choose another output "
                "folder, or delete it to start again."
            )
        self._file.truncate(self._end)
        try:
            for frame in frames[1:]:
                self._take(*_unpack(zlib.decompress(frame))[:3])
        except (ValueError, TypeError, struct.error, RecursionError) as error:  # whole frames, but in no order of ours
            raise UserError(f"{self.path} is damaged ({error}). Delete it to start again.") from None
        self.records()  # an image recorded twice is an error now, not at the end of the run


def journal_path(folder: Path, process: int = 0) -> Path:
    """Where a process of a run keeps what it has recorded."""
    return folder / (f"records.journal.{process}" if process else "records.journal")


def journal_paths(folder: Path) -> list[Path]:
    """The journals in an output folder, of however many processes."""
    return sorted(folder.glob("records.journal*"))


def read_journals(folder: Path, fingerprint: str) -> tuple[Records, list[Lap]]:
    """What all the journals in a folder hold, by arrival, and what was told of each batch; an image in two of them is a
    `UserError`."""
    parts, laps = [], []
    for path in journal_paths(folder):
        with Journal(path, fingerprint) as journal:
            parts.append(journal.records())
            laps += journal.laps
    return Records.merge(parts), laps


def read_notes(folder: Path, fingerprint: str) -> Iterator[tuple[str, Any]]:
    """`Journal.notes` of all the journals in a folder."""
    for path in journal_paths(folder):
        with Journal(path, fingerprint) as journal:
            yield from journal.notes()


def _lock(file: FileIO, path: Path) -> None:
    """Keep other processes from writing; the system lets go when this one ends, however it ends."""
    if sys.platform == "win32":
        return
    try:
        # Held by the process, not the open file: workers that outlive a killed parent must not keep it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise UserError(f"another process is writing {path}: wait for it, or choose another output folder.") from None
    except OSError:
        return  # a file system without locks


def _pack(ids: Sequence[str], rows: Sequence[NDArray[np.integer[Any]]], lap: Lap, notes: Sequence[Any]) -> bytes:
    names = json.dumps([list(ids), [len(table) for table in rows], dict(lap), list(notes)]).encode()
    return struct.pack("<I", len(names)) + names + np.concatenate(rows).astype("<i8").tobytes()


def _unpack(payload: bytes) -> tuple[list[str], list[Ints], Lap, list[Any]]:
    (length,) = struct.unpack_from("<I", payload)
    ids, lengths, lap, notes = json.loads(payload[4 : 4 + length])
    table = np.frombuffer(payload, dtype="<i8", offset=4 + length).reshape(-1, 3).astype(np.int64)
    return ids, np.split(table, np.cumsum(lengths)[:-1]), lap, notes


def _frame(payload: bytes) -> bytes:
    packed = zlib.compress(payload, 1)  # a tenth larger than at best, in less than half of the time
    frame = _HEAD.pack(_MAGIC, len(packed)) + packed
    return frame + _CHECK.pack(zlib.crc32(frame))


def _read_frame(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The packed payload and the end of the frame that begins at byte `at`, or None where there is no whole one."""
    if at + _HEAD.size > len(data):
        return None
    magic, length = _HEAD.unpack_from(data, at)
    check = at + _HEAD.size + length
    end = check + _CHECK.size
    if magic != _MAGIC or end > len(data) or _CHECK.unpack_from(data, check) != (zlib.crc32(data[at:check]),):
        return None
    return data[at + _HEAD.size : check], end


def _whole_frames(data: bytes) -> tuple[list[bytes], int]:
    """Packed payloads of the unbroken run of frames from the beginning, and where it ends."""
    payloads, end = [], 0
    while frame := _read_frame(data, end):
        payload, end = frame
        payloads.append(payload)
    return payloads, end


def _places(data: bytes, word: bytes, start: int) -> Iterator[int]:
    at = data.find(word, start)
    while at >= 0:
        yield at
        at = data.find(word, at + 1)
