"""`zsbench data import`: what an annotation tool or a hub gives becomes a card, images and masks of class indices."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from zsbench.data.archives import unpack
from zsbench.data.coco_folders import boxes_alone, read_coco
from zsbench.data.conversion import encode_png
from zsbench.data.folder import different_sizes
from zsbench.data.found import EXCLUDED, Found, Picture
from zsbench.data.hub import HUB, read_copy, read_hub
from zsbench.data.image import UPRIGHT, exif_orientation, read_image
from zsbench.data.label_studio import read_label_studio
from zsbench.data.layout import check_id, listing
from zsbench.data.pairs import read_pairs
from zsbench.data.sources import Pair
from zsbench.data.through_datumaro import EXTRA, read_any, read_voc
from zsbench.errors import UserError, did_you_mean
from zsbench.utils.colours import RGB
from zsbench.utils.extras import lacking
from zsbench.utils.files import make_folder, slug, telling, write_bytes, write_text
from zsbench.utils.progress import Progress, silent

BACKGROUND = ("background", "bg", "back ground")
VOID = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "dont care", "don't care", "dontcare")
"""What classes are called that stand for everything else, and those that nobody scores."""
NONE = "none"
RULE = "the smaller mask lies on the larger one"
KNOWN = (
    'CVAT "segmentation mask 1.1", VOC, Label Studio brush PNGs with their JSON, labelme2voc, Roboflow masks, Hasty, COCO, '
    "Cityscapes, folders of images and masks with a list of classes, Parquet, and what datumaro detects"
)


@dataclass(frozen=True)
class Wishes:
    """What a user decides. `classes`: names in the order of the mask values, where no file says them.

    `background`: the class of pixels without annotation, or `none`; `ignored`: classes that nobody scores, or `none`.
    Where these are not said, names decide.
    """

    classes: Sequence[str] = ()
    background: str | None = None
    ignored: Sequence[str] = ()
    unseen: Sequence[str] = ()


@dataclass(frozen=True)
class Roles:
    """`classes`: that are scored, in order. `values`: of each class found, then of excluded and of unannotated pixels."""

    classes: tuple[str, ...]
    background: str | None
    ignored: tuple[str, ...]
    values: NDArray[np.int64]
    nobody: int
    """The value that nobody scores."""
    colours: tuple[RGB, ...] | None


@dataclass
class Written:
    """What has been written: images of each split, pixels of each value and excluded ones, images and pixels of overlaps,
    images that viewers show turned."""

    images: Counter[str] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    excluded: int = 0
    overlapping: int = 0
    overlap: int = 0
    turned: int = 0


def import_data(source: str, out: Path, wishes: Wishes, progress: Progress = silent) -> list[str]:
    """Write the card `out` and a folder of its name beside it; lines that say what was taken for what.

    `source`: a folder, an archive, or `hf:OWNER/NAME`. Raises `UserError` naming the file at fault; nothing is left behind
    then.
    """
    folder = out.with_suffix("")
    if out.suffix != ".toml" or not slug(out.stem):
        raise UserError(f"--out {out}: expected the name of a card, such as mine.toml.")
    for path in (out, folder):
        if path.exists():
            raise UserError(f"{path} is there already: give another --out, or move it away.")
    make_folder(out.parent)
    with TemporaryDirectory(prefix=".import-", dir=out.parent) as temporary:
        staging = Path(temporary)
        try:
            found = recognise(source, wishes.classes, staging, progress)
            roles = decide(found, wishes)
            written = write_all(found, roles, staging / "data", progress)
        except UserError as error:  # what was unpacked goes by the name of what it was in
            raise UserError(
                str(error).replace(str(staging / "unpacked"), source).replace(str(staging / "rows"), source)
            ) from None
        with telling(folder):
            os.replace(staging / "data", folder)
    write_text(out, card_text(found, roles, wishes, written, out, source))
    return report(found, roles, wishes, written, out)


def recognise(source: str, classes: Sequence[str], staging: Path, progress: Progress) -> Found:
    """What there is, by its layout."""
    if source.startswith(HUB):
        return read_hub(source, classes, staging)
    folder = Path(source)
    if folder.is_file():
        with progress(f"unpacking {folder.name}", 0) as advance:
            unpack(folder, staging / "unpacked", advance)
        folder = staging / "unpacked"
    if not folder.is_dir():
        raise UserError(f"{source}: no such folder or archive. From the Hugging Face Hub it is hf:OWNER/NAME.")
    found = read_copy(folder, classes, staging)
    for read in (read_voc, read_label_studio, read_coco):
        found = found or read(folder)
    found = found or pairs_or_any(folder, classes)
    if found is None and (path := boxes_alone(folder)):
        raise UserError(f"{path}: its annotations are boxes without a segmentation, which say nothing of pixels.")
    if found is None or not found.pictures:
        raise UserError(
            f"{source}: no images with masks in a known layout; it holds {listing(folder)}. Known: {KNOWN}. "
            f"{lacking('datumaro', EXTRA)}".rstrip()
        )
    return found


def pairs_or_any(folder: Path, classes: Sequence[str]) -> Found | None:
    """Images and masks, or where these are not understood, what datumaro detects, if it is there."""
    try:
        return read_pairs(folder, classes) or read_any(folder)
    except UserError as error:
        with suppress(UserError):
            if found := read_any(folder):
                return found
        raise error


def plain(name: str) -> str:
    """A class as people write it: without the underscores that tools put into and around names."""
    return " ".join(name.replace("_", " ").split()) or name


def decide(found: Found, wishes: Wishes) -> Roles:
    """Which classes are scored, which is the background, and what is ignored. Raises `UserError` for unknown names."""
    names = [plain(name) for name in found.classes]
    if len(set(names)) < len(names):
        names = list(found.classes)
    asked = [plain(name) for name in wishes.ignored if name != NONE]
    for name in asked:
        if name not in names:
            raise UserError(f"--ignored {name!r}: it is none of {', '.join(names)}.{did_you_mean(name, names)}")
    void = {plain(name) for name in found.void}
    guessed = [] if wishes.ignored else [name for name in names if name.lower() in VOID or name in void]
    ignored = tuple(asked or guessed)
    classes = [name for name in dict.fromkeys(names) if name not in ignored]
    background = next((name for name in classes if name.lower() in BACKGROUND), None)
    colours = dict(zip(names, found.colours, strict=True)) if found.colours else {}
    if wishes.background is not None:
        background = None if wishes.background == NONE else plain(wishes.background)
    excluded = nobody = 255 if len(classes) < 255 else 65535
    if background is not None and background not in classes:
        classes.append(background)
        excluded = len(classes) - 1  # where the masks have no background of their own, it has their 255, too
    if not classes:
        raise UserError("all classes are ignored: give --ignored none, or fewer of them.")
    value = {name: index for index, name in enumerate(classes)}
    rest = nobody if background is None else value[background]
    values = np.array([*(value.get(name, nobody) for name in names), excluded, rest])
    palette = tuple(colours[name] for name in classes) if set(classes) <= colours.keys() else None
    palette = palette if palette and len(set(palette)) == len(palette) else None
    if background is not None and background in asked:
        raise UserError(f"--background and --ignored say both {background!r}: leave one out.")
    unseen_known(wishes.unseen, classes)
    return Roles(tuple(classes), background, ignored, values, nobody, palette)


def unseen_known(unseen: Iterable[str], classes: Sequence[str]) -> None:
    given = [plain(name) for name in unseen]
    for name in given:
        if name not in classes:
            raise UserError(f"--unseen {name!r}: it is none of {', '.join(classes)}.{did_you_mean(name, classes)}")
        if given.count(name) > 1:
            raise UserError(f"--unseen names {name!r} twice.")


def write_all(found: Found, roles: Roles, folder: Path, progress: Progress) -> Written:
    """Images as they are, linked where that is possible, and masks of class indices."""
    written, taken = Written(), dict[tuple[str, str], Path]()
    with progress(f"importing {found.tool}", len(found.pictures)) as advance:
        for done, picture in enumerate(found.pictures, 1):
            check_id(picture.id, picture.image)
            if other := taken.get((picture.split, picture.id)):
                raise clash(picture, other)
            taken[picture.split, picture.id] = picture.image
            write_one(picture, roles, folder, written)
            advance(done)
    return written


def clash(picture: Picture, other: Path) -> UserError:
    """Says that the split has its id already, for the image `other`."""
    if other != picture.image:
        return UserError(f"{other} and {picture.image} are both called {picture.id}: rename one of them.")
    return UserError(f"{other} is listed twice in the split {picture.split}, as {picture.id}: leave one of them out.")


def write_one(picture: Picture, roles: Roles, folder: Path, written: Written) -> None:
    painted = picture.read()
    shape = read_image(picture.image).shape[:2]
    if painted.label.shape != shape:
        of_image = Pair(picture.image, Path(f"the mask of {picture.id}"))
        raise UserError(different_sizes(of_image, shape, painted.label.shape))
    raw = roles.values[painted.label]  # what is no class counts from the end
    image = folder / "images" / picture.split / f"{picture.id}{picture.image.suffix.lower()}"
    mask = folder / "masks" / picture.split / f"{picture.id}.png"
    for path in (image, mask):
        make_folder(path.parent)
    with telling(image):
        try:
            os.link(picture.image.resolve(), image)
        except OSError:  # another disk, or one that has no links
            shutil.copyfile(picture.image, image)
    write_bytes(mask, encode_png(raw.astype(np.uint8 if roles.nobody == 255 else np.uint16)))
    written.images[picture.split] += 1
    written.pixels.update(dict(zip(*(each.tolist() for each in np.unique(raw, return_counts=True)), strict=True)))
    written.excluded += int(((painted.label == EXCLUDED) & (raw == roles.nobody)).sum())
    written.overlap += painted.overlap
    written.overlapping += painted.overlap > 0
    written.turned += exif_orientation(picture.image) != UPRIGHT


def card_text(found: Found, roles: Roles, wishes: Wishes, written: Written, out: Path, source: str) -> str:
    """The card as TOML."""
    evaluated = next(split for split in ("val", "test", "train") if split in written.images)
    origin = source if source.startswith(HUB) else Path(source).name
    lines = [
        "# Written by `zsbench data import`; entries: datasets/README.md of zsbench.",
        f"name = {toml(slug(out.stem))}",
        f"description = {toml(f'Imported from {origin}: {found.tool}.')}",
        f"classes = {toml(list(roles.classes))}",
        f"unseen = {toml([plain(name) for name in wishes.unseen])}    # hidden in the inductive setting",
    ]
    if roles.background is not None:
        lines.append(f"background = {toml(roles.background)}")
    lines.append(f"ignored = [{roles.nobody}]")
    if roles.colours is not None:
        lines.append(f"palette = {toml([list(colour) for colour in roles.colours])}")
    lines.append(f"root = {toml(out.stem)}")
    for split in written.images:
        lines += ["", f"[splits.{split}]", f'images = "images/{split}/{{id}}.*"', f'masks = "masks/{split}/{{id}}.png"']
        lines.append(f"count = {written.images[split]}")
    lines += ["", "[protocol]", f"split = {toml(evaluated)}"]
    return "\n".join(lines) + "\n"


def toml(value: object) -> str:
    """Texts, and lists of texts or numbers: JSON is TOML there."""
    return json.dumps(value, ensure_ascii=False)


def report(found: Found, roles: Roles, wishes: Wishes, written: Written, out: Path) -> list[str]:
    """What was taken for what, a line each."""
    total = max(sum(written.pixels.values()), 1)
    share = {name: 100 * written.pixels[index] / total for index, name in enumerate(roles.classes)}
    splits = ", ".join(f"{count:,} {split}" for split, count in written.images.items())
    unannotated = "pixels without annotation"
    nobody = [*roles.ignored, *([unannotated] if roles.background is None else [])]
    nobody += ["255 in masks"] if written.excluded else []
    hidden = ", ".join(wishes.unseen) or "none; --unseen NAMES, or the card, says what the inductive setting hides"
    background = "none; --background NAME makes pixels without annotation a class"
    if roles.background is not None:
        background = f"{roles.background}, which also has the {unannotated}"
    lines = [
        "; ".join([f"found       {found.tool}: {sum(written.images.values()):,} images ({splits})", *found.notes]),
        "classes     " + ", ".join(f"{name} {share[name]:.1f} %" for name in roles.classes),
        f"background  {background}",
        f"ignored     {', '.join(nobody) or 'nothing'}: {100 * written.pixels[roles.nobody] / total:.1f} % of the pixels",
        f"unseen      {hidden}",
    ]
    if written.overlap:
        lines.append(
            f"overlaps    {written.overlap:,} pixels in {written.overlapping:,} images are in masks of several classes: "
            f"{RULE}"
        )
    if written.turned:
        lines.append(
            f"turned      {written.turned:,} images have an EXIF orientation, by which viewers turn them; they are read "
            "unturned: make sure that their masks were made so"
        )
    return [
        *lines,
        f"written     {out} and {out.with_suffix('')}/; now look: zsbench data show {shlex.quote(str(out))}",
    ]
