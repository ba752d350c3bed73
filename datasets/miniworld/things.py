"""The 48 things: each an icon of painted parts, drawn in order."""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import (
    Shape,
    box,
    checker,
    common,
    cut,
    disc,
    dots,
    ellipse,
    join,
    petals,
    polygon,
    ring,
    rings,
    sectors,
    spiral,
    star,
    stripes,
    zigzag,
)

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "cyan")
"""The colours that captions name."""

PAINTS = {
    "red": (0.85, 0.15, 0.13),
    "green": (0.18, 0.60, 0.22),
    "blue": (0.16, 0.33, 0.82),
    "yellow": (0.95, 0.83, 0.18),
    "orange": (0.95, 0.52, 0.10),
    "purple": (0.52, 0.22, 0.68),
    "pink": (0.96, 0.50, 0.68),
    "cyan": (0.20, 0.75, 0.80),
    "white": (0.95, 0.95, 0.93),
    "black": (0.10, 0.10, 0.12),
    "brown": (0.45, 0.27, 0.13),
    "grey": (0.55, 0.56, 0.58),
    "dark green": (0.06, 0.36, 0.20),
    "light green": (0.55, 0.80, 0.30),
    "beige": (0.90, 0.80, 0.60),
    "gold": (0.85, 0.65, 0.13),
    "cream": (0.98, 0.93, 0.80),
    "dark grey": (0.28, 0.29, 0.32),
    "skin": (0.95, 0.75, 0.60),
}
"""RGB in 0..1."""

ANY = "any"
"""The paint of a part that has another of `COLOURS` in each scene."""


@dataclass(frozen=True)
class Part:
    """A shape in one paint, or in a second one where `pattern` is inside."""

    shape: Shape
    paint: str
    second: str | None = None
    pattern: Shape | None = None


Icon = tuple[Part, ...]

