"""How a method's upsampled logits become scores, said as data, so that every way of computing labels can apply it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Scoring:
    """Scores are the logits, or their sigmoids, less a constant of each class (a calibration of seen classes).

    `less`: float32 (C,), finite; None for nothing.
    """

    sigmoid: bool = False
    less: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether scores are the logits themselves."""
        return not self.sigmoid and self.less is None

    def __call__(self, logits: Tensor, classes: slice) -> Tensor:
        """Scores of logits (..., c, H, W) of the classes `classes`."""
        scores = logits.sigmoid() if self.sigmoid else logits
        return scores if self.less is None else scores - self.less[classes, None, None].to(scores.device)
