"""Label maps of methods that declare a refinement: scores refined by the image, and classes of small area dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.evaluation.argmax import RunningMax, RunningProbability, Score, feed
from zsbench.evaluation.tiling import Place, Tiling
from zsbench.refining import Refining


@dataclass(frozen=True, eq=False)
class Scores:
    """All that scores at the label's size are made of.

    `score`, `logits`, `tiling`, `chunk`: as in `feed`. `image`: float (3, h, w), resized as the protocol says. `size`: of
    the label. `scale`: `Method.logit_scale`. `counts`: `Vocabulary.counts`.
    """

    score: Score | None
    logits: Tensor
    tiling: Tiling
    image: Tensor
    size: Place
    scale: float | None
    counts: Tensor | None = None
    chunk: int | None = None

    def probabilities(self) -> RunningProbability:
        """What tells the probability of each pixel's best word, once it is shown them."""
        return RunningProbability(self.size, self.logits.device, self.scale, self.counts)

    def show(self, best: RunningMax, refine: Callable[[Tensor], Tensor] | None) -> None:
        """Show `best` the scores of all words, refined chunk by chunk."""
        feed(best, self.score, self.logits, self.tiling, self.chunk, refine)


class WithoutSome(RunningMax):
    """A running maximum over the words that are not `dropped`, bool (words,)."""

    def __init__(self, shape: Place, dropped: Tensor) -> None:
        super().__init__(shape, dropped.device)
        self.dropped = dropped

    def update(self, scores: Tensor, first: int) -> None:
        here = self.dropped[first : first + len(scores)]
        super().update(scores.masked_fill(here[:, None, None], -torch.inf), first)


def refined_labels(
    scores: Scores, refining: Refining, threshold: float | None, word_to_class: Sequence[int] | None
) -> Tensor:
    """The words int32 `scores.size` after refinement; those that are background by `threshold` are one past the last word.

    `word_to_class`: the class of each word, and behind them background, where there is one; None where each is its own.
    Raises `FloatingPointError` where scores are NaN.
    """
    refine = refinement(scores, refining)
    likely = scores.probabilities()
    scores.show(likely, refine)
    if likely.score.isnan().any():
        raise FloatingPointError("scores are NaN")
    best: RunningMax = likely
    words = scores.logits.shape[1]
    if refining.area_threshold is not None:
        dropped = small(likely.label.long(), words, refining.area_threshold, word_to_class)
        if dropped.any() and not dropped.all():
            best = WithoutSome(scores.size, dropped)
            scores.show(best, refine)
    if threshold is None:
        return best.label.int()
    return best.label.int().masked_fill_(probability(best, likely) < threshold, words)


def refinement(scores: Scores, refining: Refining | None) -> Callable[[Tensor], Tensor] | None:
    """What refines scores (c, H, W) by the image, class by class; None for nothing."""
    if refining is None or refining.pamr is None:
        return None
    image = F.interpolate(scores.image[None].float(), scores.size, mode="bilinear")[0]
    return partial(refining.pamr.refine, affinities=refining.pamr.affinities(image))


def probability(best: RunningMax, likely: RunningProbability) -> Tensor:
    """That of the `best` word, float32 (H, W), among all those that `likely` has seen."""
    if likely.scale is None:
        return best.score
    return ((best.score - likely.score) * likely.scale).exp() / likely.total


def small(labels: Tensor, words: int, share: float, word_to_class: Sequence[int] | None) -> Tensor:
    """bool (words,): those of classes that have no more than `share` of the pixels of all classes but background.

    `labels`: words, int64 (H, W). Background is the class behind those of all words, where there is one.
    """
    owners = list(range(words)) if word_to_class is None else list(word_to_class)
    background = owners[words] if len(owners) > words else -1
    owner = torch.tensor(owners[:words], dtype=torch.long, device=labels.device)
    pixels = torch.bincount(owner[labels].flatten(), minlength=int(owner.max()) + 1)
    foreground = pixels.sum() - (pixels[background] if 0 <= background < len(pixels) else 0)
    return (pixels[owner] <= share * foreground) & (owner != background)
