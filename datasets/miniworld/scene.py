"""A scene: one or two stuffs, things upon them, light over all; with exact labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .shapes import Array
from .stuff import TEXTURES
from .things import ANY, COLOURS, ICONS, PAINTS
from .world import CLASSES, SIZE, SPLITS, STUFF, THINGS, WORLD_VERSION, Split

LEAST_PIXELS = 40
"""A class with fewer pixels than this counts as hidden and is not told."""


class Thing(NamedTuple):
    """A thing in a scene: `colour` is None for things that always look alike; `size`: small, medium or
    large.
    """

    name: str
    colour: str | None
    size: str


@dataclass(frozen=True, eq=False)
class Scene:
    """`image`: uint8 (96, 96, 3), RGB. `label`: uint8 (96, 96), positions in `CLASSES`, no void. `things` and
    `stuffs`: what is visible, things from back to front."""

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    things: tuple[Thing, ...]
    stuffs: tuple[str, ...]


@dataclass(frozen=True)
class Spot:
    """The place of a thing: its centre and half its size, in pixels."""

    x: float
    y: float
    radius: float


def scene(split: str, index: int) -> Scene:
    """The scene that belongs to a split and an index: the same one at any time and in any process.

    Raises `KeyError` for an unknown split and `IndexError` for an index outside it.
    """
    rules = SPLITS[split]
    if not 0 <= index < rules.size:
        raise IndexError(f"{split} has scenes 0 to {rules.size - 1}, not {index}")
    rng = np.random.default_rng([WORLD_VERSION, rules.number, index])
    image, label, stuffs = ground(rng, rules.stuffs)
    things: list[Thing] = []
    for spot in places(rng, rules):
        name = THINGS[index % len(THINGS)] if rules.things == (1, 1) else THINGS[rng.integers(len(THINGS))]
        things.append(Thing(name, draw(rng, name, spot, image, label), size_word(spot.radius)))
    pixels = np.bincount(label.ravel(), minlength=len(CLASSES))
    visible = {name for name, count in zip(CLASSES, pixels, strict=True) if count >= LEAST_PIXELS}
    return Scene(
        light(rng, image),
        label,
        tuple(thing for thing in things if thing.name in visible),
        tuple(name for name in stuffs if name in visible),
    )


def size_word(radius: float) -> str:
    """How captions call a thing of this half-size in pixels."""
    return "small" if radius < 14 else "medium" if radius < 19 else "large"


@cache
def grid() -> tuple[Array, Array]:
    """Pixel coordinates (y, x), each float32 (SIZE, SIZE)."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return y, x


def ground(rng: np.random.Generator, most: int) -> tuple[Array, NDArray[np.uint8], list[str]]:
    """The stuffs of a scene: RGB as float32 (SIZE, SIZE, 3), labels, and their names."""
    y, x = grid()
    names = [STUFF[i] for i in rng.permutation(len(STUFF))[: most if rng.random() < 0.55 else 1]]
    layers = [TEXTURES[name](rng, y, x) * np.float32(rng.uniform(0.8, 1.12)) for name in names]
    image = layers[0]
    label = np.full((SIZE, SIZE), CLASSES.index(names[0]), np.uint8)
    if len(names) == 2:
        below = border(rng)
        image = image + (layers[1] - image) * np.clip(below + 0.5, 0, 1)[..., None]
        label[below > 0] = CLASSES.index(names[1])
    return image, label, names


def border(rng: np.random.Generator) -> Array:
    """Distances in pixels from a wavy line through the image, positive below it (or to its right)."""
    y, x = grid()
    if rng.random() < 0.3:
        y, x = x, y
    height, slope = rng.uniform(0.25, 0.75) * SIZE, rng.uniform(-0.35, 0.35)
    wave = rng.uniform(0, 3) * np.sin(x * np.float32(rng.uniform(0.08, 0.25)) + rng.uniform(0, 6))
    return y - np.float32(height) - np.float32(slope) * (x - SIZE / 2) - wave.astype(np.float32)


def places(rng: np.random.Generator, rules: Split) -> list[Spot]:
    """Where things go: apart from each other where a few tries find room, and mostly inside the image."""
    spots: list[Spot] = []
    for _ in range(rng.integers(rules.things[0], rules.things[1] + 1)):
        radius = rng.uniform(*rules.radius)
        for _ in range(12):
            x, y = rng.uniform(0.65 * radius, SIZE - 0.65 * radius, 2)
            if all(np.hypot(x - s.x, y - s.y) > 0.85 * (radius + s.radius) for s in spots):
                break
        spots.append(Spot(x, y, radius))
    return spots


