"""Unpacking downloads safely: nothing outside of the folder, no links, no absurd sizes, no originals overwritten."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from zsbench.errors import UserError
from zsbench.utils.files import write_atomically

MAX_RATIO = 200
"""Bytes unpacked for each byte packed; images and masks stay far below it, a bomb does not."""
MAX_MEMBERS = 5_000_000
MAX_BYTES = 1 << 40
SMALL = 64 << 20
"""Below this many bytes the ratio says nothing: a few blank masks pack very well."""

Advance = Callable[[int], None]
"""Told how many members are done."""


@dataclass(frozen=True)
class Member:
    """One regular file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Unpacked:
    """What unpacking did."""

    written: int
    kept: int


def unpack(archive: Path, into: Path, advance: Advance = lambda done: None) -> Unpacked:
    """Unpack a zip or tar archive below `into`; files that are there already, of equal size, are kept.

    All names and sizes are checked before the first byte is written. Raises `UserError` naming the archive and the
    member for a name that leads out of `into`, a link or device, an absurd size, a full disk, a damaged archive, and a
    file that is there already with another size (it is left as it is).
    """
    with opened(archive) as members:
        check_sizes(archive, members, into)
        targets = [target(archive, member, into) for member in members]
        written = 0
        for done, (member, path) in enumerate(zip(members, targets, strict=True), 1):
            written += write_member(archive, member, path, into)
            advance(done)
    return Unpacked(written, len(members) - written)


@contextmanager
def opened(archive: Path) -> Iterator[list[Member]]:
    """The regular files of an archive; what goes wrong in reading them becomes a `UserError`."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                yield list(zip_members(archive, packed))
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tape:
                yield list(tar_members(archive, tape))
        else:
            raise UserError(f"{archive}: neither a zip nor a tar archive, or cut short; download it again.")
    except FileNotFoundError:
        raise UserError(f"{archive}: no such archive.") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive}: damaged archive ({error}); download it again.") from None
    except RuntimeError as error:  # zipfile's way of asking for a password
        raise UserError(f"{archive}: cannot be unpacked: {error}.") from None


def zip_members(archive: Path, packed: zipfile.ZipFile) -> Iterator[Member]:
    for info in packed.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{archive}: {info.filename!r} is a link or a special file; refused.")
        if not info.is_dir():
            yield Member(info.filename, info.file_size, lambda info=info: packed.open(info))  # type: ignore[misc]


def tar_members(archive: Path, tape: tarfile.TarFile) -> Iterator[Member]:
    for number, info in enumerate(tape):
        if number > MAX_MEMBERS:
            raise UserError(f"{archive}: more than {MAX_MEMBERS:,} members; refused.")
        if not (info.isreg() or info.isdir()):
            raise UserError(f"{archive}: {info.name!r} is a link or a special file; refused.")
        if info.isreg():
            yield Member(info.name, info.size, lambda info=info: tar_stream(tape, info))  # type: ignore[misc]


def tar_stream(tape: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tape.extractfile(info)
    if stream is None:
        raise tarfile.TarError(f"{info.name} cannot be read")
    return stream


def check_sizes(archive: Path, members: list[Member], into: Path) -> None:
    """Refuse what would fill the disk, or unpacks to far more than images and masks ever do."""
    total, packed = sum(member.size for member in members), archive.stat().st_size
    if len(members) > MAX_MEMBERS or total > MAX_BYTES or (total > SMALL and total > MAX_RATIO * packed):
        raise UserError(
            f"{archive}: {packed:,} bytes that unpack to {len(members):,} files of {total:,} bytes; refused."
        )
    existing = next(parent for parent in (into, *into.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if total > free:
        raise UserError(f"{archive}: needs {total:,} bytes below {into}, where {free:,} are free.")


def target(archive: Path, member: Member, into: Path) -> Path:
    """Where a member goes; a `UserError` where that is not below `into`, links on the way included."""
    name = PurePosixPath(member.name)
    bad = name.is_absolute() or ".." in name.parts or any(c in member.name for c in "\\\0") or ":" in name.parts[0]
    path = into.joinpath(*name.parts)
    if bad or not path.resolve().is_relative_to(into.resolve()) or path.is_symlink():
        raise UserError(f"{archive}: {member.name!r} would be written outside of {into}; refused.")
    return path


def write_member(archive: Path, member: Member, path: Path, into: Path) -> bool:
    """Write one file whole or not at all; False where it is there already."""
    if path.exists():
        if path.is_file() and path.stat().st_size == member.size:
            return False
        raise UserError(f"{path} is there already and differs from {member.name!r} in {archive}; move it away first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(into.resolve()):
        raise UserError(f"{archive}: {member.name!r} would be written outside of {into}; refused.")
    write_atomically(path, lambda temporary: copy(member, temporary))
    return True


def copy(member: Member, path: Path) -> None:
    """Copy a member's bytes, no more than it declares; anything else is a damaged archive."""
    with member.open() as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        size = os.fstat(sink.fileno()).st_size
    if size != member.size:
        raise zipfile.BadZipFile(f"{member.name} has {size} bytes instead of {member.size}")
