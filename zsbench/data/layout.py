"""Where things lie: the root of a dataset, lists of ids, and paths with `{id}` in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zsbench.errors import UserError


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


def read_ids(path: Path) -> list[str]:
    """The first word of each line. Raises `UserError` for a missing list or an id that leads out of the root."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such list of image ids.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable list of image ids ({error}).") from None
    ids = [line.split()[0] for line in text.splitlines() if line.strip()]
    for name in ids:
        check_id(name, path)
    return ids


def check_id(name: str, origin: Path) -> None:
    """Raise `UserError` where an id, put into a path, would lead out of the data root."""
    if "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{origin}: the id {name!r} leads out of the data root.")


def fixed_folder(pattern: str) -> str:
    """The folders of a pattern before the first in which `{id}` or a wildcard stands."""
    folders = pattern.split("/")[:-1]
    wild = (i for i, folder in enumerate(folders) if re.search(r"[{*]", folder))
    return "/".join(folders[: next(wild, len(folders))])


def match_ids(home: Path, pattern: str, of_shape: str = ".+") -> Iterator[str]:
    """The ids of all files below `home` that match a pattern; `*` matches within a name.

    An id is any text, slashes included, that the regular expression `of_shape` matches.
    """
    base = home / fixed_folder(pattern)
    head, tail = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("{id}", 1))
    shape = re.compile(f"{head}({of_shape}){tail}")
    for folder, _, names in os.walk(base):
        inner = Path(folder).relative_to(home).as_posix()
        for name in names:
            matched = shape.fullmatch(f"{inner}/{name}" if inner != "." else name)
            if matched:
                yield matched[1]


def resolve(home: Path, pattern: str, image_id: str) -> Path:
    """The file of an id; where the pattern has wildcards (an extension), the first match, or the pattern itself."""
    path = home / pattern.replace("{id}", image_id)
    return next(iter(resolve_all(home, pattern, image_id)), path) if "*" in pattern else path


def resolve_all(home: Path, pattern: str, image_id: str) -> list[Path]:
    """All files of an id that match a pattern with wildcards in its last part, sorted."""
    folder, name = os.path.split(pattern.replace("{id}", image_id))
    shape = re.compile(".*".join(map(re.escape, name.split("*"))))
    if not (home / folder).is_dir():
        return []
    return sorted(home / folder / entry.name for entry in os.scandir(home / folder) if shape.fullmatch(entry.name))