def draw(rng: np.random.Generator, name: str, spot: Spot, image: Array, label: NDArray[np.uint8]) -> str | None:
    """Paint a thing and its shadow into `image` and `label`, in place; the colour it was given, if any."""
    rows, columns, u, v = local(rng, spot)
    colour = COLOURS[rng.integers(len(COLOURS))]
    tint = rng.normal(0, 0.04, 3)
    shade = 1 - np.float32(rng.uniform(0.05, 0.15)) * (0.6 * u + 0.8 * v)
    whole, painted, free = np.full(u.shape, 9, np.float32), [], False
    for part in ICONS[name]:
        distance = part.shape(u, v) * np.float32(spot.radius)
        whole = np.minimum(whole, distance)
        paint = mixed(rng, colour if part.paint == ANY else part.paint, tint)
        if part.pattern is not None and part.second is not None:
            second = mixed(rng, colour if part.second == ANY else part.second, tint)
            inside = coverage(part.pattern(u, v) * np.float32(spot.radius))
            paint = paint + (second - paint) * inside
        free |= ANY in (part.paint, part.second)
        painted.append((coverage(distance), paint))
    region = image[rows, columns]
    region *= shadow(whole, spot.radius)
    shade = shade * (1 - 0.22 * np.clip(1 + whole / np.float32(0.22 * spot.radius), 0, 1))
    for alpha, paint in painted:
        region += (paint * shade[..., None] - region) * alpha
    label[rows, columns][whole < 0] = CLASSES.index(name)
    return colour if free else None


def local(rng: np.random.Generator, spot: Spot) -> tuple[slice, slice, Array, Array]:
    """The window of the image around a spot, and its local coordinates: turned, stretched, perhaps
    mirrored.
    """
    turn, stretch, mirror = rng.normal(0, 0.3), np.exp(rng.normal(0, 0.1)), rng.choice([-1, 1])
    reach = 1.5 * spot.radius
    rows, columns = (slice(max(0, int(c - reach)), min(SIZE, int(c + reach) + 1)) for c in (spot.y, spot.x))
    y, x = grid()
    dy, dx = y[rows, columns] - np.float32(spot.y), x[rows, columns] - np.float32(spot.x)
    cos, sin = np.float32(np.cos(turn) / spot.radius), np.float32(np.sin(turn) / spot.radius)
    u = (cos * dx + sin * dy) * np.float32(mirror * stretch)
    v = (cos * dy - sin * dx) * np.float32(1 / stretch)
    return rows, columns, u, v


def mixed(rng: np.random.Generator, paint: str, tint: NDArray[np.float64]) -> Array:
    """RGB of a paint, a little different for each part."""
    return np.clip(np.asarray(PAINTS[paint]) + tint + rng.normal(0, 0.035, 3), 0, 1).astype(np.float32)


def coverage(distance: Array) -> Array:
    """How much of a pixel is inside, (H, W, 1) in 0..1, from distances in pixels."""
    return np.clip(0.5 - distance, 0, 1)[..., None]


def shadow(whole: Array, radius: float) -> Array:
    """What a thing leaves of the light around it, (H, W, 1): softer and farther for larger things."""
    step = max(1, round(0.14 * radius))
    dark = np.zeros_like(whole)
    dark[step:, step:] = np.clip(0.6 - whole[:-step, :-step] / (2 * step), 0, 1)
    return 1 - 0.42 * dark[..., None]


def light(rng: np.random.Generator, image: Array) -> NDArray[np.uint8]:
    """Uneven light of a random colour, and a camera's noise."""
    y, x = grid()
    across, down = rng.uniform(-0.22, 0.22, 2).astype(np.float32)
    lamp = (rng.uniform(0.82, 1.12) + rng.normal(0, 0.02, 3)).astype(np.float32)
    image = image * (1 + across * (x / SIZE - 0.5) + down * (y / SIZE - 0.5))[..., None] * lamp
    grain = rng.standard_normal((SIZE, SIZE), np.float32) * np.float32(rng.uniform(0.008, 0.035))
    return (np.clip(image + grain[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)
