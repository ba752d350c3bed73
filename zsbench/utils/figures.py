"""Pictures for people: the gallery of a run, the overlay of a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    labels: Sequence[NDArray[np.int32]], names: Sequence[str], unseen: Sequence[str], palette: Palette
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


def save_curves(
    path: Path,
    steps: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    rate: Sequence[float],
    validation: Mapping[str, Sequence[tuple[int, float]]],
    title: str,
) -> None:
    """Draw the losses of a training, thin, and their means over a fiftieth of it, bold; the rate; and what validation found,
    `(steps done, percent)`, where there is any."""
    panels = 3 if validation else 2
    figure = Figure(figsize=(7.2, 1.2 + 2.1 * panels), layout="constrained")
    top, middle, *bottom = figure.subplots(panels, 1, sharex=True)
    at, width = np.asarray(steps), max(1, len(steps) // 50)
    for number, (name, values) in enumerate(losses.items()):
        colour, known = f"C{number}", np.isfinite(values)
        top.plot(at[known], np.asarray(values)[known], color=colour, linewidth=0.6, alpha=0.4 if width > 1 else 1)
        mean = np.convolve(np.asarray(values)[known], np.full(width, 1 / width), "valid")
        top.plot(at[known][width - 1 :], mean, color=colour, linewidth=1.5, label=as_text(name))
    top.set_ylabel("loss")
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


def save_figure(path: Path, figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: canvas.print_figure(temporary, format="png", dpi=110))
