"""Files that are either whole or absent, under names that are safe wherever they come from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from zsbench.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place; a crash leaves the old file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


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
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
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
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}. Choose another folder with --out.") from error
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
