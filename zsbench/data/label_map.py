"""Label maps: what a raw value in a mask means, as data, and the colours by which people see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zsbench.data.mask import Raw
from zsbench.dataset import IGNORE

UNKNOWN = -3
"""Marks raw values that the map does not list; such a label never leaves this module's callers."""

LARGEST = (1 << 24) - 1
"""Values up to this are mapped by a table of that length; no tool writes larger ones (COCO panoptic ids end here)."""


@dataclass(frozen=True)
class LabelMap:
    """Raw value -> class index or `IGNORE`. A value that is not listed is an error, never a guess.

    `hints`: raw value -> what a file that holds it probably is, shown with the error. `otherwise`: `IGNORE`
    for annotations with many more values than the task has classes; then nothing is an error.
    """

    values: Mapping[int, int]
    hints: Mapping[int, str] = field(default_factory=dict)
    otherwise: int = UNKNOWN

    @classmethod
    def consecutive(
        cls,
        count: int,
        first: int = 0,
        ignored: tuple[int, ...] = (255,),
        hints: Mapping[int, str] | None = None,
    ) -> LabelMap:
        """`first`, `first + 1`, ... are the classes 0..count-1; the values `ignored` are `IGNORE`."""
        values = {raw: IGNORE for raw in ignored} | {first + index: index for index in range(count)}
        return cls(values, hints or {})

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """int32 lookup table over 0..max+1; the last entry stands for everything beyond the listed values."""
        table = np.full(max(self.values) + 2, self.otherwise, dtype=np.int32)
        for raw, index in self.values.items():
            table[raw] = index
        return table

    def __call__(self, raw: Raw) -> NDArray[np.int32]:
        """int32 (H, W): class indices, `IGNORE`, or `UNKNOWN` where a raw value is not listed."""
        beyond = len(self.table) - 1
        if raw.dtype.kind == "i" and raw.min(initial=0) < 0:
            raw = np.where(raw < 0, beyond, raw.astype(np.int64))
        return np.take(self.table, raw, mode="clip")

    def explain(self, raw: Raw, palette: tuple[tuple[int, int, int], ...] = ()) -> str:
        """Which raw values are not listed, and what a mask that holds them most likely is."""
        found = {int(value) for value in np.unique(raw)}
        wrong = sorted(found - set(self.values))
        shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
        guess = self._guess(found, wrong, palette)
        return f"label value {shown} is none of the expected {self.expected}.{guess}"

    @property
    def expected(self) -> str:
        """The listed values in ranges, such as `0..20, 255`."""
        ordered = sorted(self.values)
        starts = [value for value in ordered if value - 1 not in self.values]
        ends = [value for value in ordered if value + 1 not in self.values]
        return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True))

    def _guess(self, found: set[int], wrong: list[int], palette: tuple[tuple[int, int, int], ...]) -> str:
        for value in wrong:
            if value in self.hints:
                return " " + self.hints[value]
        greys = {(r * 299 + g * 587 + b * 114 + 500) // 1000 for r, g, b in palette} | {0, 220, 255}
        if palette and len(found) > 1 and all({grey - 1, grey, grey + 1} & greys for grey in found):
            return " The values are the greys of the palette's colours: the mask went through convert('L')."
        if found <= {0, 255}:
            return " It looks like a binary mask with 255 for the object."
        for shift, cause in ((1, "one less"), (-1, "one more")):
            if {value + shift for value in found - {0, 255}} <= set(self.values):
                offset = f"every label is {cause} than expected: an offset, as from reduce_zero_label"
                if shift == -1 and 0 in found:  # what is 0 then is no class, which nobody can see
                    return f" Either a class has no name here, or 0 is none and {offset}."
                return f" {offset.capitalize()}."
        return ""
