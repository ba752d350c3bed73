"""Background by threshold: what no word claims with enough probability is background.

The rule of the training-free methods, as SCLIP releases it (Wang et al. 2024, `clip_segmentor.py`,
`postprocess_result`; the same in ClearCLIP, NACLIP, ProxyCLIP and Trident): logits at the image's size, times a logit
scale, go through a softmax over all words, those of background included where it has any; a class has the best of its
words; a pixel whose best class has a probability *below* the threshold becomes background. The threshold depends on
scale and words, so all three are part of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zsbench.argmax import RunningMax
from zsbench.windows import Place


class RunningProbability(RunningMax):
    """A running maximum that also knows its probability: a softmax in float32, a chunk of classes at a time.

    The probability of the highest score is one over the sum of exp(scale (score - highest)), a sum that is scaled down
    whenever a higher score comes. `scale` None: scores are probabilities themselves (sigmoids).
    """

    def __init__(self, shape: Place, device: torch.device, scale: float | None) -> None:
        super().__init__(shape, device)
        self.scale = scale
        self.total = torch.zeros(shape, device=device)

    def update(self, scores: Tensor, first: int) -> None:
        if self.scale is not None:
            best = torch.maximum(self.score, scores.amax(0))
            self.total.mul_((self.score - best).mul_(self.scale).exp_())
            self.total.add_((scores - best).mul_(self.scale).exp_().sum(0))
        super().update(scores, first)

    def below(self, threshold: float) -> Tensor:
        """bool (H, W): True where the best class is less probable than `threshold`."""
        return (self.score if self.scale is None else self.total.reciprocal()) < threshold
