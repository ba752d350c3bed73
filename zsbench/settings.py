"""What each setting lets a method see: it never holds the dataset, but learns from a view that hides what is forbidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zsbench.dataset import IGNORE, UNLABELLED, Dataset, Sample
from zsbench.errors import UserError, did_you_mean
from zsbench.recipe import Recipe

Setting = Literal["inductive", "transductive", "supervised", "training-free"]
"""inductive: seen names only, unseen pixels ignored. transductive: all names, unseen pixels marked `UNLABELLED`.
supervised: everything. training-free: no training data."""

SETTINGS: tuple[Setting, ...] = get_args(Setting)


SHOWN: Mapping[str, tuple[str, str]] = {
    "inductive": ("seen", "seen"),
    "transductive": ("unlabelled", "all"),
    "supervised": ("all", "all"),
    "training-free": ("none", "none"),
}
"""What a setting shows of classes before the test: labels of pixels, and names (see `zsbench.result.Shown`)."""


def parse_setting(text: str) -> Setting:
    """The setting of that name; raises `UserError` for any other word."""
    for setting in SETTINGS:
        if text == setting:
            return setting
    raise UserError(f"unknown setting {text!r}; one of {', '.join(SETTINGS)}.{did_you_mean(text, SETTINGS)}")


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own view, optimiser and schedule."""

    setting: Setting
    iterations: int


def phases(setting: Setting, recipe: Recipe) -> tuple[Phase, ...]:
    """Transductive training is inductive first, then self-training with a fresh optimiser (ZegCLIP, 3.5, as released)."""
    if setting != "transductive":
        return (Phase(setting, recipe.iterations),)
    first = round(recipe.iterations * recipe.self_training_from)
    both = (Phase("inductive", first), Phase("transductive", recipe.iterations - first))
    return tuple(phase for phase in both if phase.iterations)


class TrainingView(Sequence[Sample]):
    """The training split as a setting shows it.

    `names`: class names the method may know, in label order; `seen`: bool (len(names),). Labels of the samples are int32
    indices into `names`, `IGNORE`, or (transductive only) `UNLABELLED` where the pixel's class is unseen, and with
    `pseudo_labels="all"` where it has no label at all.
    """

    def __init__(
        self,
        dataset: Dataset,
        setting: Setting,
        ids: Sequence[str] | None = None,
        pseudo_labels: Literal["unseen", "all"] = "unseen",
    ) -> None:
        if setting == "training-free":
            raise UserError("the training-free setting has no training data; choose another --setting to train.")
        if setting == "inductive" and not dataset.seen_mask.any():
            raise UserError(
                f"all classes of {dataset.name} are unseen: the inductive setting leaves nothing to learn from. Give seen "
                "ones, or choose another --setting."
            )
        self._dataset = dataset
        self._ids = tuple(dataset.ids("train") if ids is None else ids)
        shown = dataset.seen_mask if setting == "inductive" else np.ones(len(dataset.classes), bool)
        self.names = tuple(name for name, show in zip(dataset.classes, shown, strict=True) if show)
        self.seen: NDArray[np.bool_] = dataset.seen_mask[shown]
        self._table = _label_table(dataset.seen_mask, setting, pseudo_labels)

    def __len__(self) -> int:
        return len(self._ids)

    def check_labels(self) -> None:
        """Raise `UserError` where no pixel of any image may be learnt from. It reads up to the first that has one."""
        if not any((sample.label != IGNORE).any() for sample in self):
            raise UserError(
                f"no pixel of the {len(self)} training images of {self._dataset.name} has a class to learn from: all are "
                "ignored, or of unseen classes. `zsbench data check` says which values the masks hold."
            )

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # a view is never sliced
        sample = self._dataset.read("train", self._ids[index])
        return Sample(sample.id, sample.image, self._table[sample.label - IGNORE])


def _label_table(seen: NDArray[np.bool_], setting: Setting, pseudo_labels: str) -> NDArray[np.int32]:
    """Row `label - IGNORE` holds what the view shows for `label`: row 0 is IGNORE, then the classes."""
    classes = np.arange(len(seen), dtype=np.int32)
    if setting == "inductive":
        classes = np.where(seen, np.cumsum(seen) - 1, IGNORE)
    elif setting == "transductive":
        classes = np.where(seen, classes, UNLABELLED)
    ignored = UNLABELLED if setting == "transductive" and pseudo_labels == "all" else IGNORE
    return np.concatenate([[ignored], classes]).astype(np.int32)
