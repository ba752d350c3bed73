"""Pictures for people, pixel by pixel: colours of classes, names in their regions, what is ignored, sheets with a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from zsbench.utils.colours import GREY, RGB, Palette, told_apart
from zsbench.utils.files import write_atomically

STRIPE: RGB = (120, 120, 120)
ABSTAINED: RGB = (250, 250, 250)
PAPER, INK = (255, 255, 255), (30, 30, 30)
ROW = 256
"""Pixels of the height of pictures in a sheet, at most."""
SHEET = 1640
"""Pixels of the width of a sheet, about."""
GAP = 6
SMALLEST = 10
"""Pixels of the smallest letters that can be read."""
LOOKED_AT = 512
"""Where names go is found on as many pixels of the longer side."""
ALPHA = 0.55
"""How much colours cover an image, if nothing else is said."""
LARGE = 0.004
"""Share of the pixels from which on a region is large enough for a name."""
Label = NDArray[np.integer[Any]]
Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""
Swatch = tuple[str, RGB | None]
"""A text of a legend and its colour, None for hatching."""


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """`image` uint8 (H, W, 3); `truth`, `predictions` integer (H, W), negative for no class; `caption` stands below."""

    image: NDArray[np.uint8]
    truth: Label
    predictions: Sequence[Label] = ()
    caption: str = ""

    @property
    def labels(self) -> list[Label]:
        return [self.truth, *self.predictions]


@dataclass(frozen=True)
class Key:
    """What the colours of pictures mean: classes by index, those unseen in training starred."""

    names: Sequence[str]
    palette: Palette
    unseen: Sequence[str] = ()

    def name(self, cls: int) -> str:
        return as_text(f"{self.names[cls]} *" if self.names[cls] in self.unseen else self.names[cls])

    def told_apart(self, labels: Sequence[Label]) -> Key:
        return Key(self.names, told_apart(labels, self.palette), self.unseen)


def as_text(word: str) -> str:
    """A word as it can be drawn in one line."""
    return "".join(letter if letter.isprintable() else " " for letter in word).strip() or " "


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of many scripts, `size` pixels high."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def stripes(height: int, width: int) -> NDArray[np.bool_]:
    """bool (height, width): diagonals, two pixels of eight."""
    return np.add.outer(np.arange(height), np.arange(width)) % 8 < 2


def coloured(label: Label, palette: Palette, truth: Label | None = None) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): each class in its colour, hatched grey where nothing is labelled.

    `label`: integer (H, W), negative for no class. `truth`: of a prediction; where that abstains in the labelled area
    is nearly white, and classes outside of that are darkly striped.
    """
    colours = np.array([*palette, GREY], np.uint8)
    painted = colours[np.where(label < 0, len(palette), label)]
    dark = stripes(*label.shape)
    if truth is not None:
        outside = (truth < 0) & (label >= 0) & dark
        painted[outside] = painted[outside] // 2
        painted[(truth >= 0) & (label < 0)] = ABSTAINED
    painted[(label < 0) & dark & (True if truth is None else truth < 0)] = STRIPE
    return painted


