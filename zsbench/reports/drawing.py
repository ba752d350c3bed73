"""Where things stand in a picture: scales and their ticks, lines of equal hIoU, the front of Pareto. Numbers in and out.

Pictures are SVG, `WIDTH` x `HEIGHT` units; `templates/drawings.html` turns places into marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 420, 380
LEFT, RIGHT, TOP, BOTTOM = 50, 402, 14, 332
"""The frame within the picture."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, drawn from `start` to `end`; logarithmic for costs."""

    title: str
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value, to a tenth of a unit; what is beyond an end stands at the end."""
        low, high, value = (math.log(x) for x in (self.low, self.high, value)) if self.log else self._plain(value)
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def _plain(self, value: float) -> tuple[float, float, float]:
        return self.low, self.high, value

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of round values, two to eight of them."""
        values = log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)
        return [(self.at(value), f"{value:g}") for value in values]


def linear_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, at most eight, from `low` to `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 7))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 7.001)
    return [round(number * step, 9) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, with their double and their fivefold where these are few; at most eight.

    Where all that is less than two, `linear_ticks`.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 2, 5), (1,)):
        values = [round(factor * 10.0**power, 12) for power in powers for factor in factors]
        found = [value for value in values if low * 0.999 <= value <= high * 1.001]
        if len(found) <= 8:
            break
    return found[:: math.ceil(len(found) / 8)] if len(found) > 1 else linear_ticks(low, high)


def path(places: Sequence[Place]) -> str:
    """A line through places, as SVG writes it."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places else ""


def round_up(value: float) -> float:
    """The next multiple of ten, at least 10 and at most 100: where an axis of percentages ends."""
    return min(max(10.0 * math.ceil(value / 10 - 1e-9), 10.0), 100.0)


def iso_hiou(level: float, seen_high: float, unseen_high: float, places: int = 33) -> list[tuple[float, float]]:
    """(S, U) along the line on which 2SU / (S + U) is `level`, within 0..`seen_high`, 0..`unseen_high`; maybe none."""
    if level <= 0 or 2 * seen_high <= level or 2 * unseen_high <= level:
        return []
    first = level * unseen_high / (2 * unseen_high - level)
    if first >= seen_high:
        return []
    ratio = (seen_high / first) ** (1 / (places - 1))
    return [(s, level * s / (2 * s - level)) for s in (first * ratio**number for number in range(places))]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of the (cost, quality) no other is at most as costly as and at least as good; the cheapest first.

    Of equal ones the first; those with a NaN are left out.
    """
    order = sorted(
        (n for n, point in enumerate(points) if not any(map(math.isnan, point))),
        key=lambda n: (points[n][0], -points[n][1], n),
    )
    front: list[int] = []
    for number in order:
        if not front or points[number][1] > points[front[-1]][1]:
            front.append(number)
    return front


def beside(dots: Sequence[Place]) -> list[Place | None]:
    """The middle of a label for each dot, near it and within the frame; None where dots and earlier labels leave no room."""
    found: list[Place | None] = []
    offsets = [(across, up) for up in (-8, 9, 0, -17, 18) for across in (13, -13)]
    for x, y in dots:
        places = [(x + across, y + up) for across, up in offsets]
        inside = [(a, b) for a, b in places if LEFT + 5 < a < RIGHT - 5 and TOP + 6 < b < BOTTOM - 6]
        taken = [*dots, *filter(None, found)]
        found.append(next((place for place in inside if not any(covers(place, other) for other in taken)), None))
    return found


def covers(one: Place, other: Place) -> bool:
    return abs(one[0] - other[0]) < 13 and abs(one[1] - other[1]) < 11


@dataclass(frozen=True)
class Dot:
    """A run in a picture: `label` stands beside it, `title` says what it is; intervals in the units of the axes.

    `series`: its number, which decides its colour. `keys`: what a filter may ask for.
    """

    x: float
    y: float
    label: str
    title: str
    series: int
    x_interval: tuple[float, float] = (math.nan, math.nan)
    y_interval: tuple[float, float] = (math.nan, math.nan)
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """S and U in percent at every calibration, ascending, as a result has them under `curve`.

    `best`: (S, U) where hIoU is highest, which only an oracle knows.
    """

    series: int
    name: str
    seen: Sequence[float]
    unseen: Sequence[float]
    best: Place
    found: Any

    @classmethod
    def of(cls, found: Any, series: int, name: str) -> Curve:
        """`found`: lists `gamma`, `seen`, `unseen`, floats `area`, `best_hiou`, `best_gamma`, `own_gamma`."""
        best = min(range(len(found.gamma)), key=lambda each: abs(found.gamma[each] - found.best_gamma))
        return cls(series, name, found.seen, found.unseen, (found.seen[best], found.unseen[best]), found)


@dataclass(frozen=True)
class Picture:
    """Dots between two axes, each with the place of its label."""

    x: Axis
    y: Axis
    dots: tuple[Dot, ...]

    @property
    def labels(self) -> list[Place | None]:
        return beside([(self.x.at(dot.x), self.y.at(dot.y)) for dot in self.dots])

    @property
    def contours(self) -> Iterator[tuple[str, str, Place]]:
        """Lines of equal hIoU: path, text, and the place of the text at their right or upper end."""
        highest = 2 * self.x.high * self.y.high / (self.x.high + self.y.high)
        step = next(step for step in (10, 5, 2) if highest > 2.5 * step or step == 2)
        for level in range(step, 100, step):
            line = [(self.x.at(s), self.y.at(u)) for s, u in iso_hiou(level, self.x.high, self.y.high)]
            if line:
                yield path(line), str(level), line[-1]

    def line(self, curve: Curve) -> str:
        return path([(self.x.at(s), self.y.at(u)) for s, u in zip(curve.seen, curve.unseen, strict=True)])

    def step(self, front: Sequence[Dot]) -> str:
        """The edge of what is not better than a front, to the right end."""
        places = [(self.x.at(dot.x), self.y.at(dot.y)) for dot in front]
        corners = [
            place
            for (x, y), (after, _) in zip(places, [*places[1:], (RIGHT, 0.0)], strict=True)
            for place in ((x, y), (after, y))
        ]
        return path(corners)


def plane(dots: Sequence[Dot], curves: Sequence[Curve] = ()) -> Picture:
    """Seen mIoU to the right, unseen mIoU upwards, both from 0. Dots with a NaN are left out."""
    dots = tuple(dot for dot in dots if not math.isnan(dot.x + dot.y))
    seen = [v for dot in dots for v in (dot.x, dot.x_interval[1])] + [v for each in curves for v in each.seen]
    unseen = [v for dot in dots for v in (dot.y, dot.y_interval[1])] + [v for each in curves for v in each.unseen]
    x = Axis("mIoU(S), percent", 0, round_up(highest(seen)), LEFT, RIGHT)
    return Picture(x, Axis("mIoU(U), percent", 0, round_up(highest(unseen)), BOTTOM, TOP), dots)


def costs(dots: Sequence[Dot], cost: str, quality: str) -> Picture:
    """Cost to the right, logarithmic, and quality upwards from 0. Dots with a NaN, or without cost, are left out."""
    dots = tuple(dot for dot in dots if dot.x > 0 and not math.isnan(dot.y))
    low, high = min((dot.x for dot in dots), default=1.0) / 1.5, max((dot.x for dot in dots), default=1.0) * 1.5
    top = round_up(highest([v for dot in dots for v in (dot.y, dot.y_interval[1])]))
    return Picture(Axis(cost, low, high, LEFT, RIGHT, log=True), Axis(quality, 0, top, BOTTOM, TOP), dots)


def highest(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=0.0)


def front_of(dots: Sequence[Dot]) -> list[Dot]:
    return [dots[number] for number in pareto([(dot.x, dot.y) for dot in dots])]
