"""Colours for label maps."""

from __future__ import annotations

from colorsys import hsv_to_rgb

RGB = tuple[int, int, int]


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


def spread_palette(count: int) -> list[tuple[int, int, int]]:
    """`count` distinct colours, by golden-ratio steps of hue at alternating brightness."""
    colours = [hsv_to_rgb(i * 0.618034 % 1, 0.85 - 0.3 * (i % 2), 0.95 - 0.25 * (i % 3) / 2) for i in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]
