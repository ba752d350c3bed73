"""What the seen-unseen curve needs of an image: how the best seen and the best unseen score of each pixel compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.argmax import Score
from zsbench.evaluation.refine import Scores, WithoutSome
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
        sides = [WithoutSome(scores.size, dropped.to(device)) for dropped in (~self.seen, self.seen)]
        for side in sides:
            replace(scores, score=self.score).show(side, refine)
        best_seen, best_unseen = sides
        truth = label.to(device).long()
        bins = flip_bins(best_seen, best_unseen, self.edges.to(device))
        keys = []
        for side in sides:
            found = owner.to(device)[side.label.long()]
            keys.append(((bins * classes + found) * 2 + (found == truth))[truth >= 0])
        found, pixels = torch.unique(torch.cat(keys), return_counts=True)
        return found.cpu().numpy(), pixels.cpu().numpy()


def flip_bins(seen: WithoutSome, unseen: WithoutSome, edges: Tensor) -> Tensor:
    """At how many of the `edges`, ascending, the best seen word wins: int64 (H, W), by bisection.

    The comparison is that of an evaluation with that calibration, float32 rounding and ties to the lower word included.
    """
    low = torch.zeros_like(seen.label, dtype=torch.long)
    high = torch.full_like(low, len(edges))
    first = seen.label < unseen.label
    for _ in range(len(edges).bit_length()):
        middle = (low + high) // 2
        score = seen.score - edges[middle.clamp(max=len(edges) - 1)]
        wins = (score > unseen.score) | ((score == unseen.score) & first)
        open_ = low < high
        low, high = torch.where(open_ & wins, middle + 1, low), torch.where(open_ & ~wins, middle, high)
    return low
