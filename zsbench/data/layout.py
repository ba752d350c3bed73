"""Where things lie: the root of a dataset, lists of ids, and paths with `{id}` in them."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

from zsbench.errors import UserError
from zsbench.utils.files import read_text

PICTURES = "png|jpe?g|jp2|j2k|tiff?|bmp|gif|webp|p[bgpn]m"
"""What `*` stands for as an extension: that of any image or mask."""

HIDDEN = (".", "__MACOSX")
"""How the names of files and folders begin that a system or an archive put there for itself."""


def find_home(name: str, root: Path | None, inside: Sequence[str], expects: Sequence[str], where: str) -> Path:
    """The first of `root/inside` that has all of `expects`; else a `UserError` that says what was found.

    An expected path may give alternatives, `images|photos`; an absolute path in `inside` needs no root.
    """
    for candidate in (Path(part) if root is None else root / part for part in inside):
        known = root is not None or candidate.is_absolute()
        if known and candidate.is_dir() and all(map(candidate_has(candidate), expects)):
            return candidate
    wanted = ", ".join(expected.replace("|", " or ") for expected in expects) or ", ".join(inside)
    if root is None:
        raise UserError(f"dataset {name} needs its files: give --data-root or set ZSBENCH_DATA.\n{where}")
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"data root {root} {state}. Give --data-root or set ZSBENCH_DATA.\n{where}")
    raise UserError(f"data root {root} is not {name}: expected {wanted}; found {listing(root)}.\n{where}")


def candidate_has(folder: Path) -> Callable[[str], bool]:
    """Whether any of the alternatives of an expected path is in the folder."""
    return lambda expected: any((folder / path).exists() for path in expected.split("|"))


def listing(folder: Path, limit: int = 8) -> str:
    """The first entries of a folder, for an error message."""
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(folder))
    more = f", ... ({len(entries)} entries)" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more if entries else "nothing"


def read_ids(path: Path, exists: Callable[[str], bool] = lambda name: False) -> list[str]:
    """An id from each line of a list: its first word, or the whole line where `exists` says that this is one; without the
    extension of a picture, where that is one.

    Raises `UserError` for a missing list or an id that leads out of the root.
    """
    lines = [line.strip() for line in read_text(path, "list of image ids").splitlines() if line.strip()]
    ids = [listed_id(line, exists) for line in lines]
    for name in ids:
        check_id(name, path)
    return ids


def listed_id(line: str, exists: Callable[[str], bool]) -> str:
    words = line.split()
    name = line if len(words) > 1 and exists(line) else words[0]
    others = [re.sub(rf"\.(?:{PICTURES})$", "", name, flags=re.IGNORECASE)]
    if not name.isascii():  # `é` is one character or two, by who wrote it
        others += [normalize("NFC", name), normalize("NFD", name)]
    different = [other for other in others if other != name]
    return next(filter(exists, different), name) if different and not exists(name) else name


def is_picture(name: str) -> bool:
    """Whether a file's name ends like that of an image or mask, in any case."""
    return re.fullmatch(rf".*\.(?:{PICTURES})", name, re.IGNORECASE | re.DOTALL) is not None


def check_id(name: str, origin: Path) -> None:
    """Raise `UserError` where an id, put into a path, would lead out of the data root."""
    if "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{origin}: the id {name!r} leads out of the data root.")


def fixed_folder(pattern: str) -> str:
    """The folders of a pattern before the first in which `{id}` or a wildcard stands."""
    folders = pattern.split("/")[:-1]
    wild = (i for i, folder in enumerate(folders) if re.search(r"[{*]", folder))
    return "/".join(folders[: next(wild, len(folders))])


def expression(pattern: str) -> str:
    """The regular expression of a pattern, or of a part of one with the file's extension.

    `*` matches within a name, and as an extension that of any picture; extensions are told in any case, as in `.PNG`.
    """
    stem, dot, extension = pattern.rpartition(".")
    if not dot or "/" in extension:
        stem, extension = pattern, ""
    kind = PICTURES if extension == "*" else re.escape(extension).replace(r"\*", "[^/.]*")
    return re.escape(stem).replace(r"\*", "[^/]*") + (f"\\.(?i:{kind})" if extension else "")


def match_ids(home: Path, pattern: str, of_shape: str = ".+") -> Iterator[str]:
    """The ids of all files below `home` that match a pattern.

    An id is any text, slashes and line breaks included, that the regular expression `of_shape` matches. Hidden files are
    passed over, links to folders followed.
    """
    before, after = pattern.split("{id}", 1)
    shape = re.compile(f"{re.escape(before)}({of_shape}){expression(after)}", re.DOTALL)
    for folder, names in walk(home / fixed_folder(pattern)):
        inner = folder.relative_to(home).as_posix()
        for name in names:
            matched = shape.fullmatch(f"{inner}/{name}" if inner != "." else name)
            if matched:
                yield matched[1]


def walk(base: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below `base` with the names of its files; neither what is hidden, nor in circles where links lead back."""
    for folder, inner, names in os.walk(base, followlinks=True):
        here = Path(folder)
        inner[:] = [
            name
            for name in inner
            if not name.startswith(HIDDEN)
            and not ((here / name).is_symlink() and here.resolve().is_relative_to((here / name).resolve()))
        ]
        yield here, [name for name in names if not name.startswith(HIDDEN)]


class Lookup:
    """Finds the files of ids below a folder. Each folder is listed once: among 100,000 images one is looked up as often."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._names: dict[Path, list[str]] = {}

    def one(self, pattern: str, image_id: str) -> Path:
        """The file of an id, or the pattern with the id in it where there is none. A `UserError` where there are several."""
        path = self.home / pattern.replace("{id}", image_id)
        if "*" not in pattern and os.path.exists(path):  # an id too long for a name is that of no file
            return path
        found = self.all(pattern, image_id)
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1].name} both go by the id {image_id!r}: keep one of them.")
        return found[0] if found else path

    def all(self, pattern: str, image_id: str) -> list[Path]:
        """All files of an id that match a pattern with wildcards in its last part, sorted."""
        before, after = pattern.split("{id}", 1)
        inner, slash, last = after.rpartition("/")
        folder, start = os.path.split(before + image_id + inner + slash)
        shape = re.compile(re.escape(start) + expression(last))
        plain = start + re.split(r"[*.]", last)[0]  # what is told in one case, and without a wildcard
        return [self.home / folder / name for name in self.starting(self.home / folder, plain) if shape.fullmatch(name)]

    def starting(self, folder: Path, start: str) -> Iterator[str]:
        """The names in a folder that begin with `start`, sorted."""
        if folder not in self._names:
            self._names[folder] = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        names = self._names[folder]
        for index in range(bisect_left(names, start), len(names)):
            if not names[index].startswith(start):
                return
            yield names[index]