def write_names(picture: Image.Image, label: Label, key: Key) -> dict[int, list[Box]]:
    """Write the names of classes into their regions, where these have room for one; where the names of each class are.

    `label`: integer, of the picture's size.
    """
    draw, named = ImageDraw.Draw(picture), dict[int, list[Box]]()
    step = math.ceil(max(label.shape) / LOOKED_AT)
    largest = max(SMALLEST, round(min(label.shape) / 17))
    sizes = sorted({max(SMALLEST, round(largest * share)) for share in (1, 0.8, 0.6)}, reverse=True)
    for cls, region, (top, left) in regions(label[::step, ::step]):
        text = key.name(cls)
        for size in sizes:
            width, height = math.ceil(font(size).getlength(text)) + 4, round(1.2 * size) + 2
            place = room(region, math.ceil(height / step), math.ceil(width / step))
            if place is not None:
                x, y = (left + place[1]) * step, (top + place[0]) * step
                draw.text((x, y), text, PAPER, font(size), "mm", stroke_width=1 + size // 14, stroke_fill=INK)
                named.setdefault(cls, []).append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
                break
    return named


def regions(label: Label) -> Iterator[tuple[int, NDArray[np.bool_], Size]]:
    """Connected regions that are large, each as its class, bool (h, w), and the (row, column) of that in the label."""
    for cls in np.unique(label[label >= 0]).tolist():
        parts, _ = ndimage.label(label == cls)
        large = np.bincount(parts.ravel()) >= max(LARGE * label.size, 1)
        for number, where in enumerate(ndimage.find_objects(parts), 1):
            if large[number]:
                yield cls, parts[where] == number, (where[0].start, where[1].start)


def room(region: NDArray[np.bool_], height: int, width: int) -> tuple[float, float] | None:
    """The middle (row, column) of a box that lies in a region, as near as may be to the region's own middle, if any does."""
    if region.shape[0] < height or region.shape[1] < width:
        return None
    sums = np.pad(region.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    rows, columns = np.nonzero(inside >= 0.97 * height * width)
    if not len(rows):
        return None
    row, column = (middle.mean() + 0.5 for middle in np.nonzero(region))
    best = np.argmin((rows + height / 2 - row) ** 2 + (columns + width / 2 - column) ** 2)
    return float(rows[best] + height / 2), float(columns[best] + width / 2)


def labelled(label: Label, key: Key, truth: Label | None = None, size: Size | None = None) -> Image.Image:
    """A label map in colours, with names. `truth`: as in `coloured`. `size`: (width, height) of the picture."""
    label, truth = resized(label, size), None if truth is None else resized(truth, size)
    picture = Image.fromarray(coloured(label, key.palette, truth))
    write_names(picture, label, key)
    return picture


def resized(label: Label, size: Size | None) -> Label:
    """A label map of another (width, height), by the nearest pixel."""
    if size in (None, label.shape[::-1]):
        return label
    picture = Image.fromarray(label.astype(np.int32))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))


def overlay(image: NDArray[np.uint8], label: Label, key: Key, alpha: float = ALPHA, corner: bool = True) -> Image.Image:
    """The classes over the image, pixel on pixel, with names in the regions that have room for one.

    `alpha`: 0..1, how much the colours cover. `corner`: classes without room stand in a corner.
    """
    mixed = (1 - alpha) * image + alpha * coloured(label, key.palette)
    picture = Image.fromarray(mixed.round().astype(np.uint8))
    named = write_names(picture, label, key)
    swatches: list[Swatch] = [(key.name(cls), key.palette[cls]) for cls in present([label]) if cls not in named]
    swatches += [("ignored", None)] * bool((label < 0).any())
    if corner and swatches:
        box = legend(swatches, picture.width, max(SMALLEST, round(min(label.shape) / 22)))
        if box.height <= 0.4 * picture.height:
            x, y = free_corner(picture.size, box.size, [each for boxes in named.values() for each in boxes])
            under = picture.crop((x, y, x + box.width, y + box.height))
            picture.paste(Image.blend(under, box, 0.85), (x, y))
    return picture


def free_corner(size: Size, box: Size, names: Sequence[Box]) -> tuple[int, int]:
    """(left, top) of a box of (width, height) in the corner where it covers least of the names; at best bottom left."""
    right, bottom = size[0] - box[0], size[1] - box[1]

    def covered(corner: tuple[int, int]) -> float:
        x, y = corner
        wide = (min(x + box[0], each[2]) - max(x, each[0]) for each in names)
        high = (min(y + box[1], each[3]) - max(y, each[1]) for each in names)
        return sum(max(0, w) * max(0, h) for w, h in zip(wide, high, strict=True))

    return min(((0, bottom), (right, bottom), (0, 0), (right, 0)), key=covered)


def present(labels: Iterable[Label]) -> list[int]:
    """The classes in label maps, ascending."""
    return sorted({cls for label in labels for cls in np.unique(label).tolist() if cls >= 0})


