"""Cards: a user's own dataset described by a TOML file, read like any other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from posixpath import normpath
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zsbench import registry
from zsbench.class_names import FOREGROUND, PLAIN, NameSet, own_words
from zsbench.clip.templates import TEMPLATES
from zsbench.data.folder import FolderDataset
from zsbench.data.label_map import LARGEST, LabelMap
from zsbench.data.mask import read_binary, read_mask
from zsbench.data.sources import Files, Masks
from zsbench.dataset import IGNORE, Dataset, Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.recipe import MAX_SIDE
from zsbench.utils.colours import distinct_palette, voc_palette
from zsbench.utils.documents import read_toml
from zsbench.utils.files import LONGEST_NAME, printable
from zsbench.utils.validation import from_file


class CardPart(BaseModel):
    """Base of what a card holds: unknown entries are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Value = Annotated[int, Field(ge=0, le=LARGEST)]
"""What a pixel of a mask may say."""
Colour = Annotated[int, Field(ge=0, le=255)]
Below = Annotated[str, Field(max_length=LONGEST_NAME)]
"""A path below the root."""


class SplitEntry(CardPart):
    """Where a split's images and masks are."""

    images: Below = Field(description="path of an image below the root, with {id}; a * stands for any extension")
    masks: Below = Field(description="path of its mask, with {id}")
    more_masks: Below = Field(
        "", description="further masks of the same image, with {id} and *; for black and white masks"
    )
    list: Below = Field("", description="text file with one id a line; without it, every mask that is found counts")
    count: int | None = Field(None, ge=1, description="how many images there should be")


class ProtocolEntry(CardPart):
    """How images reach the method in evaluation."""

    split: str = Field("val", description="the split that is evaluated")
    short_side: int | None = Field(512, ge=1, le=MAX_SIDE, description="short side in pixels after resizing")
    max_long_side: int | None = Field(None, ge=1, le=MAX_SIDE, description="bound on the long side")
    crop: int | None = Field(512, ge=1, le=MAX_SIDE, description="side of the sliding window")
    stride: int | None = Field(426, ge=1, le=MAX_SIDE, description="step of the sliding window")
    background_threshold: float | None = Field(
        None, gt=0, lt=1, description="pixels whose best class is less probable than this are background"
    )
    whole: bool = Field(False, description="true: the whole image in one pass, no window")


