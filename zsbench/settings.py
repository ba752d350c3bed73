"""What each setting lets a method see: it never holds the dataset, but learns from a view that hides what is forbidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zsbench.dataset import IGNORE, UNLABELLED, Dataset, Sample, checked_ids, read_sample
from zsbench.errors import UserError, did_you_mean
from zsbench.recipe import Recipe
from zsbench.utils.distributed import divided
from zsbench.utils.files import write_atomically

Setting = Literal["inductive", "transductive", "supervised", "training-free"]
"""inductive: seen names only, unseen pixels ignored. transductive: all names, unseen pixels marked `UNLABELLED`.
supervised: everything. training-free: no training data."""

SETTINGS: tuple[Setting, ...] = get_args(Setting)

NOT_STATED = "not stated"
"""In the place of a setting, where predictions come from elsewhere and nobody says how they were made."""

SHOWN: Mapping[str, tuple[str, str]] = {
    "inductive": ("seen", "seen"),
    "transductive": ("unlabelled", "all"),
    "supervised": ("all", "all"),
    "training-free": ("none", "none"),
    NOT_STATED: ("not stated", "not stated"),
}
"""What a setting shows of classes before the test: labels of pixels, and names (see `zsbench.result.Shown`)."""


def parse_setting(text: str) -> Setting:
    """The setting of that name; raises `UserError` for any other word."""
    for setting in SETTINGS:
        if text == setting:
            return setting
    raise UserError(f"unknown setting {text!r}; one of {', '.join(SETTINGS)}.{did_you_mean(text, SETTINGS)}")


Pixels = Literal["inductive", "transductive", "supervised"]
"""Whose pixels a view labels: as in the setting of that name."""
Names = Literal["seen", "all"]
"""Of which classes a method is told the names."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own view, recipe and optimisers. `name`: by which the method knows it.

    Names of all classes may be told where pixels are inductive, to a method whose classifier is made for unseen classes
    before the test. Labels of more than seen pixels need all names.
    """

    name: str
    pixels: Pixels
    names: Names
    recipe: Recipe
    rate_steps: int | None = None
    """Steps over which the rate changes, where the phase is the beginning of a longer training; None: the recipe's."""

    def __post_init__(self) -> None:
        if self.names == "seen" and self.pixels != "inductive":
            raise ValueError(f"phase {self.name}: {self.pixels} labels need the names of all classes")


def default_phases(setting: Setting, recipe: Recipe) -> tuple[Phase, ...]:
    """Transductive training is the beginning of an inductive one, at that one's rates, then self-training with a fresh
    optimiser (ZegCLIP, 3.5, as released: 10,000 steps from the weights of half of 20,000)."""
    if setting == "inductive":
        return (Phase("train", "inductive", "seen", recipe),)
    if setting == "supervised":
        return (Phase("train", "supervised", "all", recipe),)
    first = round(recipe.iterations * recipe.self_training_from)
    shares = [recipe.model_copy(update={"iterations": steps}) for steps in (first, recipe.iterations - first)]
    begun = Phase("train", "inductive", "seen", shares[0], recipe.iterations)
    both = (begun, Phase("self-train", "transductive", "all", shares[1]))
    return tuple(phase for phase in both if phase.recipe.iterations)


def check_phases(phases: Sequence[Phase], setting: Setting, method: str) -> None:
    """Raise `UserError` where a phase would see pixels that the setting hides, or two have one name."""
    if not isinstance(phases, Sequence) or not all(isinstance(phase, Phase) for phase in phases):
        raise UserError(f"method {method!r}: phases: expected a tuple of `zsbench.settings.Phase`, not {phases!r}.")
    for phase in phases:
        if SETTINGS.index(phase.pixels) > SETTINGS.index(setting):
            raise UserError(
                f"{method} has no training in the {setting} setting: its phase {phase.name} is {phase.pixels}."
            )
    if len({phase.name for phase in phases}) < len(phases):
        raise UserError(f"{method}: its phases need names of their own: {', '.join(phase.name for phase in phases)}.")


