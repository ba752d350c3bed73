"""The 12 stuffs: textures that fill the ground, each drawn anew for a scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from .shapes import Array

Texture = Callable[[np.random.Generator, Array, Array], Array]
"""(rng, y, x) -> RGB (H, W, 3), about 0..1; `y` and `x` are float32 (H, W) pixel coordinates."""

SIDE = 512
NOISES = {"grain": (), "rough": (4, 8, 16, 32, 64, 128), "smooth": (4, 8, 16)}
"""Tables of noise by the grids they are summed from; none means white noise."""
NOISE_SEED = 12345


@cache
def noise(kind: str) -> Array:
    """float32 (SIDE, SIDE) with mean 0 and deviation 1, the same in every process."""
    rng = np.random.default_rng([NOISE_SEED, list(NOISES).index(kind)])
    if not NOISES[kind]:
        return rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    fade = 0.6 if kind == "rough" else 0.5
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave, cells in enumerate(NOISES[kind]):
        grid = rng.standard_normal((cells, cells))
        position = np.arange(SIDE) * cells / SIDE
        low = position.astype(int)
        t = position - low
        t = t * t * (3 - 2 * t)
        high = (low + 1) % cells
        rows = grid[low] * (1 - t)[:, None] + grid[high] * t[:, None]
        total += (rows[:, low] * (1 - t) + rows[:, high] * t) * fade**octave
    return (total - total.mean()) / total.std()


def crop(kind: str, rng: np.random.Generator, like: Array, tall: int = 1) -> Array:
    """A random window of a noise table, of the size of `like`; `tall` stretches it downwards."""
    height, width = like.shape
    rows = -(-height // tall)
    y, x = rng.integers(0, SIDE - rows), rng.integers(0, SIDE - width)
    window = noise(kind)[y : y + rows, x : x + width]
    return np.repeat(window, tall, 0)[:height] if tall > 1 else window


def blend(t: Array, low: Sequence[float], high: Sequence[float]) -> Array:
    """From colour `low` where t <= 0 to `high` where t >= 1."""
    first, last = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return first + (last - first) * np.clip(t, 0, 1)[..., None]


def phase(rng: np.random.Generator, period: float) -> np.float32:
    """A random offset of a texture that repeats."""
    return np.float32(rng.uniform(0, period))


def grass(rng: np.random.Generator, y: Array, x: Array) -> Array:
    t = 0.5 + 0.22 * crop("grain", rng, y, tall=3) + 0.12 * crop("rough", rng, y)
    return blend(t, (0.12, 0.38, 0.10), (0.50, 0.72, 0.25))


def sand(rng: np.random.Generator, y: Array, x: Array) -> Array:
    ripples = np.sin(y * np.float32(0.5) + 2 * crop("smooth", rng, y))
    return blend(0.5 + 0.18 * crop("grain", rng, y) + 0.25 * ripples, (0.78, 0.64, 0.40), (0.95, 0.85, 0.62))


def water(rng: np.random.Generator, y: Array, x: Array) -> Array:
    swell = 1.5 * np.sin(x * np.float32(0.22) + phase(rng, 6)) + 1.2 * crop("smooth", rng, y)
    t = (0.5 + 0.5 * np.sin(y * np.float32(0.9) + swell)) ** 2
    return blend(t, (0.06, 0.32, 0.62), (0.35, 0.68, 0.85))


def brick(rng: np.random.Generator, y: Array, x: Array) -> Array:
    high, wide, gap = 6, 12, 1.2
    y = y + phase(rng, high)
    row = np.floor(y / high)
    x = x + phase(rng, wide) + row * (wide / 2)
    tone = 0.5 + 0.5 * np.sin(row * 12.9 + np.floor(x / wide) * 78.2)
    image = blend(tone + 0.15 * crop("grain", rng, y), (0.58, 0.22, 0.15), (0.76, 0.38, 0.26))
    image[(y % high < gap) | (x % wide < gap)] = (0.80, 0.76, 0.70)
    return image


def wood(rng: np.random.Generator, y: Array, x: Array) -> Array:
    wide = 10
    x = x + phase(rng, wide)
    plank = np.floor(x / wide)
    grain = 0.5 + 0.5 * np.sin(x * np.float32(1.9) + 1.5 * crop("rough", rng, y, tall=4) + plank * 2.3)
    t = 0.7 * grain + 0.15 * (1 + np.sin(plank * 5.1))
    image = blend(t, (0.50, 0.31, 0.15), (0.72, 0.50, 0.28))
    image[x % wide < 1] = (0.30, 0.18, 0.08)
    return image


def sky(rng: np.random.Generator, y: Array, x: Array) -> Array:
    t = 0.35 + 0.5 * y / len(y) + 0.28 * crop("smooth", rng, y)
    return blend(t, (0.30, 0.56, 0.92), (0.86, 0.92, 0.98))


def snow(rng: np.random.Generator, y: Array, x: Array) -> Array:
    t = 0.6 + 0.3 * crop("smooth", rng, y) + 0.08 * crop("grain", rng, y)
    return blend(t, (0.76, 0.82, 0.90), (0.97, 0.98, 1.0))


def tile(rng: np.random.Generator, y: Array, x: Array) -> Array:
    side = 8
    y, x = y + phase(rng, 2 * side), x + phase(rng, 2 * side)
    image = blend((np.floor(y / side) + np.floor(x / side)) % 2, (0.28, 0.48, 0.50), (0.87, 0.90, 0.88))
    image[(y % side < 1) | (x % side < 1)] = (0.60, 0.65, 0.65)
    return image


def road(rng: np.random.Generator, y: Array, x: Array) -> Array:
    t = 0.5 + 0.3 * crop("grain", rng, y) + 0.1 * crop("rough", rng, y)
    return blend(t, (0.22, 0.22, 0.24), (0.42, 0.42, 0.44))


def soil(rng: np.random.Generator, y: Array, x: Array) -> Array:
    t = 0.5 + 0.35 * crop("rough", rng, y) + 0.12 * crop("grain", rng, y)
    return blend(t, (0.25, 0.15, 0.08), (0.52, 0.36, 0.22))


def carpet(rng: np.random.Generator, y: Array, x: Array) -> Array:
    side = 9
    from_centre = np.abs((y + phase(rng, side)) % side - side / 2) + np.abs((x + phase(rng, side)) % side - side / 2)
    return blend(side / 3.2 - from_centre + 0.5, (0.45, 0.10, 0.30), (0.85, 0.65, 0.35))


def lava(rng: np.random.Generator, y: Array, x: Array) -> Array:
    return blend(1 - 1.3 * np.abs(crop("rough", rng, y)), (0.20, 0.05, 0.04), (1.0, 0.55, 0.10))


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (grass, sand, water, brick, wood, sky, snow, tile, road, soil, carpet, lava)
}