class Card(CardPart):
    """A dataset of folders as its user describes it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", description="short name, in lower case")
    description: str = Field("", description="one line on what it is")
    classes: tuple[str, ...] = Field(min_length=1, description="class names in label order")
    values: tuple[Value, ...] | None = Field(None, description="mask value of each class; default 0, 1, 2, ...")
    ignored: tuple[Value, ...] = Field((255,), description="mask values that nobody scores")
    threshold: int | None = Field(
        None, ge=1, le=255, description="masks are drawings: from this grey on a pixel is the second of two classes"
    )
    unseen: tuple[str, ...] = Field((), description="classes that the inductive setting hides")
    background: str | None = Field(None, description="the class that stands for everything else")
    palette: tuple[tuple[Colour, Colour, Colour], ...] | None = Field(None, description="a colour per class, 0..255")
    root: Below = Field("", description="folder of the data, from the card's own; without it, the data root")
    where: str = Field("", description="where to get the data")
    licence: str = Field("", description="what one may do with it")
    splits: dict[str, SplitEntry] = Field(min_length=1, description="train, val, test, ...")
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="name sets: words for each class")
    clip: str = Field(Defaults.clip, description="open_clip model")
    weights: str = Field(Defaults.weights, description="open_clip tag; a file is given by --weights")
    templates: str = Field(Defaults.templates, description="set of prompt templates")
    default_names: str = Field(PLAIN, description="the name set to use")
    protocol: ProtocolEntry = Field(
        default_factory=lambda: ProtocolEntry.model_validate({}), description="how images reach the method"
    )
    recipe: dict[str, Any] = Field(default_factory=dict, description="overrides of the training recipe")


class CardDataset(FolderDataset):
    """A dataset that a card describes."""

    card: ClassVar[Path]

    def __reduce__(self) -> tuple[Any, ...]:
        return open_card, (self.card, self.root)


def open_card(path: Path, root: Path | None) -> CardDataset:
    """The dataset of a card on a data root."""
    return load_card(path)(root)


def load_card(path: Path) -> type[CardDataset]:
    """The dataset class that a TOML card describes. Raises `UserError` naming the file and the entry at fault."""
    card = read_card(path)
    read = read_mask if card.threshold is None else partial(read_binary, threshold=card.threshold)
    colours = card.palette if card.palette and card.values is None else voc_palette(256)
    masks = partial(Masks, labels=card_labels(card, path), decode=read, colours=colours)
    attributes = {
        "__doc__": card.description or f"The dataset of {printable(path.name)}.",
        "__module__": __name__,
        "card": path.resolve(),
        "name": card.name,
        "classes": card.classes,
        "unseen": card.unseen,
        "palette": card.palette or distinct_palette(len(card.classes)),
        "background": card.background,
        "licence": card.licence,
        "inside": (str((path.parent / card.root).resolve()),) if card.root else ("",),
        "where": card.where or f"{path} says where its files are.",
        "name_sets": {
            name: own_words(NameSet.parse(name, lines, f"{path}, names.{name}"), card.classes)
            for name, lines in card.names.items()
        },
        "splits": {
            name: (masks(files=(card_files(entry),), count=entry.count),) for name, entry in card.splits.items()
        },
        "defaults": card_defaults(card),
    }
    return type("CardDataset", (CardDataset,), attributes)


def read_card(path: Path) -> Card:
    content = read_toml(path, "dataset card")
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, fault['loc'])) or 'card'}: {fault['msg']}" for fault in error.errors()]
        raise UserError(f"{path}: this card cannot be read:\n" + "\n".join(lines)) from None
    for name, entry in card.splits.items():
        for pattern in (entry.images, entry.masks, entry.more_masks or "{id}"):
            if pattern.count("{id}") != 1:
                raise UserError(f"{path}: splits.{name}: {pattern!r} must hold {{id}} once.")
        for below in (entry.images, entry.masks, entry.more_masks, entry.list):
            if below.startswith("/") or set(below) & {"\\", "\0"} or ".." in below.split("/"):
                raise UserError(f"{path}: splits.{name}: {below!r} must lie below the root, with / between folders.")
    check_names(card, path)
    return card


def check_names(card: Card, path: Path) -> None:
    """Raise `UserError` where a card gives a file, or nothing that is known, in the place of a name."""
    background = (FOREGROUND,) if card.background is not None else ()
    from_file(card.default_names, (PLAIN, *background, *card.names), path, "default_names", "--classes")
    if "{}" not in card.templates:
        from_file(card.templates, TEMPLATES, path, "templates", "--templates")
    if (card.clip, card.weights) == (Defaults.clip, Defaults.weights):
        return  # the usual ones, without a slow import
    from zsbench.clip.pretrained import known_models, known_weights

    from_file(card.clip, known_models(), path, "clip", "--clip")
    from_file(card.weights, known_weights(card.clip), path, "weights", "--weights")


def card_labels(card: Card, path: Path) -> LabelMap:
    """What the mask values mean, as the card says."""
    values = tuple(range(len(card.classes))) if card.values is None else card.values
    if len(values) != len(card.classes) or len(set(values)) != len(values):
        raise UserError(f"{path}: values must be {len(card.classes)} different numbers, one for each class.")
    if card.threshold is not None:
        if len(card.classes) != 2 or card.values is not None:
            raise UserError(f"{path}: with a threshold there are two classes, black and white, and no values.")
        return LabelMap({0: 0, 1: 1})
    ignored = dict.fromkeys(card.ignored, IGNORE)
    clash = sorted(set(ignored) & set(values))
    if clash:
        raise UserError(f"{path}: the value {clash[0]} is both ignored and a class.")
    return LabelMap(ignored | {value: index for index, value in enumerate(values)})


def card_files(entry: SplitEntry) -> Files:
    images, masks, listed, more = (
        path and normpath(path) for path in (entry.images, entry.masks, entry.list, entry.more_masks)
    )
    return Files(images, masks, listed, more=more)


def card_defaults(card: Card) -> Defaults:
    asked = card.protocol
    window = (None, None) if asked.whole else (asked.crop, asked.stride)
    return Defaults(
        clip=card.clip,
        weights=card.weights,
        templates=card.templates,
        names=card.default_names,
        protocol=EvalProtocol(asked.split, asked.short_side, asked.max_long_side, *window, asked.background_threshold),
        recipe=card.recipe,
    )


def dataset_class(spec: str) -> type[Dataset]:
    """The dataset that `spec` means: a registered name, a card (`my.toml`), or a Python file (`my.py`) with one."""
    if spec.endswith(".toml"):
        return load_card(Path(spec))
    if not spec.endswith(".py"):
        return registry.load_dataset_class(spec)
    registry.add_file(Path(spec))
    file = Path(spec).resolve()
    own = [plugin.name for plugin in registry.plugins("dataset") if plugin.location == file]
    if len(own) != 1:
        found = ", ".join(own) or "none"
        raise UserError(
            f"{spec}: expected one @register_dataset class, found {found}; name one with --plugin and --dataset."
        )
    return registry.load_dataset_class(own[0])
