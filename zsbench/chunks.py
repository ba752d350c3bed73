"""Scores of an image, a chunk of classes at a time: windows upsampled, scored, averaged, and resized to the label."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.argmax import RunningMax, class_chunks
from zsbench.errors import UserError
from zsbench.windows import Tiling

Score = Callable[[Tensor, slice], Tensor]
"""A pointwise function of logits (..., c, H, W) of some classes, as `Method.score`."""


def feed(best: RunningMax, score: Score | None, logits: Tensor, tiling: Tiling, chunk: int | None = None) -> None:
    """Show `best` the scores of all classes at its size, from the logits float32 (n, C, h, w) of an image's windows.

    `score` None: logits are the scores, and those of one window go straight to the size of `best`. `chunk`: classes at a
    time, by default from a byte budget.
    """
    size = (best.score.shape[0], best.score.shape[1])
    direct = score is None and len(tiling.places) == 1
    counts = tiling.counts(logits.device)
    pixels = max(tiling.shape[0] * tiling.shape[1], size[0] * size[1])
    for part in class_chunks(logits.shape[1], pixels, chunk):
        scores = logits[:, part].contiguous() if direct else window_scores(score, logits, part, tiling, counts)
        if direct or size != tiling.shape:
            scores = F.interpolate(scores, size=size, mode="bilinear")
        best.update(scores[0], part.start)


def window_scores(score: Score | None, logits: Tensor, part: slice, tiling: Tiling, counts: Tensor) -> Tensor:
    """Scores of the classes `part`, averaged over windows: float32 (1, c, H, W) of the resized image."""
    windows = [window.contiguous() for window in logits[:, None, part]]
    upsampled = (F.interpolate(window, size=tiling.window, mode="bilinear") for window in windows)
    if len(windows) == 1:
        return scored(score, next(upsampled), part)
    total = torch.zeros((1, part.stop - part.start, *tiling.shape), device=logits.device)
    for window, place in zip(upsampled, tiling.places, strict=True):
        tiling.cut(total, place).add_(scored(score, window, part))
    return total.div_(counts)


def scored(score: Score | None, upsampled: Tensor, part: slice) -> Tensor:
    """The scores of upsampled logits: float32, of the same shape."""
    if score is None:
        return upsampled
    scores, shape = score(upsampled, part), tuple(upsampled.shape)
    if tuple(scores.shape) != shape:
        name = getattr(score, "__qualname__", type(score).__name__)
        raise UserError(f"{name} gave {tuple(scores.shape)} for {shape}: it must be pointwise and keep the shape.")
    return scores.float()
