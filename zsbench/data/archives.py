"""Unpacking downloads safely: nothing outside of the folder, no links, no absurd sizes, no originals overwritten."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

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


class Member(NamedTuple):
    """One regular file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


class Unpacked(NamedTuple):
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
            written += write_member(archive, member, path)
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
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a full disk, a password, or what zipfile, tarfile and zlib say of damaged files
        advice = "" if getattr(error, "errno", None) else "; if it is damaged, download it again"
        raise UserError(f"{archive}: cannot be unpacked ({error}){advice}.") from None


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
            yield Member(info.name, info.size, lambda info=info: tape.extractfile(info))  # type: ignore[misc]


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
    """Where a member goes; a `UserError` where that is not below `into`, links on the way included.

    tarfile's own filter would let such names pass after changing them, and links inside `into` as they are.
    """
    name = PurePosixPath(member.name)
    bad = name.is_absolute() or not name.parts or ".." in name.parts or ":" in name.parts[0]
    bad = bad or any(character in member.name for character in "\\\0")
    path = into if bad else into / name
    if bad or not path.resolve().is_relative_to(into.resolve()) or path.is_symlink():
        raise UserError(f"{archive}: {member.name!r} would be written outside of {into}; refused.")
    return path


def write_member(archive: Path, member: Member, path: Path) -> bool:
    """Write one file whole or not at all; False where it is there already."""
    if path.exists():
        if path.is_file() and path.stat().st_size == member.size:
            return False
        raise UserError(f"{path} is there already and differs from {member.name!r} in {archive}; move it away first.")
    path.parent.mkdir(parents=True, exist_ok=True)

    def copy(temporary: Path) -> None:
        with member.open() as source, temporary.open("wb") as sink:  # type: ignore[union-attr]  # it is a regular file
            shutil.copyfileobj(source, sink, 1 << 20)
        if temporary.stat().st_size != member.size:
            raise EOFError(f"{member.name} is not of the {member.size} bytes that it should have")

    write_atomically(path, copy)
    return True