ICONS: dict[str, Icon] = {
    "apple": (
        Part(join(disc(-0.3, 0.1, 0.6), disc(0.3, 0.1, 0.6)), "red"),
        Part(box(0, -0.6, 0.06, 0.25), "brown"),
        Part(ellipse(0.3, -0.65, 0.28, 0.13), "green"),
    ),
    "ball": (Part(disc(0, 0, 0.85), ANY, "white", sectors(3)), Part(disc(0, 0, 0.15), "white")),
    "star": (Part(star(5, 1.0, 0.45), "yellow"),),
    "heart": (
        Part(
            join(disc(-0.4, -0.3, 0.48), disc(0.4, -0.3, 0.48), polygon((-0.83, -0.08), (0.83, -0.08), (0, 0.95))),
            "pink",
        ),
    ),
    "moon": (Part(cut(disc(0, 0, 0.9), disc(0.45, -0.1, 0.75)), "cream"),),
    "house": (
        Part(box(0, 0.4, 0.65, 0.5), "beige"),
        Part(polygon((-0.9, -0.08), (0.9, -0.08), (0, -0.9)), ANY),
        Part(box(-0.25, 0.6, 0.16, 0.3), "brown"),
        Part(box(0.32, 0.3, 0.16, 0.16), "cyan"),
    ),
    "tree": (
        Part(box(0, 0.6, 0.13, 0.4), "brown"),
        Part(
            join(disc(0, -0.4, 0.52), disc(-0.4, 0, 0.45), disc(0.4, 0, 0.45)),
            "green",
            "light green",
            dots(4, 0.3),
        ),
    ),
    "pine": (
        Part(box(0, 0.8, 0.12, 0.2), "brown"),
        Part(
            join(
                polygon((-0.7, 0.65), (0.7, 0.65), (0, -0.15)),
                polygon((-0.56, 0.2), (0.56, 0.2), (0, -0.5)),
                polygon((-0.4, -0.25), (0.4, -0.25), (0, -1.0)),
            ),
            "dark green",
        ),
    ),
    "mushroom": (
        Part(box(0, 0.45, 0.2, 0.45), "cream"),
        Part(common(ellipse(0, 0.05, 0.88, 0.85), box(0, -0.5, 1, 0.55)), "red", "white", dots(2.6, 0.27)),
    ),
    "fish": (
        Part(polygon((0.45, 0), (1.0, -0.5), (1.0, 0.5)), "orange"),
        Part(ellipse(-0.1, 0, 0.8, 0.48), "white", "orange", stripes(7)),
        Part(disc(-0.55, -0.1, 0.11), "black"),
    ),
    "boat": (
        Part(polygon((-0.95, 0.35), (0.95, 0.35), (0.6, 0.85), (-0.6, 0.85)), "brown"),
        Part(box(0, -0.2, 0.05, 0.6), "brown"),
        Part(polygon((0.1, 0.22), (0.1, -0.85), (0.8, 0.22)), "white"),
        Part(polygon((-0.1, 0.22), (-0.1, -0.6), (-0.65, 0.22)), ANY),
    ),
    "flower": (Part(petals(6, 0.92, 0.3), ANY), Part(disc(0, 0, 0.3), "yellow")),
    "cactus": (
        Part(
            join(
                ellipse(0, 0.05, 0.27, 0.95),
                box(0, 0.2, 0.6, 0.12),
                ellipse(-0.65, -0.1, 0.15, 0.4),
                ellipse(0.65, -0.05, 0.15, 0.36),
            ),
            "dark green",
            "green",
            stripes(16),
        ),
    ),
    "car": (
        Part(join(box(0, 0.2, 0.95, 0.25), polygon((-0.6, 0), (0.6, 0), (0.4, -0.45), (-0.4, -0.45))), ANY),
        Part(polygon((-0.4, -0.02), (0.4, -0.02), (0.28, -0.34), (-0.28, -0.34)), "cyan"),
        Part(join(disc(-0.5, 0.45, 0.24), disc(0.5, 0.45, 0.24)), "black"),
        Part(join(disc(-0.5, 0.45, 0.1), disc(0.5, 0.45, 0.1)), "grey"),
    ),
    "rocket": (
        Part(polygon((-0.6, 0.9), (-0.2, 0.3), (0.2, 0.3), (0.6, 0.9)), "red"),
        Part(ellipse(0, -0.05, 0.36, 0.95), "white"),
        Part(common(ellipse(0, -0.05, 0.36, 0.95), box(0, -0.75, 1, 0.25)), "red"),
        Part(disc(0, -0.1, 0.17), "blue"),
    ),
    "umbrella": (
        Part(join(box(0, 0.3, 0.05, 0.6), common(ring(-0.14, 0.82, 0.14, 0.05), box(0, 1.0, 1, 0.18))), "brown"),
        Part(common(disc(0, 0.1, 0.95), box(0, -0.5, 1, 0.6)), "white", ANY, stripes(9)),
    ),
    "cup": (
        Part(ring(0.6, 0.05, 0.32, 0.09), "blue"),
        Part(box(-0.1, 0.05, 0.55, 0.65), "white", "blue", stripes(9, across=True)),
    ),
    "bottle": (
        Part(join(box(0, 0.3, 0.36, 0.62), box(0, -0.5, 0.14, 0.4)), "dark green"),
        Part(box(0, 0.35, 0.36, 0.22), "cream"),
        Part(box(0, -0.88, 0.16, 0.1), "red"),
    ),
    "key": (
        Part(
            join(
                ring(0, -0.5, 0.32, 0.14),
                box(0, 0.35, 0.11, 0.6),
                box(0.22, 0.8, 0.15, 0.09),
                box(0.22, 0.5, 0.15, 0.09),
            ),
            "gold",
        ),
    ),
    "hammer": (Part(box(0, 0.3, 0.12, 0.7), "brown"), Part(box(0, -0.55, 0.6, 0.25), "grey")),
    "butterfly": (
        Part(
            join(
                disc(-0.5, -0.35, 0.45),
                disc(0.5, -0.35, 0.45),
                ellipse(-0.4, 0.4, 0.35, 0.38),
                ellipse(0.4, 0.4, 0.35, 0.38),
            ),
            "black",
            "orange",
            rings(14),
        ),
        Part(ellipse(0, 0, 0.1, 0.75), "black"),
    ),
    "ladybug": (
        Part(disc(0, -0.55, 0.38), "black"),
        Part(ellipse(0, 0.15, 0.75, 0.72), "red", "black", dots(2.2, 0.24)),
        Part(box(0, 0.15, 0.04, 0.7), "black"),
    ),
    "snail": (
        Part(join(ellipse(0, 0.65, 0.9, 0.2), ellipse(-0.75, 0.3, 0.16, 0.45)), "skin"),
        Part(disc(0.15, -0.02, 0.6), "beige", "brown", spiral(12)),
    ),
    "cloud": (
        Part(
            join(disc(-0.5, 0.15, 0.4), disc(0.5, 0.15, 0.4), disc(0, -0.15, 0.52), box(0, 0.35, 0.5, 0.2)),
            "white",
        ),
    ),
    "sun": (Part(star(12, 1.0, 0.6), "orange"), Part(disc(0, 0, 0.55), "yellow")),
    "snowman": (
        Part(disc(0, 0.45, 0.5), "white"),
        Part(disc(0, -0.3, 0.36), "white"),
        Part(join(box(0, -0.62, 0.45, 0.06), box(0, -0.8, 0.26, 0.18)), "black"),
        Part(join(disc(-0.13, -0.38, 0.06), disc(0.13, -0.38, 0.06), disc(0, 0.3, 0.07), disc(0, 0.55, 0.07)), "black"),
        Part(polygon((0, -0.32), (0, -0.2), (0.4, -0.25)), "orange"),
    ),
    "kite": (Part(polygon((0, -1), (0.65, -0.2), (0, 0.95), (-0.65, -0.2)), "purple", "cyan", sectors(2)),),
    "drum": (
        Part(box(0, 0.1, 0.75, 0.55), "gold", "red", zigzag(3)),
        Part(ellipse(0, -0.45, 0.75, 0.24), "cream"),
    ),
    "gift": (
        Part(box(0, 0.1, 0.75, 0.7), ANY),
        Part(
            join(
                box(0, 0.1, 0.13, 0.7),
                box(0, 0.1, 0.75, 0.12),
                ellipse(-0.25, -0.72, 0.25, 0.14),
                ellipse(0.25, -0.72, 0.25, 0.14),
            ),
            "gold",
        ),
    ),
    "donut": (Part(ring(0, 0, 0.6, 0.34), "pink", "white", dots(4, 0.22)),),
    "pizza": (
        Part(polygon((-0.8, -0.65), (0.8, -0.65), (0, 1)), "yellow", "red", dots(2.3, 0.3)),
        Part(box(0, -0.72, 0.85, 0.15), "brown"),
    ),
    "lollipop": (
        Part(box(0, 0.5, 0.06, 0.5), "cream"),
        Part(disc(0, -0.3, 0.62), "white", "purple", spiral(12)),
    ),
    "ice cream": (
        Part(polygon((-0.45, 0), (0.45, 0), (0, 1)), "gold", "brown", checker(6)),
        Part(join(disc(0, -0.25, 0.5), disc(0, -0.6, 0.3)), "pink"),
    ),
    "dice": (
        Part(box(0, 0, 0.75, 0.75), "white"),
        Part(join(*(disc(x, y, 0.14) for x in (-0.42, 0.42) for y in (-0.42, 0.42)), disc(0, 0, 0.14)), "black"),
    ),
    "flag": (
        Part(box(-0.8, 0, 0.07, 0.98), "grey"),
        Part(box(0.08, -0.4, 0.82, 0.52), "red", "white", stripes(17, across=True)),
    ),
    "balloon": (
        Part(box(0, 0.75, 0.03, 0.3), "white"),
        Part(polygon((-0.13, 0.65), (0.13, 0.65), (0, 0.45)), ANY),
        Part(ellipse(0, -0.2, 0.62, 0.75), ANY),
        Part(ellipse(-0.2, -0.45, 0.12, 0.18), "white"),
    ),
    "penguin": (
        Part(join(ellipse(0, 0.1, 0.55, 0.85), disc(0, -0.55, 0.38)), "black"),
        Part(ellipse(0, 0.25, 0.36, 0.6), "white"),
        Part(join(disc(-0.14, -0.65, 0.08), disc(0.14, -0.65, 0.08)), "white"),
        Part(polygon((-0.14, -0.5), (0.14, -0.5), (0, -0.28)), "orange"),
        Part(join(ellipse(-0.25, 0.92, 0.22, 0.09), ellipse(0.25, 0.92, 0.22, 0.09)), "orange"),
    ),
    "cat": (
        Part(
            join(
                ellipse(0, 0.15, 0.75, 0.65),
                polygon((-0.75, 0.1), (-0.7, -0.85), (-0.1, -0.4)),
                polygon((0.75, 0.1), (0.7, -0.85), (0.1, -0.4)),
            ),
            "dark grey",
            "grey",
            stripes(11),
        ),
        Part(join(disc(-0.28, 0.05, 0.13), disc(0.28, 0.05, 0.13)), "yellow"),
        Part(polygon((-0.12, 0.3), (0.12, 0.3), (0, 0.45)), "pink"),
    ),
    "tent": (
        Part(polygon((-1, 0.75), (1, 0.75), (0, -0.8)), ANY),
        Part(polygon((-0.35, 0.75), (0.35, 0.75), (0, -0.1)), "dark grey"),
    ),
    "target": (Part(disc(0, 0, 0.9), "white", "red", rings(14)),),
    "barrel": (
        Part(ellipse(0, 0, 0.7, 0.95), "brown"),
        Part(common(ellipse(0, 0, 0.7, 0.95), join(box(0, -0.45, 1, 0.09), box(0, 0.45, 1, 0.09))), "grey"),
    ),
    "lighthouse": (
        Part(
            polygon((-0.42, 0.95), (0.42, 0.95), (0.25, -0.5), (-0.25, -0.5)),
            "red",
            "white",
            stripes(9, across=True),
        ),
        Part(box(0, -0.65, 0.3, 0.15), "yellow"),
        Part(polygon((-0.35, -0.78), (0.35, -0.78), (0, -1)), "dark grey"),
    ),
    "carrot": (
        Part(polygon((-0.38, -0.35), (0.38, -0.35), (0, 1)), "orange"),
        Part(
            join(ellipse(0, -0.7, 0.13, 0.35), ellipse(-0.25, -0.62, 0.12, 0.32), ellipse(0.25, -0.62, 0.12, 0.32)),
            "green",
        ),
    ),
    "crown": (
        Part(
            join(
                box(0, 0.4, 0.85, 0.35),
                polygon((-0.85, 0.4), (-0.3, 0.4), (-0.85, -0.7)),
                polygon((0.85, 0.4), (0.3, 0.4), (0.85, -0.7)),
                polygon((-0.4, 0.4), (0.4, 0.4), (0, -0.8)),
            ),
            "gold",
        ),
        Part(join(disc(0, 0.4, 0.13), disc(-0.5, 0.4, 0.1), disc(0.5, 0.4, 0.1)), "red"),
    ),
    "book": (
        Part(box(0, 0, 0.7, 0.85), ANY),
        Part(box(-0.6, 0, 0.1, 0.85), "dark grey"),
        Part(box(0.12, -0.3, 0.38, 0.2), "cream"),
    ),
    "watermelon": (
        Part(common(disc(0, -0.3, 1.0), box(0, 0.3, 1.1, 0.6)), "green"),
        Part(common(disc(0, -0.3, 0.8), box(0, 0.3, 1.1, 0.6)), "red", "black", dots(3.2, 0.13)),
    ),
    "frog": (
        Part(join(ellipse(0, 0.2, 0.85, 0.6), disc(-0.42, -0.42, 0.28), disc(0.42, -0.42, 0.28)), "light green"),
        Part(join(disc(-0.42, -0.42, 0.14), disc(0.42, -0.42, 0.14)), "black"),
        Part(box(0, 0.35, 0.45, 0.05), "dark green"),
    ),
    "ghost": (
        Part(
            cut(
                join(disc(0, -0.25, 0.65), box(0, 0.35, 0.65, 0.55)),
                join(disc(-0.33, 0.95, 0.16), disc(0.33, 0.95, 0.16)),
            ),
            "white",
        ),
        Part(join(ellipse(-0.22, -0.25, 0.1, 0.17), ellipse(0.22, -0.25, 0.1, 0.17)), "black"),
    ),
}
