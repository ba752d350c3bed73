"""What a dataset is: names, colours, unseen classes, and images with exact labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from zsbench.class_names import FOREGROUND, PLAIN, NameSet, read_names
from zsbench.errors import UserError, did_you_mean

IGNORE = -1
"""Label of a pixel that no one may score or learn from: void, background where it is no class."""

UNLABELLED = -2
"""Label of a pixel of an unseen class in transductive training: known to be something, not what."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its annotation.

    `image`: uint8 (H, W, 3) RGB, as decoded. `label`: int32 (H, W), a class index in 0..C-1 or `IGNORE`.
    """

    id: str
    image: NDArray[np.uint8]
    label: NDArray[np.int32]


@dataclass(frozen=True)
class EvalProtocol:
    """How an image reaches the method at test time, and where its scores go.

    `short_side`: the image is resized (bilinear, aspect kept) so that its short side has this many pixels; None keeps it.
    `max_long_side`: bound on the long side after that, or None. `crop`, `stride`: side of a square sliding window and its
    step, in pixels; None takes the whole image in one pass. `background_threshold`: pixels whose best class is less
    probable than this, in 0..1, become the dataset's background (`zsbench.evaluation.argmax`); None leaves it to the words.
    `stretch`: instead of all resizing, the image becomes a square of this side. `grid`: labels are brought to a square of so
    many cells, or to the size of the resized image (`image`), each cell with the label of the nearest pixel, and scored
    there, as some releases do; None scores at the label's own size.
    """

    split: str = "val"
    short_side: int | None = 512
    max_long_side: int | None = None
    crop: int | None = 512
    stride: int | None = 426
    background_threshold: float | None = None
    stretch: int | None = None
    grid: int | Literal["image"] | None = None

    def __post_init__(self) -> None:
        if self.crop is not None and not (self.stride and 0 < self.stride <= self.crop):
            raise UserError(f"sliding window of {self.crop} px needs a stride in 1..{self.crop}, not {self.stride}.")
        if self.background_threshold is not None and not 0 < self.background_threshold < 1:
            raise UserError(
                f"background threshold {self.background_threshold}: expected a probability between 0 and 1."
            )


@dataclass(frozen=True)
class Defaults:
    """What a run on this dataset uses unless the user says otherwise."""

    clip: str = "ViT-B-16-quickgelu"
    """An open_clip model name, or the path of a model config (JSON)."""
    weights: str = "openai"
    """An open_clip tag, a local file, or `random`."""
    trained_on: str | None = None
    """What these weights have seen, where no tag says it."""
    words: str | None = None
    """A file of word vectors that has all class names, for methods without CLIP."""
    templates: str = "single"
    """The set of prompt templates (`zsbench.clip.templates.TEMPLATES`)."""
    names: str = PLAIN
    """The name set: `plain`, or one of `Dataset.name_sets`."""
    protocol: EvalProtocol = EvalProtocol()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of `zsbench.recipe.Recipe`."""


