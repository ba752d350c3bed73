"""What the seen-unseen curve needs of an image: how the best seen and the best unseen score of each pixel compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.argmax import RunningMax, Score, first_max
from zsbench.evaluation.refine import Scores
from zsbench.evaluation.tiling import Place
from zsbench.method import Method, Scoring
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.seen_unseen import edges_with


def check_calibratable(method: Method, protocol: EvalProtocol, seen: Sequence[bool]) -> None:
    """Raise `UserError` where labels are no choice between a best seen and a best unseen score. `seen`: of each word."""
    name = type(method).__name__
    if all(seen) or not any(seen):
        kind = "seen" if all(seen) else "unseen"
        raise UserError(f"--curve: all classes are {kind}; a calibration needs seen and unseen ones.")
    if protocol.background_threshold is not None:
        raise UserError(
            "--curve: pixels that are background by a threshold have no score to calibrate. Give --background-threshold "
            "none, and a name set with a word for every class (--classes)."
        )
    if method.refining is not None and method.refining.area_threshold is not None:
        raise UserError(
            f"--curve: {name} drops classes of small area, which change with every calibration: give -o area_threshold=none."
        )


@dataclass(frozen=True, eq=False)
class Calibratable:
    """The scores of a method before its own calibration, which is `own`.

    `score`: as in `feed`. `seen`: bool (words,). `edges`: the calibrations, ascending, float32 (E,).
    """

    score: Score | None
    seen: Tensor
    own: float
    edges: Tensor

    @classmethod
    def of(cls, method: Method) -> Calibratable:
        """Of a method that has been told the vocabulary. What it subtracts is its own calibration where it is one constant
        for all seen words and one for all others; any other bias stays in the scores, and `own` is 0."""
        seen = method.vocabulary.seen.cpu()
        if type(method).score is not Method.score:
            return cls.at(method.score, seen, 0.0)
        scoring = method.scoring
        if scoring.class_bias is None:
            return cls.at(None if scoring.plain else scoring, seen, 0.0)
        bias = scoring.class_bias.detach().float().cpu()
        constants = [bias[words].unique() for words in (seen, ~seen)]
        if any(len(constant) != 1 for constant in constants):
            return cls.at(scoring, seen, 0.0)
        own = np.float32(constants[0].item() - constants[1].item())
        return cls.at(Scoring(scoring.sigmoid), seen, float(str(own)))  # 0.1, not the double next to float32(0.1)

    @classmethod
    def at(cls, score: Score | None, seen: Tensor, own: float) -> Calibratable:
        return cls(score, seen, own, torch.from_numpy(edges_with(own)).float())

    def histogram(
        self, scores: Scores, refine: Callable[[Tensor], Tensor] | None, label: Tensor, owner: Tensor, classes: int
    ) -> tuple[Ints, Ints]:
        """Where in the table of `Flips` the labelled pixels of an image belong: indices, ascending, and pixels at each.

        `label`: int (H, W). `owner`: int64 (words,), the class of each word. A pixel is counted with its best seen and with
        its best unseen class.
        """
        device = scores.logits.device
        best = SeenAndUnseen(scores.size, self.seen.to(device))
        replace(scores, score=self.score).show(best, refine)
        truth = label.to(device).long()
        bins = flip_bins(*best.sides, self.edges.to(device))
        keys = []
        for side in best.sides:
            found = owner.to(device)[side.label.long()]
            keys.append(((bins * classes + found) * 2 + (found == truth))[truth >= 0])
        pixels = torch.bincount(torch.cat(keys))
        found = pixels.nonzero()[:, 0]
        return found.cpu().numpy(), pixels[found].cpu().numpy()


class SeenAndUnseen(RunningMax):
    """Two running maxima, `sides`: over the words that are `seen`, bool (words,), and over all others."""

    def __init__(self, shape: Place, seen: Tensor) -> None:
        super().__init__(shape, seen.device)
        self.sides = (RunningMax(shape, seen.device), RunningMax(shape, seen.device))
        self.seen = seen

    def update(self, scores: Tensor, first: int) -> None:
        here = self.seen[first : first + len(scores)]
        for side, members in zip(self.sides, (here, ~here), strict=True):
            rows = members.nonzero()[:, 0]
            if len(rows):
                score, index = first_max(scores[rows].flatten(1))
                side.take(score, (rows + first).float()[index.long()])


def flip_bins(seen: RunningMax, unseen: RunningMax, edges: Tensor) -> Tensor:
    """At how many of the `edges`, ascending, the best seen word wins: int64 (H, W).

    The comparison is that of an evaluation with that calibration, float32 rounding and ties to the lower word included.
    """
    a, b, first = seen.score.flatten(), unseen.score.flatten(), (seen.label < unseen.label).flatten()
    bins = torch.searchsorted(edges, a - b)
    wrong = (wins(a, b, first, edges, bins - 1) < (bins > 0)) | (wins(a, b, first, edges, bins) & (bins < len(edges)))
    rounded = wrong.nonzero()[:, 0]  # few: where the difference is that near to an edge
    bins[rounded] = bisected(a[rounded], b[rounded], first[rounded], edges)
    return bins.view_as(seen.label)


def wins(a: Tensor, b: Tensor, first: Tensor, edges: Tensor, at: Tensor) -> Tensor:
    """Whether the seen score `a`, less the edge of that index, beats `b`, or is as high and its word the `first`."""
    score = a - edges[at.clamp(0, len(edges) - 1)]
    return (score > b) | ((score == b) & first)


def bisected(a: Tensor, b: Tensor, first: Tensor, edges: Tensor) -> Tensor:
    """At how many of the edges `wins` holds, which it does up to one of them."""
    low = torch.zeros(len(a), dtype=torch.long, device=a.device)
    high = torch.full_like(low, len(edges))
    for _ in range(len(edges).bit_length()):
        middle = (low + high) // 2
        won = wins(a, b, first, edges, middle) & (low < high)
        low, high = torch.where(won, middle + 1, low), torch.where(won, high, middle)
    return low
