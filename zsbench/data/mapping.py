"""What the values of predictions made elsewhere mean: a word, or a TOML file that says it for each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from zsbench.data.label_map import LARGEST, LabelMap
from zsbench.dataset import IGNORE
from zsbench.errors import UserError, did_you_mean
from zsbench.utils.documents import read_toml
from zsbench.utils.validation import validated

ZERO_BASED, ONE_BASED = "zero-based", "one-based"
NOTHING = (255, 65535)
"""Values that stand for no class in maps of 8 and of 16 bits, where the classes leave them free."""


class MappingFile(BaseModel):
    """A mapping as data: `values`, the value of each class in order (as in a dataset card), or a class for each value."""

    model_config = ConfigDict(extra="forbid", strict=True)

    values: list[int] | dict[str, str | int]
    abstained: list[int] = []


def read_mapping(given: str, classes: Sequence[str]) -> LabelMap:
    """The class of each value, `IGNORE` where it stands for no class: an abstention.

    `given`: `zero-based`, `one-based` (0 is then no class), or a TOML file with `values` and `abstained`. Values of both
    words that no class has are abstentions at 255 and 65535. Raises `UserError` naming the file and the entry at fault.
    """
    if given in (ZERO_BASED, ONE_BASED):
        return counted_from(int(given == ONE_BASED), len(classes))
    path = Path(given)
    if path.suffix != ".toml":
        near = did_you_mean(given, (ZERO_BASED, ONE_BASED))
        raise UserError(f"--mapping {given!r}: expected {ZERO_BASED}, {ONE_BASED} or a TOML file.{near}")
    entries = validated(MappingFile, read_toml(path, "mapping"), f"entry of the mapping {path}")
    values = (
        listed(entries.values, classes, path) if isinstance(entries.values, list) else named(entries, classes, path)
    )
    nothing = dict.fromkeys(entries.abstained, IGNORE)
    wrong = next((value for value in (*values, *nothing) if not 0 <= value <= LARGEST), None)
    if wrong is not None:
        raise UserError(f"{path}: the value {wrong} is outside 0..{LARGEST}.")
    if clash := sorted(values.keys() & nothing.keys()):
        raise UserError(f"{path}: the value {clash[0]} is both a class and abstained.")
    return LabelMap(values | nothing)


def counted_from(first: int, count: int) -> LabelMap:
    """The classes in order from the value `first` on."""
    nothing = (*range(first), *(value for value in NOTHING if value >= first + count))
    other = ZERO_BASED if first else ONE_BASED
    hint = f"If the maps count their classes from {1 - first}, give --mapping {other}."
    return LabelMap.consecutive(count, first, nothing, {} if first else {count: hint})


def listed(values: Sequence[int], classes: Sequence[str], path: Path) -> dict[int, int]:
    if len(values) != len(classes) or len(set(values)) != len(values):
        raise UserError(f"{path}: values: expected {len(classes)} different numbers, one for each class in order.")
    return {value: index for index, value in enumerate(values)}


def named(entries: MappingFile, classes: Sequence[str], path: Path) -> dict[int, int]:
    """Classes by name or index; several values may mean one class."""
    assert isinstance(entries.values, Mapping)
    found = {}
    for value, meant in entries.values.items():
        if not value.isdecimal():
            raise UserError(f"{path}: values: {value!r} is no value of a label map: expected a number from 0 on.")
        known = meant in classes if isinstance(meant, str) else 0 <= meant < len(classes)
        if not known:
            near = did_you_mean(meant, classes) if isinstance(meant, str) else ""
            raise UserError(
                f"{path}: values: {value} is to mean {meant!r}, which is no class of the dataset: expected a name or an "
                f"index in 0..{len(classes) - 1}.{near}"
            )
        found[int(value)] = classes.index(meant) if isinstance(meant, str) else meant
    return found
