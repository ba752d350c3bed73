"""A dataset for choosing constants: its training images, on which seen classes stand in for unseen ones.

As SPNet's authors chose their calibration (Xian et al., CVPR 2019): the method learns without the stand-ins, on some of the
training images; the others take the place of the test. No unseen class has a name or a pixel there, no test image is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zsbench.class_names import NameSet
from zsbench.dataset import IGNORE, Dataset, Sample
from zsbench.errors import UserError

HELD_OUT = "held-out"
"""The split in the place of the test's."""
MOST_HELD_OUT = 500


def hold_out(ids: Sequence[str], asked: int | None, option: str, dataset: str) -> tuple[list[str], list[str]]:
    """Training images to learn from, and the last ones of them, which are held out: `asked` many, else a fifth, at most 500.

    Raises `UserError` naming the option where none is left to learn from.
    """
    number = asked or max(1, min(MOST_HELD_OUT, len(ids) // 5))
    if number >= len(ids):
        raise UserError(f"{option} {number}: {dataset} has {len(ids)} training images; leave some to learn from.")
    return list(ids[:-number]), list(ids[-number:])


class StandIns(Dataset):
    """Seen classes of `inner`, some of which are unseen here: those of the last `held_out` training images that the method
    does not learn from. `chosen`: names of the stand-ins, or how many; then they are drawn by `seed` among the classes of
    the held-out images."""

    def __init__(self, inner: Dataset, chosen: Sequence[str] | int | None, held_out: int | None, seed: int = 0) -> None:
        super().__init__()
        self.inner = inner
        self.kept = np.flatnonzero(inner.seen_mask)
        self.classes = tuple(inner.classes[index] for index in self.kept)
        if len(self.classes) < 2:
            raise UserError(f"{inner.name} has {len(self.classes)} seen classes: none can stand in for an unseen one.")
        self.palette = tuple(inner.palette[index] for index in self.kept)
        self.like = inner.like
        self.background = inner.background if inner.background in self.classes else None
        protocol = replace(inner.defaults.protocol, split=HELD_OUT)
        self.defaults = replace(inner.defaults, protocol=protocol)
        self.table = np.full(len(inner.classes) - IGNORE, IGNORE, np.int32)  # of an unseen class nothing is known
        self.table[self.kept - IGNORE] = np.arange(len(self.kept))
        ids = list(inner.ids("train"))
        learnt, kept = hold_out(ids, held_out, "--held-out", inner.name)
        self.parts = {"train": learnt, HELD_OUT: kept}
        self.unseen = self.stand_ins(chosen, seed)

    def stand_ins(self, chosen: Sequence[str] | int | None, seed: int) -> tuple[str, ...]:
        if chosen is None:
            chosen = max(1, round(len(self.classes) * len(self.inner.unseen) / len(self.inner.classes)))
        if isinstance(chosen, int):
            there = [name for name in self.there() if name != self.background]
            if not 0 < chosen < len(self.classes) or chosen > len(there):
                raise UserError(f"--stand-ins {chosen}: the held-out images have {len(there)} classes to choose from.")
            drawn = np.random.default_rng(seed).choice(len(there), chosen, replace=False)
            return tuple(there[index] for index in sorted(drawn))
        unknown = [name for name in chosen if name not in self.classes]
        if unknown or not chosen or len(set(chosen)) == len(self.classes):
            named = (
                f"{', '.join(unknown)} is no seen class" if unknown else "some of the seen classes are needed, not all"
            )
            raise UserError(f"--stand-ins: {named}. {self.inner.name} has {', '.join(self.classes[:8])}, ...")
        return tuple(name for name in self.classes if name in chosen)

    def there(self) -> list[str]:
        """The classes of the held-out images, in label order."""
        found = np.zeros(len(self.classes) + 1, bool)
        for image_id in self.parts[HELD_OUT]:
            found[self.label(HELD_OUT, image_id)] = True  # IGNORE is the last
        return [name for name, known in zip(self.classes, found, strict=False) if known]

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    def ids(self, split: str) -> Sequence[str]:
        return self.parts[split]

    def read(self, split: str, image_id: str) -> Sample:
        sample = self.inner.read("train", image_id)
        return Sample(sample.id, sample.image, self.table[sample.label - IGNORE])

    def label(self, split: str, image_id: str) -> NDArray[np.int32]:
        return self.table[self.inner.label("train", image_id) - IGNORE]

    def verify(self, split: str, ids: Sequence[str]) -> None:
        self.inner.verify("train", ids)

    def full_size(self, split: str) -> int | None:
        return 0  # never complete: no leaderboard takes what is measured here

    def note(self, split: str) -> str:
        return self.inner.note("train")

    def names(self, chosen: str | None = None) -> NameSet:
        known = self.inner.names(chosen)
        return replace(known, synonyms=tuple(known.synonyms[index] for index in self.kept))

    @property
    def known_names(self) -> dict[str, NameSet]:
        return {name: self.names(name) for name in self.inner.known_names}