def shown(phases: Sequence[Phase]) -> tuple[str, str]:
    """The most that a training showed of pixels and of names, as `SHOWN` says it."""
    pixels: Setting = max((phase.pixels for phase in phases), key=SETTINGS.index, default="training-free")
    names = "all" if any(phase.names == "all" for phase in phases) else SHOWN[pixels][1]
    return SHOWN[pixels][0], names


class TrainingView(Sequence[Sample]):
    """The training split as a phase shows it.

    `names`: class names the method may know, in label order; `seen`: bool (len(names),). Labels of the samples are int32
    indices into `names`, `IGNORE`, or (transductive only) `UNLABELLED` where the pixel's class is unseen, and with the
    recipe's `pseudo_labels="all"` where it has no label at all. `folder`: where other labels are kept, see `relabel`.
    """

    def __init__(
        self, dataset: Dataset, phase: Phase, ids: Sequence[str] | None = None, folder: Path | None = None
    ) -> None:
        if phase.pixels == "inductive" and not dataset.seen_mask.any():
            raise UserError(
                f"all classes of {dataset.name} are unseen: the inductive setting leaves nothing to learn from. Give seen "
                "ones, or choose another --setting."
            )
        self._dataset, self._folder = dataset, folder
        self._relabelled = False
        self._ids = tuple(checked_ids(dataset, "train") if ids is None else ids)
        told = dataset.seen_mask if phase.names == "seen" else np.ones(len(dataset.classes), bool)
        self.names = tuple(name for name, known in zip(dataset.classes, told, strict=True) if known)
        self.seen: NDArray[np.bool_] = dataset.seen_mask[told]
        self._table = _label_table(dataset.seen_mask, told, phase)

    def __len__(self) -> int:
        return len(self._ids)

    def check_labels(self, images: str = "training images") -> None:
        """Raise `UserError` where no pixel of any image may be learnt from. It reads up to the first that has one."""
        if not any((sample.label != IGNORE).any() for sample in self):
            raise UserError(
                f"no pixel of the {len(self)} {images} of {self._dataset.name} has a class to learn from: all are "
                "ignored, or of unseen classes. `zsbench data check` says which values the masks hold."
            )

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # a view is never sliced
        sample = read_sample(self._dataset, "train", self._ids[index])
        if self._relabelled:
            with np.load(self._file(sample.id), allow_pickle=False) as stored:
                return Sample(sample.id, sample.image, stored["label"].astype(np.int32))
        return Sample(sample.id, sample.image, self._table[sample.label - IGNORE])

    def relabel(self, label_of: Callable[[Sample], NDArray[np.int32]]) -> None:
        """From now on give each sample the label that `label_of` makes of it: pseudo labels, for `Method.begin_phase`.

        They are kept in files of the run, so that a run that was cut short goes on; several processes share the work.
        """
        for index in divided(range(len(self))):
            path = self._file(self._ids[index])
            if not path.exists():
                label = label_of(self[index]).astype(np.int16)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, partial(_save_label, label))
        self._relabelled = True

    def _file(self, image_id: str) -> Path:
        if self._folder is None:
            raise UserError("labels can be made anew in a run alone, which has a folder for them.")
        return self._folder / f"{image_id}.npz"


def _save_label(label: NDArray[np.int16], path: Path) -> None:
    with path.open("wb") as stream:  # given a path, NumPy would add to its name
        np.savez_compressed(stream, label=label)


def _label_table(seen: NDArray[np.bool_], told: NDArray[np.bool_], phase: Phase) -> NDArray[np.int32]:
    """Row `label - IGNORE` holds what the phase shows for `label`: row 0 is IGNORE, then the classes."""
    classes = np.cumsum(told, dtype=np.int32) - 1
    hidden = UNLABELLED if phase.pixels == "transductive" else IGNORE
    if phase.pixels != "supervised":
        classes = np.where(seen, classes, hidden)
    ignored = hidden if phase.recipe.pseudo_labels == "all" and phase.pixels == "transductive" else IGNORE
    return np.concatenate([[ignored], classes]).astype(np.int32)
