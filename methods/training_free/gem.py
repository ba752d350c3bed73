"""GEM (Bousselham et al., "Grounding Everything", CVPR 2024; github.com/WalBouss/GEM, MIT)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.registry import register_method

from .base import DenseClip, attended
from .frames import enlarged
from .options import GemOptions

FLAT = 1e-4
"""A range of cosines that is no more than rounding."""


@register_method("gem")
class Gem(DenseClip):
    """Training-free: a second path gathers values by self-self attention over the last blocks (GEM, CVPR 2024)."""

    Options = GemOptions

    def predict(self, images: Tensor) -> Tensor:
        logits = super().predict(images)
        return stretched(enlarged(logits, images.shape[-2:])) if self.options.minmax else logits

    def cosines(self, images: Tensor) -> Tensor:
        tower, tokens = self.tower, self.tower.embed(images, self.options.positions)
        blocks = list(tower.blocks)
        for block in blocks[: -self.options.depth]:
            tokens = tower.run(block, tokens)
        second = tokens.features
        for block in blocks[-self.options.depth :]:
            found = self.gathered(block, tokens)
            second = second + found if self.options.accumulate else found
            tokens = tower.run(block, tokens) if block is not blocks[-1] else tokens
        return self.compared(tokens.holding(tower.finish(tokens.holding(second))))

    def gathered(self, block: object, tokens: Tokens) -> Tensor:
        """Values gathered by like values, keys and queries, and their mean through the output projection: (B, L, W)."""
        q, k, v = self.tower.qkv(block, tokens)
        heat: Tensor | float | None = self.options.temperature
        if heat is None:  # as hot as the tokens are long
            heat = self.tower.normed(block, tokens).norm(dim=-1).mean(1)[:, None, None, None] * v.shape[-1] ** -0.5
        parts = [alike(self.settled(x, heat), v, heat) for x in (v, k, q)]
        return self.tower.mix(block, sum(parts[1:], parts[0]) / len(parts))

    def settled(self, x: Tensor, heat: Tensor | float) -> Tensor:
        """Tokens (B, H, L, d), gathered among themselves."""
        for _ in range(self.options.iterations):
            x = alike(x, F.normalize(x, dim=-1), heat)
        return x


def alike(x: Tensor, values: Tensor, heat: Tensor | float) -> Tensor:
    """softmax(heat cos(x, x)) values: (B, H, L, d)."""
    x = F.normalize(x, dim=-1)
    return attended(x * heat, x, values, scale=1.0)


def stretched(logits: Tensor) -> Tensor:
    """Each class's map (B, C, H, W) from 0 to 1; a flat one stays flat (the release stretches rounding)."""
    low, high = logits.amin((2, 3), keepdim=True), logits.amax((2, 3), keepdim=True)
    return (logits - low) / (high - low).clamp(min=FLAT)