class Dataset(ABC):
    """Names, palette, unseen classes, and a reader. A subclass is data: set the attributes, write `ids` and `read`.

    `classes`: all class names, in label order. `unseen`: those that the inductive setting hides. `palette`: one RGB triple
    (0..255) per class. `groups`: named subsets of classes whose mIoU is reported apart. `name_sets`: published words for
    the classes beside their plain names. `background`: the class that stands for everything else, if there is one; a method
    may give it what no other class claims. `like`: the name of a dataset whose presets a method takes here where it has none
    of its own for this one. `where`: where to get the data and which folders are expected, printed when the
    root is not there; empty for a dataset that needs no files.
    """

    name: ClassVar[str]
    classes: tuple[str, ...]
    unseen: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...]
    groups: Mapping[str, tuple[str, ...]] = {}
    name_sets: Mapping[str, NameSet] = {}
    background: str | None = None
    like: str = ""
    where: str = ""
    defaults: Defaults = Defaults()

    def __init__(self, root: Path | None = None) -> None:
        self.root = root

    @abstractmethod
    def ids(self, split: str) -> Sequence[str]:
        """The image ids of a split, in a fixed order. Raises `UserError` for an unknown split or a missing root."""

    @abstractmethod
    def read(self, split: str, image_id: str) -> Sample:
        """Decode one image and its label. Raises `UserError` naming the file when something is wrong with it."""

    def label(self, split: str, image_id: str) -> NDArray[np.int32]:
        """int32 (H, W): the label alone, which is cheaper to read where it lies apart from the image."""
        return self.read(split, image_id).label

    def samples(self, split: str | None = None) -> Samples:
        """The images of a split with their labels, as a sequence; by default of the split that is evaluated."""
        split = split or self.defaults.protocol.split
        return Samples(self, split, checked_ids(self, split))

    def __len__(self) -> int:
        return len(self.samples())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples())

    def __getitem__(self, which: int | str | slice) -> Any:
        """A `Sample` of the evaluated split by its number or id, or of a slice the `Samples`."""
        return self.samples()[which]

    def __repr__(self) -> str:
        unseen = f", {len(self.unseen)} of them unseen" if self.unseen else ""
        return f"<dataset {self.name}: {len(self.classes)} classes{unseen}>"

    def verify(self, split: str, ids: Sequence[str]) -> None:  # noqa: B027  # without files, nothing to verify
        """Raise `UserError` where a file of these images is absent: asked once, before anything long starts."""

    def full_size(self, split: str) -> int | None:
        """How many images the whole split has, where that is known: fewer make an incomplete evaluation."""
        return None

    def note(self, split: str) -> str:
        """What a user should know about the split as found (which source is read, what is missing), or nothing."""
        return ""

    def names(self, chosen: str | None = None) -> NameSet:
        """The words for the classes: `chosen` is a set's name or a text file, None the default. Raises `UserError`."""
        chosen, known = chosen or self.defaults.names, self.known_names
        if chosen in known:
            return known[chosen]
        if Path(chosen).is_file():
            return read_names(Path(chosen), self.classes)
        raise UserError(
            f"dataset {self.name} has no name set {chosen!r}, and there is no such file: "
            f"{', '.join(known)}.{did_you_mean(chosen, known)}"
        )

    @property
    def known_names(self) -> Mapping[str, NameSet]:
        """All name sets: `plain`, the published ones, and where there is a background, `foreground` without its word."""
        found = {PLAIN: NameSet.plain(self.classes)}
        if self.background is not None:
            words = tuple(() if name == self.background else (name,) for name in self.classes)
            found[FOREGROUND] = NameSet(FOREGROUND, words)
        return found | dict(self.name_sets)

    @property
    def seen_mask(self) -> NDArray[np.bool_]:
        """bool (C,): True where the class may be learnt from in the inductive setting."""
        return np.array([name not in self.unseen for name in self.classes])

    def _check_kinds(self) -> None:
        """Raise `UserError` for an attribute that is absent or of another kind than it should be."""
        wanted = {
            "classes": ("a tuple of names", lambda names: bool(names) and are_names(names)),
            "unseen": ("a tuple of names of classes", are_names),
            "palette": ("a tuple of RGB triples in 0..255, one for each class", are_colours),
            "groups": ("a dictionary of tuples of names", lambda groups: all(map(are_names, groups.values()))),
            "name_sets": ("a dictionary of NameSet", lambda sets: all(isinstance(s, NameSet) for s in sets.values())),
            "defaults": ("zsbench.dataset.Defaults", lambda defaults: isinstance(defaults, Defaults)),
        }
        for attribute, (expected, fits) in wanted.items():
            value = getattr(self, attribute, None)
            try:
                right = fits(value)
            except (AttributeError, TypeError, ValueError):
                right = False
            if not right:
                raise UserError(f"dataset {self.name}: its `{attribute}` is {value!r:.80}: expected {expected}.")

    def validate(self) -> None:
        """Raise `UserError` where the description lacks something, has something else in its place, or contradicts itself (a
        name given twice, an unknown unseen class)."""
        self._check_kinds()
        self.classes, self.unseen = tuple(self.classes), tuple(self.unseen)
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise UserError(f"dataset {self.name}: class name given twice: {', '.join(twice)}.")
        unknown = sorted(set(self.unseen).union(*self.groups.values()) - set(self.classes))
        if unknown:
            raise UserError(f"dataset {self.name}: not among its classes: {', '.join(unknown)}.")
        for names in self.name_sets.values():
            if len(names.synonyms) != len(self.classes):
                raise UserError(f"dataset {self.name}: name set {names.name} has {len(names.synonyms)} entries.")
        if self.background is not None and self.background not in self.classes:
            raise UserError(f"dataset {self.name}: its background {self.background!r} is none of its classes.")
        if len(self.palette) != len(self.classes):
            raise UserError(
                f"dataset {self.name}: {len(self.classes)} classes but {len(self.palette)} palette colours."
            )


