"""SC-CLIP (Bai et al., "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation")."""

from __future__ import annotations

import torch
from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.registry import register_method

from .base import DenseClip, attended
from .frames import level
from .options import ScClipOptions
from .outliers import filled, outliers
from .similarity import cosines, sharpened


@register_method("sc-clip")
class ScClip(DenseClip):
    """Training-free: outlying patches are mended, alike ones averaged, by CLIP's own middle blocks (SC-CLIP)."""

    Options = ScClipOptions
    blocks = 2

    def cosines(self, images: Tensor) -> Tensor:
        tower, states = self.tower, self.states(images)
        last, options = states[-1], self.options
        early, late = (states[level(each, len(tower.blocks))] for each in (options.early, options.late))
        first, end = (level(each, len(tower.blocks)) for each in (options.summed_from, options.summed_to))
        summed = sum((state.features for state in states[first + 1 : end]), states[first].features)
        outlying = outliers(last.patches, options.neighbours, options.quantile)
        alike = filled(late.patches, last.grid, outlying)
        near, wide = self.cut(cosines(early.patches)), self.cut(cosines(alike))
        focus = sharpened(cosines(alike), 1.0, options.sharpness)
        found = torch.zeros_like(last.patches)
        for patches, mark in (
            (gathered(wide, filled(last.patches, last.grid, outlying)), last.features[:, : last.prefix]),
            (summed[:, last.prefix :], summed[:, : last.prefix]),
        ):
            answer = self.answer(Tokens(patches, last.grid, prefix=0, rotation=last.rotation), focus)
            found = found + gathered(near, answer + options.class_weight * mark.sum(1, keepdim=True))
        dense = Tokens(found, last.grid, prefix=0)
        return self.compared(dense.holding(tower.finish(dense)))

    def states(self, images: Tensor) -> list[Tokens]:
        """The tokens after every block but the last, which attends in its own way."""
        states, tokens = [], self.tower.embed(images, self.options.positions)
        for block in list(self.tower.blocks)[:-1]:
            tokens = self.tower.run(block, tokens)
            states.append(tokens)
        return states

    def answer(self, patches: Tokens, focus: Tensor) -> Tensor:
        """The last block's attention among patches, half by `focus` (B, n, n), half by like keys: (B, n, W)."""
        last = self.tower.blocks[-1]
        _, k, v = self.tower.qkv(last, patches)
        return self.tower.mix(last, (focus[:, None] @ v + attended(k, k, v)) / 2)

    def cut(self, similarities: Tensor) -> Tensor:
        """Only what is alike enough."""
        return similarities.where(similarities >= self.options.threshold, 0.0)


def gathered(weights: Tensor, patches: Tensor) -> Tensor:
    """The mean of patches (B, n, W) by `weights` (B, n, n), which need not add up to 1."""
    return weights @ patches / (weights.sum(-1, keepdim=True) + 1e-6)
