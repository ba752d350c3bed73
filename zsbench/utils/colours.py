"""Colours of classes that people can tell apart, also those who see no red or no green where classes are few."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]
Palette = Sequence[RGB]
Floats = NDArray[np.float64]

FIRST: Palette = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (95, 30, 120),
    (250, 200, 225),
)
"""Safe for the colour-blind: six of Okabe and Ito's, then a dark and a light colour that are as clear of them."""
FEW = len(FIRST)
"""Up to so many classes in a picture, neighbours look different to the colour-blind, too."""
CLEAR = 0.1
"""Distance in OKLab from which on neighbours are told apart at a glance; black is 1 from white."""
GREY: RGB = (224, 224, 224)
"""What is no class is drawn in greys, which no class is given."""

_LMS = np.array(
    [[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806996, 0.1073970], [0.0883025, 0.2817188, 0.6299787]]
)
_LAB = np.array(
    [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937], [0.0259040, 0.7827718, -0.8086758]]
)
_SEEN_BY = {  # Machado et al. 2009, linear RGB
    "all": np.eye(3),
    "without red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def oklab(colours: Palette | NDArray[np.uint8], seen_by: str = "all") -> Floats:
    """float64 (N, 3): colours (0..255) in OKLab, where distances are those of the eye (Ottosson 2020)."""
    srgb = np.asarray(colours, np.float64).reshape(-1, 3) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ _SEEN_BY[seen_by].T).clip(0, 1)
    return np.cbrt(linear @ _LMS.T) @ _LAB.T


def distances(one: Palette | NDArray[np.uint8], other: Palette, blind: bool) -> Floats:
    """float64 (N, M): how far colours look apart; `blind`: to whoever sees least of it."""
    eyes = _SEEN_BY if blind else ("all",)
    return np.min([np.linalg.norm(oklab(one, eye)[:, None] - oklab(other, eye)[None], axis=2) for eye in eyes], axis=0)


@lru_cache
def candidates(count: int) -> NDArray[np.uint8]:
    """uint8 (N, 3), N > `count`: colours over the whole range, neither near black, white and grey nor each like the next."""
    steps = max(7, math.ceil((4 * count) ** (1 / 3)))
    levels = np.linspace(0, 255, steps).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)
    light, *chroma = oklab(grid).T
    return grid[(light > 0.35) & (light < 0.93) & (np.hypot(*chroma) > 0.06)]


@lru_cache
def distinct_palette(count: int) -> tuple[RGB, ...]:
    """`count` different colours, each as far as possible from those before it; the first are safe for the colour-blind."""
    found, free = list(FIRST[:count]), candidates(count)
    nearest = distances(free, FIRST, blind=False).min(axis=1)
    while len(found) < count:
        best = int(nearest.argmax())
        found.append(as_rgb(free[best]))
        nearest = np.minimum(nearest, distances(free, found[-1:], blind=False)[:, 0])
    return tuple(found)


def as_rgb(colour: NDArray[np.uint8]) -> RGB:
    red, green, blue = map(int, colour)
    return red, green, blue


def neighbours(labels: Sequence[NDArray[np.integer]]) -> dict[int, set[int]]:
    """Which classes touch which in label maps (H, W), those with the most pixels first; negative values are no classes."""
    pixels, touching = Counter[int](), dict[int, set[int]]()
    for label in labels:
        values, counts = np.unique(label[label >= 0], return_counts=True)
        pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        for a, b in ((label[:, 1:], label[:, :-1]), (label[1:], label[:-1])):
            border = (a != b) & (a >= 0) & (b >= 0)
            for key in np.unique(a[border].astype(np.int64) << 32 | b[border]).tolist():
                one, other = divmod(key, 1 << 32)
                touching.setdefault(one, set()).add(other)
                touching.setdefault(other, set()).add(one)
    return {cls: touching.get(cls, set()) for cls, _ in pixels.most_common()}


def told_apart(labels: Sequence[NDArray[np.integer]], palette: Palette) -> tuple[RGB, ...]:
    """The palette for pictures of these labels: a class that looks like one beside it, or just like another, is redrawn.

    All others keep their colour, the larger one of two that clash as well.
    """
    beside = neighbours(labels)
    blind, found, free = len(beside) <= FEW, dict[int, RGB](), [*FIRST, *map(as_rgb, candidates(len(beside)))]
    for cls, rivals in beside.items():
        decided = [found[other] for other in rivals if other in found]
        if clearness([palette[cls]], decided, [GREY, *found.values()], blind)[0] >= 1:
            found[cls] = palette[cls]
            continue
        near = [found.get(other, palette[other]) for other in rivals]
        others = [GREY, *(found.get(other, palette[other]) for other in beside if other != cls)]
        found[cls] = free[int(clearness(free, near, others, blind).argmax())]
    return tuple(found.get(cls, colour) for cls, colour in enumerate(palette))


def clearness(colours: Palette, near: Palette, others: Palette, blind: bool) -> Floats:
    """float64 (N,): how clear of others each colour is; 1 is enough. Those `near` have to differ more than the `others`."""
    far = 3 * distances(colours, others, blind=False).min(axis=1) / CLEAR
    return np.minimum(far, distances(colours, near, blind).min(axis=1) / CLEAR) if near else far


def voc_palette(count: int, first: int = 0) -> tuple[RGB, ...]:
    """The colour map of the VOC development kit for the values `first`, `first + 1`, ...: distinct for any count.

    The bits of the value are dealt to red, green and blue in turn, from the highest bit of each down.
    """
    return tuple(voc_colour(value) for value in range(first, first + count))


def voc_colour(value: int) -> RGB:
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