def legend(swatches: Sequence[Swatch], width: int, size: int = 13) -> Image.Image:
    """Names with their colours in lines, at most `width` pixels wide and as narrow as they are; None is the hatching."""
    places, x, y, widest, line = [], GAP, GAP, 1, round(1.6 * size)
    for text, _ in swatches:
        needed = round(1.5 * size + font(size).getlength(text))
        if x > GAP and x + needed + GAP > width:
            x, y = GAP, y + line
        places.append((x, y))
        x, widest = x + needed + size, max(widest, x + needed + GAP)
    picture = Image.new("RGB", (min(width, widest), y + line if swatches else 1), PAPER)
    draw = ImageDraw.Draw(picture)
    for (text, colour), (x, y) in zip(swatches, places, strict=True):
        box = Image.fromarray(coloured(np.full((size, size), -1), [])) if colour is None else colour
        picture.paste(box, (x, y, x + size, y + size))
        draw.rectangle((x, y, x + size - 1, y + size - 1), outline=STRIPE)
        draw.text((x + round(1.4 * size), y + size / 2), text, INK, font(size), "lm")
    return picture


def display_size(shape: Size, height: int) -> Size:
    """(width, height) in a row of a sheet: `height` high, unless that were wider than four times it."""
    width = max(1, round(shape[1] * height / shape[0]))
    return (width, height) if width <= 4 * height else (4 * height, max(1, round(shape[0] * 4 * height / shape[1])))