class Samples(Sequence[Sample]):
    """Images of a split with their labels, read when they are asked for, by number or by id."""

    def __init__(self, dataset: Dataset, split: str, ids: Sequence[str]) -> None:
        self.dataset, self.split, self.ids = dataset, split, tuple(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, which: int | str | slice) -> Any:
        if isinstance(which, slice):
            return Samples(self.dataset, self.split, self.ids[which])
        if isinstance(which, str) and which not in self.ids:
            raise UserError(
                f"dataset {self.dataset.name}: {self.split} has no image {which!r}.{did_you_mean(which, self.ids)}"
            )
        return read_sample(self.dataset, self.split, which if isinstance(which, str) else self.ids[which])


def are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) and name.strip() for name in value)


def are_colours(value: Any) -> bool:
    return all(len(colour) == 3 and all(0 <= channel <= 255 for channel in colour) for colour in value)


def read_sample(dataset: Dataset, split: str, image_id: str) -> Sample:
    """`Dataset.read`, once it is what the harness goes on with: labels of any integers become int32.

    Raises `UserError` naming the dataset and the image, what was given, and what was expected.
    """
    sample: object = dataset.read(split, image_id)
    where = f"dataset {dataset.name!r}, {split} image {image_id!r}"
    if not isinstance(sample, Sample) or sample.id != image_id:
        given = f"one of {sample.id!r}" if isinstance(sample, Sample) else f"a {type(sample).__name__}"
        raise UserError(f"{where}: read gave {given}: expected a zsbench.dataset.Sample of this id.")
    image, label = np.asarray(sample.image), np.asarray(sample.label)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"{where}: its image is {image.dtype} {image.shape}: expected uint8 (height, width, 3), RGB in 0..255."
        )
    if label.dtype.kind not in "iu" or label.shape != image.shape[:2]:
        raise UserError(
            f"{where}: its label is {label.dtype} {label.shape}: expected int32 {image.shape[:2]}, a class in each pixel."
        )
    low, high = int(label.min()), int(label.max())
    if low < IGNORE or high >= len(dataset.classes):
        raise UserError(
            f"{where}: its label holds {low if low < IGNORE else high}: expected class indices "
            f"0..{len(dataset.classes) - 1}, or {IGNORE} for what nobody scores."
        )
    return Sample(image_id, image, label.astype(np.int32, copy=False))


def checked_ids(dataset: Dataset, split: str) -> list[str]:
    """`Dataset.ids` as a list; raises `UserError` naming the dataset where they are no texts, or one is given twice."""
    found: object = dataset.ids(split)
    given = list(found) if isinstance(found, Iterable) and not isinstance(found, str) else [None]
    ids = [each for each in given if isinstance(each, str) and "\0" not in each]
    if len(ids) < len(given):
        strange = next(each for each in given if each not in ids)
        raise UserError(f"dataset {dataset.name!r}: ids of {split}: {strange!r:.80}: expected a text for each image.")
    if len(set(ids)) < len(ids):
        raise UserError(f"dataset {dataset.name!r}: the id {max(ids, key=ids.count)!r} is in {split} twice.")
    return ids


def split_ids(dataset: Dataset, split: str, limit: int | None) -> list[str]:
    """The ids of a split, the first `limit` of them if given.

    Raises `UserError` where there are none, or where a file of one of them is absent.
    """
    ids = checked_ids(dataset, split)[:limit]
    if not ids:
        raise UserError(f"the {split} split of {dataset.name} is empty; check --data-root and --limit.")
    dataset.verify(split, ids)
    return ids
