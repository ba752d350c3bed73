"""The names and numbers of the miniature world: its classes, which of them are unseen, and its splits."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from .stuff import TEXTURES
from .things import ICONS

WORLD_VERSION = 2
"""Part of every scene's seed: to be raised with any change that alters a picture."""

SIZE = 96
"""Width and height of every image, in pixels."""

THINGS = tuple(ICONS)
STUFF = tuple(TEXTURES)
CLASSES = THINGS + STUFF
"""60 names; a label's value is a position here."""

UNSEEN = ("mushroom", "fish", "car", "penguin", "lighthouse", "carrot", "umbrella", "snail", "sand", "lava")
"""Chosen before any experiment."""


def colour_of(number: int) -> tuple[int, int, int]:
    """RGB, 0..255: hues apart by the golden angle, in four strengths."""
    hue, strength, value = number * 0.381966 % 1, (0.85, 0.55)[number % 2], (0.95, 0.7)[number // 2 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, strength, value)
    return round(255 * red), round(255 * green), round(255 * blue)


PALETTE = tuple(colour_of(number) for number in range(len(CLASSES)))
"""One RGB colour for each class, 0..255."""


@dataclass(frozen=True)
class Split:
    """How scenes of a split are made.

    `number` is part of the seed, so that no two splits share a scene. `size`: how many scenes it has.
    `things`: the fewest and the most in a scene. `radius`: half the size of a thing, in pixels. With `stuffs`
    2 about half of the scenes have two. In splits of single things, things take turns.
    """

    number: int
    size: int
    things: tuple[int, int]
    radius: tuple[float, float]
    stuffs: int


SPLITS = {
    "train": Split(0, 2000, (1, 2), (18, 30), 1),
    "val": Split(1, 800, (1, 2), (18, 30), 1),
    "single": Split(2, 960, (1, 1), (12, 30), 1),
    "pretrain-single": Split(3, 20_000, (1, 1), (11, 32), 1),
    "pretrain": Split(4, 60_000, (1, 5), (11, 26), 2),
    "scenes-train": Split(5, 2000, (2, 5), (12, 20), 2),
    "scenes-val": Split(6, 400, (2, 5), (12, 20), 2),
}