def row_height(heights: Sequence[int]) -> int:
    """Of all rows of a sheet: that of the highest image, as large as a whole factor makes it, or what is allowed."""
    return max(heights) * (ROW // max(heights)) or ROW


def strip(pictures: Sequence[Image.Image], caption: str, height: int) -> Image.Image:
    """Pictures side by side, in a row of that height, with a caption below."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    size = 13
    while size > 8 and font(size).getlength(caption) > width:
        size -= 1
    tile = Image.new("RGB", (width, height + 20), PAPER)
    x = 0
    for picture in pictures:
        tile.paste(picture, (x, (height - picture.height) // 2))
        x += picture.width + GAP
    ImageDraw.Draw(tile).text((0, height + 3), caption, INK, font(size))
    return tile


def sheet(tiles: Sequence[Image.Image], title: str, swatches: Sequence[Swatch], note: str) -> Image.Image:
    """Tiles of one height in lines, the title above, the legend and a note below."""
    lines: list[list[Image.Image]] = [[]]
    for tile in tiles:
        if lines[-1] and sum(each.width + 3 * GAP for each in (*lines[-1], tile)) > SHEET:
            lines.append([])
        lines[-1].append(tile)
    text = max(font(16).getlength(title), font(12).getlength(note), 400)
    width = math.ceil(max(text, *(sum(tile.width + 3 * GAP for tile in line) for line in lines))) + 2 * GAP
    key, high = legend(swatches, width), tiles[0].height + GAP
    page = Image.new("RGB", (width, 34 + high * len(lines) + key.height + 24), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 6), title, INK, font(16))
    for number, line in enumerate(lines):
        x = GAP
        for tile in line:
            page.paste(tile, (x, 34 + number * high))
            x += tile.width + 3 * GAP
    page.paste(key, (0, 34 + high * len(lines)))
    draw.text((GAP, page.height - 21), note, STRIPE, font(12))
    return page


def save_gallery(
    path: Path, rows: Sequence[GalleryRow], key: Key, title: str, predictions: Sequence[str] = ("prediction",)
) -> None:
    """Draw image | truth | prediction of each row, with a legend of the classes that occur; unseen ones starred.

    `predictions`: what the predictions of each row are called.
    """
    labels = [label for row in rows for label in row.labels]
    key, height = key.told_apart(labels), row_height([row.image.shape[0] for row in rows])
    tiles = []
    for row in rows:
        size = display_size(row.truth.shape, height)
        pictures = [enlarged(row.image, size), labelled(row.truth, key, size=size)]
        pictures += [labelled(label, key, row.truth, size) for label in row.predictions]
        tiles.append(strip(pictures, as_text(row.caption), height))
    starred = "; * unseen in training" * bool({key.names[c] for c in present(labels)} & {*key.unseen})
    note = as_text(" | ".join(["image", "truth", *predictions]) + starred)
    save_picture(path, sheet(tiles, as_text(title), meanings(rows, key), note))


def save_masks(path: Path, pairs: Sequence[tuple[NDArray[np.uint8], Label, str]], key: Key, title: str) -> None:
    """Draw images beside themselves under their labels, with captions and a legend. `pairs`: image, label, caption."""
    key, height = key.told_apart([label for _, label, _ in pairs]), row_height([len(image) for image, _, _ in pairs])
    tiles = []
    for image, label, caption in pairs:
        size = display_size(label.shape, height)
        picture = enlarged(image, size)
        mask = overlay(np.asarray(picture), resized(label, size), key, corner=False)
        tiles.append(strip([picture, mask], as_text(caption), height))
    rows = [GalleryRow(image, label) for image, label, _ in pairs]
    save_picture(path, sheet(tiles, as_text(title), meanings(rows, key), "* unseen in training" * bool(key.unseen)))


def meanings(rows: Sequence[GalleryRow], key: Key) -> list[Swatch]:
    """The legend of rows: classes, and what hatching and white mean where there are any."""
    found: list[Swatch] = [
        (key.name(cls), key.palette[cls]) for cls in present(label for row in rows for label in row.labels)
    ]
    pairs = [(row.truth, prediction) for row in rows for prediction in row.predictions]
    if any((row.truth < 0).any() for row in rows):
        outside = any(((truth < 0) & (prediction >= 0)).any() for truth, prediction in pairs)
        found.append(("ignored: not scored" + "; striped: predicted there" * outside, None))
    if any(((truth >= 0) & (prediction < 0)).any() for truth, prediction in pairs):
        found.append(("no class predicted", ABSTAINED))
    return found


def enlarged(image: NDArray[np.uint8], size: Size) -> Image.Image:
    """An image of another (width, height): whole pixels where that is a multiple, smooth otherwise."""
    whole = size[0] % image.shape[1] == size[1] % image.shape[0] == 0
    return Image.fromarray(image).resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def save_picture(path: Path, picture: Image.Image) -> None:
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG"))


def save_curves(
    path: Path,
    steps: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    rate: Sequence[float],
    validation: Mapping[str, Sequence[tuple[int, float]]],
    title: str,
) -> None:
    """Draw the losses of a training, thin, and their means over a fiftieth of it, bold (the first of several is their sum, a
    broad line behind them); the rate; and what validation found, `(steps done, percent)`, where there is any."""
    panels = 3 if validation else 2
    figure = Figure(figsize=(7.2, 1.2 + 2.1 * panels), layout="constrained")
    top, middle, *bottom = figure.subplots(panels, 1, sharex=True)
    at, width = np.asarray(steps), max(1, len(steps) // 50)
    for number, (name, values) in enumerate(losses.items()):
        colour, known = f"C{number}", np.isfinite(values)
        top.plot(at[known], np.asarray(values)[known], color=colour, linewidth=0.6, alpha=0.4 if width > 1 else 1)
        mean = np.convolve(np.asarray(values)[known], np.full(width, 1 / width), "valid")
        broad = 4 if number == 0 and len(losses) > 1 else 1.5
        top.plot(
            at[known][width - 1 :], mean, color=colour, linewidth=broad, alpha=2 / (broad + 0.5), label=as_text(name)
        )
    top.set_ylabel("loss")
    if (limits := loss_limits(losses)) is not None:
        top.set_ylim(limits)
    top.legend(fontsize=8, frameon=False, loc="upper right")
    middle.plot(steps, rate, color="0.3")
    middle.set_ylabel("learning rate")
    middle.ticklabel_format(axis="y", scilimits=(-2, 3))
    for panel in bottom:
        for name, found in validation.items():
            panel.plot(*zip(*found, strict=True), marker="o", markersize=3, label=as_text(name))
        panel.set_ylabel("validation, %")
        panel.legend(fontsize=8, frameon=False, loc="lower right")
    for panel in figure.axes:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].set_xlabel("step")
    figure.suptitle(as_text(title), fontsize=11)
    save_figure(path, figure)


def loss_limits(losses: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """Of an axis that leaves out a short beginning (or few bursts) far above all else; None where there is none."""
    known = [values for values in (np.asarray(each)[np.isfinite(each)] for each in losses.values()) if len(values)]
    usual = max((float(np.quantile(values, 0.9)) for values in known), default=0.0)
    if not max((float(values.max()) for values in known), default=0.0) > 3 * usual > 0:
        return None
    lowest, highest = min(0.0, *(float(values.min()) for values in known)), 1.5 * usual
    return lowest - 0.05 * (highest - lowest), highest


def save_figure(path: Path, figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: canvas.print_figure(temporary, format="png", dpi=110))
