"""Pictures for people: the gallery of a run, the overlay of a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from zsbench.utils.files import write_atomically

IGNORED_COLOUR = (224, 224, 224)
Palette = Sequence[tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """`image` uint8 (H, W, 3); `truth`, `prediction` integer (H, W), negative where ignored."""

    image: NDArray[np.uint8]
    truth: NDArray[np.int32]
    prediction: NDArray[np.int32]


def colourise(label: NDArray[np.int32], palette: Palette) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): each class in its colour, negative labels light grey."""
    colours = np.array([*palette, IGNORED_COLOUR], np.uint8)
    return colours[np.where(label < 0, len(palette), label)]


def rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """Channels 0..255 to matplotlib's 0..1."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def legend_patches(
    labels: Sequence[NDArray[np.integer[Any]]], names: Sequence[str], unseen: Sequence[str], palette: Palette
) -> list[Patch]:
    """One patch for each class that occurs, unseen ones marked with a star."""
    present = sorted({int(c) for label in labels for c in np.unique(label) if c >= 0})
    return [
        Patch(
            facecolor=rgb(palette[c]),
            edgecolor="black" if names[c] in unseen else "none",
            label=as_text(f"{names[c]} *" if names[c] in unseen else names[c]),
        )
        for c in present
    ]


def as_text(word: str) -> str:
    """A word that matplotlib shows as it is: two `$` would make it a formula, and a leading `_` would hide it."""
    plain = "".join(letter if letter.isprintable() else " " for letter in word).replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain


def save_gallery(
    path: Path, rows: Sequence[GalleryRow], names: Sequence[str], unseen: Sequence[str], palette: Palette, title: str
) -> None:
    """Draw image | truth | prediction, two samples a line, with a legend of the classes that occur; unseen ones starred."""
    lines = (len(rows) + 1) // 2
    patches = legend_patches([label for row in rows for label in (row.truth, row.prediction)], names, unseen, palette)
    legend_height = 0.22 * ((len(patches) + 7) // 8) + 0.35
    figure = Figure(figsize=(12.6, 2.1 * lines + legend_height + 0.5), layout="constrained")
    axes = figure.subplots(lines, 6, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for number, row in enumerate(rows):
        line, half = divmod(number, 2)
        pictures = (row.image, colourise(row.truth, palette), colourise(row.prediction, palette))
        for offset, (picture, heading) in enumerate(zip(pictures, ("image", "truth", "prediction"), strict=True)):
            ax = axes[line, 3 * half + offset]
            ax.imshow(picture, interpolation="nearest")
            if line == 0:
                ax.set_title(heading, fontsize=9)
    figure.suptitle(as_text(title), fontsize=11)
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=8,
        fontsize=8,
        frameon=False,
        title="* unseen in training",
    )
    save_figure(path, figure)


@dataclass(frozen=True, eq=False)
class PictureRow:
    """`caption`; `image` uint8 (H, W, 3); `labels`: truth and predictions, integer (H, W), negative where ignored."""

    caption: str
    image: NDArray[np.uint8]
    labels: Sequence[NDArray[np.integer[Any]]]


def save_rows(
    path: Path,
    rows: Sequence[PictureRow],
    headings: Sequence[str],
    names: Sequence[str],
    unseen: Sequence[str],
    palette: Palette,
) -> None:
    """Draw a row under its caption: the image, then each label map; with a legend of the classes that occur."""
    patches = legend_patches([label for row in rows for label in row.labels], names, unseen, palette)
    width = max(2.4 * len(headings), 7.0)
    per_line = max(int(width / 1.4), 1)
    legend_height = 0.22 * -(-len(patches) // per_line) + 0.35
    figure = Figure(figsize=(width, 2.6 * len(rows) + legend_height), layout="constrained")
    *parts, last = figure.subfigures(
        len(rows) + 1, 1, squeeze=False, height_ratios=[2.6] * len(rows) + [legend_height]
    ).flat
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(as_text(row.caption), fontsize=8, x=0.01, ha="left")
        pictures = [row.image, *(colourise(label.astype(np.int32), palette) for label in row.labels)]
        for ax, picture, heading in zip(part.subplots(1, len(headings)).flat, pictures, headings, strict=True):
            ax.set_axis_off()
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(as_text(heading), fontsize=8)
    last.legend(handles=patches, loc="center", ncols=per_line, fontsize=8, frameon=False, title="* unseen in training")
    save_figure(path, figure)


def save_overlay(
    path: Path, image: NDArray[np.uint8], label: NDArray[np.int32], names: Sequence[str], palette: Palette
) -> None:
    """Draw the prediction half transparent over the image, with a legend that says each class's share of the pixels."""
    mixed = (0.45 * image + 0.55 * colourise(label, palette)).astype(np.uint8)
    shares = np.bincount(label[label >= 0], minlength=len(names)) / max(label.size, 1)
    width = 7.0
    figure = Figure(figsize=(width + 2.2, max(2.5, width * image.shape[0] / image.shape[1])), layout="constrained")
    ax = figure.subplots()
    ax.imshow(mixed, interpolation="nearest")
    ax.set_axis_off()
    patches = [
        Patch(facecolor=rgb(palette[c]), label=as_text(f"{names[c]}  {100 * shares[c]:.1f} %"))
        for c in np.argsort(-shares)
        if shares[c] > 0
    ]
    figure.legend(handles=patches, loc="outside right upper", fontsize=9, frameon=False)
    save_figure(path, figure)


def save_figure(path: Path, figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: canvas.print_figure(temporary, format="png", dpi=110))
