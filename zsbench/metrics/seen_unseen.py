"""The seen-unseen curve: mIoU of seen and of unseen classes for every calibration, from one pass over the images.

A calibration subtracts gamma from the scores of seen classes. Which of them is best, and which unseen class is, does not
depend on gamma: a pixel has its best seen class up to some gamma, and its best unseen class from there on. It is enough to
count the pixels of both classes, right and wrong, by the bin of gamma in which they flip (Chao et al., "An Empirical Study
and Analysis of Generalized Zero-Shot Learning for Object Recognition in the Wild", ECCV 2016, for pixels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from zsbench.metrics.class_counts import Ints
from zsbench.metrics.scores import Counts, Floats, Mask, hiou, summaries

DECADES = range(-5, 5)
"""Powers of ten of the smallest and the largest calibrations."""


def edges_with(own: float) -> Floats:
    """The calibrations that a curve knows, ascending, float64 (E,): 0, and every number of two significant digits between
    1e-5 and 1e5, of either sign (0.010, 0.011, ..., 0.099, 0.10, 0.11, ...). `own`, a method's own, is one more."""
    positive = [float(f"{digits}e{power - 1}") for power in DECADES for digits in range(10, 100)]
    positive.append(10.0**DECADES.stop)
    return np.union1d([0.0, *positive, *(-number for number in positive)], [own])


@dataclass(frozen=True)
class Curve:
    """S and U in percent at the calibrations `gamma`, ascending; see `zsbench.result.Curve`."""

    gamma: list[float]
    seen: list[float]
    unseen: list[float]
    area: float
    best_hiou: float
    best_gamma: float
    own_gamma: float


class Flips:
    """Pixels by the bin in which they flip; bin k holds those whose best seen class wins at the first k of the `edges`.

    `seen`: bool (C,), the classes from whose scores gamma is subtracted.
    """

    def __init__(self, edges: Floats, seen: Mask) -> None:
        self.edges, self.seen = edges, seen
        self.table = np.zeros((len(edges) + 1, len(seen), 2), np.int64)
        """(E + 1, C, 2): pixels with that bin whose best seen, or best unseen, class it is; wrong and right ones."""

    def add(self, keys: ArrayLike, pixels: ArrayLike) -> None:
        """Take in a histogram as `histogram` of `zsbench.evaluation.curve` gives it; `keys` are indices into the table."""
        np.add.at(self.table.reshape(-1), np.asarray(keys, np.int64), np.asarray(pixels, np.int64))

    def counts(self, gt: Ints) -> Counts:
        """The counts int64 (E, C) at each edge; `gt`: int64 (C,), pixels of each class."""
        flipped = self.table.cumsum(axis=0)
        wrong_right = np.where(self.seen[:, None], flipped[-1] - flipped[:-1], flipped[:-1])
        pred = wrong_right.sum(axis=-1)
        return Counts(wrong_right[..., 1], pred, np.broadcast_to(gt, pred.shape))

    def curve(self, gt: Ints, own: float, seen: Mask | None = None) -> Curve:
        """The curve at all edges that bound a bin with pixels, and at `own`; no other has numbers of its own.

        `seen`: bool (C,), the classes that S is the mean over, where they are not those of the flips.
        """
        values = summaries(self.counts(gt), self.seen if seen is None else seen)
        s, u = values["mIoU_S"], values["mIoU_U"]
        filled: Mask = np.asarray(self.table.any(axis=(1, 2)))
        kept = filled[:-1] | filled[1:] | (self.edges == own)
        harmonic = np.where(kept, hiou(s, u), np.nan)
        best = -1 if np.isnan(harmonic).all() else int(np.nanargmax(harmonic))
        return Curve(
            gamma=self.edges[kept].tolist(),
            seen=s[kept].tolist(),
            unseen=u[kept].tolist(),
            area=area(s[kept], u[kept]),
            best_hiou=float(harmonic[best]),
            best_gamma=float(self.edges[best]) if best >= 0 else float("nan"),
            own_gamma=own,
        )


def area(seen: Floats, unseen: Floats) -> float:
    """Area between the curve and both axes in percent of the square of 100 % by 100 %; NaN where S or U has no class.

    By trapezia between the points, which come in the order of gamma; S falls to 0 on the way, up to noise.
    """
    s, u = (np.nan_to_num(side) if not np.isnan(side).all() else side for side in (seen, unseen))
    return float(((s[:-1] - s[1:]) * (u[:-1] + u[1:])).sum() / 200.0)
