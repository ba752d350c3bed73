"""Shapes and patterns as signed distances, and the ways to put them together.

A shape is a function of local coordinates `(u, v)`, float32 arrays of one size, `v` down; an icon fills about
-1..1. It returns distances in the same unit: negative inside, zero on the outline, and nearly exact close to
it, so that a distance in pixels gives soft edges, shadows and rims. A pattern is a shape that repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Shape = Callable[[Array, Array], Array]


def ellipse(x: float, y: float, a: float, b: float) -> Shape:
    """An ellipse around (x, y) with half-axes `a` (across) and `b` (down)."""
    scale = min(a, b)
    return lambda u, v: (np.sqrt(((u - x) / a) ** 2 + ((v - y) / b) ** 2) - 1) * scale


def disc(x: float, y: float, radius: float) -> Shape:
    """A disc around (x, y)."""
    return ellipse(x, y, radius, radius)


def ring(x: float, y: float, radius: float, half_width: float) -> Shape:
    """The line of a circle around (x, y)."""
    return lambda u, v: np.abs(np.sqrt((u - x) ** 2 + (v - y) ** 2) - radius) - half_width


def box(x: float, y: float, half_width: float, half_height: float) -> Shape:
    """A rectangle around (x, y)."""
    return lambda u, v: np.maximum(np.abs(u - x) - half_width, np.abs(v - y) - half_height)


def polygon(*corners: tuple[float, float]) -> Shape:
    """A convex polygon: the intersection of the half planes of its edges."""
    points = np.array(corners)
    edges = np.roll(points, -1, 0) - points
    normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.hypot(*edges.T)[:, None]
    if (points.mean(0) - points[0]) @ normals[0] > 0:
        normals = -normals
    planes = [(float(n[0]), float(n[1]), float(n @ p)) for n, p in zip(normals, points, strict=True)]

    def distance(u: Array, v: Array) -> Array:
        (a, b, c), *others = planes
        inside = a * u + b * v - c
        for a, b, c in others:
            inside = np.maximum(inside, a * u + b * v - c)
        return inside

    return distance


def star(points: int, outer: float, inner: float) -> Shape:
    """A star around the origin with one tip up; `outer` and `inner` are the radii of its tips and notches."""
    half = np.pi / points
    tip, notch = np.array([outer, 0.0]), inner * np.array([np.cos(half), np.sin(half)])
    edge = notch - tip
    normal = np.array([-edge[1], edge[0]]) / np.hypot(*edge)
    normal *= np.sign(normal @ tip)
    a, b, c = float(normal[0]), float(normal[1]), float(normal @ tip)

    def distance(u: Array, v: Array) -> Array:
        angle = np.abs((np.arctan2(v, u) + np.float32(np.pi / 2 + half)) % np.float32(2 * half) - half)
        radius = np.hypot(u, v)
        return a * radius * np.cos(angle) + b * radius * np.sin(angle) - c

    return distance


def petals(count: int, radius: float, depth: float) -> Shape:
    """A blossom around the origin; `depth` (0..1) is how far the gaps between petals reach in."""
    return lambda u, v: np.hypot(u, v) - radius * (1 - depth + depth * np.cos(count * np.arctan2(v, u)))


def join(*shapes: Shape) -> Shape:
    """Everything that is inside any of the shapes."""

    def distance(u: Array, v: Array) -> Array:
        nearest = shapes[0](u, v)
        for shape in shapes[1:]:
            nearest = np.minimum(nearest, shape(u, v))
        return nearest

    return distance


def common(first: Shape, second: Shape) -> Shape:
    """What is inside both shapes."""
    return lambda u, v: np.maximum(first(u, v), second(u, v))


def cut(shape: Shape, hole: Shape) -> Shape:
    """What is inside `shape` and outside `hole`."""
    return lambda u, v: np.maximum(shape(u, v), -hole(u, v))


def stripes(frequency: float, across: bool = False) -> Shape:
    """Upright stripes, or with `across` level ones; `frequency` in radians per unit."""
    return lambda u, v: np.sin((v if across else u) * frequency) / frequency


def dots(frequency: float, radius: float) -> Shape:
    """Staggered dots; `radius` is a fraction of their spacing, `1 / frequency`."""

    def distance(u: Array, v: Array) -> Array:
        shift = 0.5 * (np.floor(u * frequency) % 2)
        dx, dy = u * frequency % 1 - 0.5, (v * frequency + shift) % 1 - 0.5
        return (np.hypot(dx, dy) - radius) / frequency

    return distance


def checker(frequency: float) -> Shape:
    """A chessboard with `frequency` squares per unit."""
    k = np.float32(np.pi * frequency)
    return lambda u, v: np.sin(k * u) * np.sin(k * v) / k


def sectors(count: int) -> Shape:
    """`count` wedges around the origin, with as many gaps."""
    return lambda u, v: np.sin(count * np.arctan2(v, u)) * np.hypot(u, v) / count


def spiral(frequency: float) -> Shape:
    """A spiral around the origin."""
    return lambda u, v: np.sin(np.arctan2(v, u) + frequency * np.hypot(u, v)) / frequency


def rings(frequency: float) -> Shape:
    """Rings around the origin; `frequency` in radians per unit."""
    return lambda u, v: np.sin(frequency * np.hypot(u, v)) / frequency


def zigzag(frequency: float) -> Shape:
    """Level bands that go up and down."""
    k = np.float32(2 * np.pi / 1.2)
    return lambda u, v: np.sin(k * (v * frequency + np.abs(u * frequency % 2 - 1))) / (k * frequency)
