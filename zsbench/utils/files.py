"""Files that are either whole or absent, under names that are safe wherever they come from."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zsbench.errors import UserError

PART = ".part"
"""How the names of files end that are being written."""

PLAINLY = {
    errno.ENOENT: "its folder is not there",
    errno.ENOTDIR: "a part of its path is a file, no folder",
    errno.EEXIST: "a file is in the place of a folder",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "files may not become that large here (ulimit -f)",
}
"""What the system refuses, where its own words say less."""


def reason(error: BaseException) -> str | None:
    """Why the system did not let a file be written, in whatever library; None for any other error."""
    while (
        isinstance(error, RuntimeError) and error.__context__ is not None
    ):  # torch fails once more as it closes the file
        error = error.__context__
    number = re.search(r"\(os error (\d+)\)", str(error))  # safetensors
    code = error.errno if isinstance(error, OSError) else number and int(number[1])
    if code is not None:
        return PLAINLY.get(code, os.strerror(code))
    full = isinstance(error, RuntimeError) and "iostream error" in str(error)  # torch
    return "the disk is full, or files may not become that large" if full else None


def unwritable(path: object, why: str, what: str = "write") -> UserError:
    """The one message for a full disk, a quota, a folder that is read-only or gone."""
    return UserError(
        f"cannot {what} {path}: {why}. What was there before is kept: put this right, or give another folder, and repeat "
        "the command (run, train and eval with --resume)."
    )


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Within, `path` is written: what the system has against it becomes a `UserError`."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if why := reason(error):
            raise unwritable(path, why) from error
        raise


def write_atomically(path: Path, write: Callable[[Path], None], lasting: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place; a crash leaves the old file or none.

    `lasting`: it is on the disk when this returns, whatever happens to the machine. Raises `UserError` where the system
    does not let it be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with telling(path):
        try:
            write(temporary)
            if lasting:
                sync(temporary)
            os.replace(temporary, path)
            if lasting:
                sync_folder(path.parent)
        finally:
            with suppress(OSError):  # a folder that is gone has no such file
                temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names of new files last; some systems cannot, and need not."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_parts(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; nobody may be writing in the folder."""
    for left in folder.glob(f".*{PART}"):
        left.unlink(missing_ok=True)


def write_text(path: Path, text: str, lasting: bool = False) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode(), lasting)


def write_bytes(path: Path, content: bytes, lasting: bool = False) -> None:
    """Write a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write, lasting)


LONGEST_NAME = 200
"""Bytes of a file name that leave room for what is put before and after it; file systems take 255."""


def slug(*words: str) -> str:
    """Words as a file name of ASCII letters, digits and hyphens; a digest takes the place of what is too long."""
    text = "-".join(word for word in words if word)
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and len(name) <= 150:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[:140]}-{digest}".lstrip("-")


def printable(name: str) -> str:
    """What the system gives, as text that any file can hold: bytes of a file name that are no UTF-8 are spelt `\\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_within(folder: Path, name: str, source: str) -> Path:
    """`folder / name`, for a name that stands in a file: it is never a way out of the folder.

    `source` says in messages where the name is from. Raises `UserError` unless it is one file name of printable characters.
    """
    plain = name.isprintable() and not set(name) & set("/\\:") and name.strip(". ") != ""
    if not plain or len(name.encode()) > LONGEST_NAME:
        shown = name if len(name) <= 80 else f"{name[:80]}..."
        raise UserError(
            f"{source}: {shown!r} cannot be part of a file name. Expected at most {LONGEST_NAME} bytes of printable "
            "characters, none of them / \\ or :."
        )
    return folder / name


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, without the mark that some editors put first; `what` names it in the `UserError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a readable {what} ({error}): save it as UTF-8.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path}: not a readable {what} ({error}).") from None


def locate(path: Path) -> tuple[Path, str]:
    """`(file, array)` of `vectors.npz:fasttext`, array empty where none is named. Raises `UserError` for an absent file."""
    file, _, array = str(path).rpartition(":")
    if path.is_file() or not file.endswith(".npz"):
        file, array = str(path), ""
    if not Path(file).is_file():
        raise UserError(f"there is no file of word vectors {file}.")
    return Path(file), array


def make_folder(path: Path) -> Path:
    """Create `path` and its parents, or raise `UserError` where that is not allowed."""
    with telling(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}{PART}"
        probe.touch()
        probe.unlink()
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
