"""ResCLIP (Yang et al., "Residual Attention for Training-Free Dense Vision-Language Inference", CVPR 2025)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.refining import Pamr
from zsbench.registry import register_method

from .base import DenseClip
from .frames import enlarged, level
from .neighbours import neighbourhood
from .options import ResClipOptions
from .patch_labels import majority, semantic_weights


@register_method("resclip")
class ResClip(DenseClip):
    """Training-free: attention of earlier blocks, and a first labelling, guide the last block (ResCLIP, CVPR 2025)."""

    Options = ResClipOptions
    blocks = 2

    def cosines(self, images: Tensor) -> Tensor:
        tokens, earlier = self.observed(images)
        first = self.answered(tokens, earlier, None)
        labels = self.labels(images, first)
        weights = torch.stack([semantic_weights(each, self.options.label_deviation) for each in labels])
        return self.answered(tokens, earlier, F.pad(weights, (tokens.prefix, 0, tokens.prefix, 0)))

    def observed(self, images: Tensor) -> tuple[Tokens, Tensor]:
        """The tokens before the last block, and the mean attention (B, H, L, L) of the blocks between `from` and `to`."""
        tower, tokens, seen = self.tower, self.tower.embed(images, self.options.positions), []
        first, end = (level(each, len(tower.blocks)) for each in (self.options.cross_from, self.options.cross_to))
        for index, block in enumerate(list(tower.blocks)[:-1]):
            if first <= index <= end:
                q, k, v = tower.qkv(block, tokens)
                seen.append((q @ k.mT * k.shape[-1] ** -0.5).softmax(-1))
                tokens = tower.residual(block, tokens, tower.mix(block, seen[-1] @ v))
            else:
                tokens = tower.run(block, tokens)
        return tokens, torch.stack(seen).mean(0)

    def answered(self, tokens: Tokens, earlier: Tensor, semantic: Tensor | None) -> Tensor:
        """Cosines (B, C, h, w) after the last block; `semantic`: weights (B, L, L) of the second pass."""
        tower, last, options = self.tower, self.tower.blocks[-1], self.options
        _, k, v = tower.qkv(last, tokens)
        logits = k @ k.mT * k.shape[-1] ** -0.5
        if semantic is not None:  # as released: in half precision, whatever the rest is in
            half = options.label_weight * (semantic / semantic.amax((1, 2), keepdim=True)).half()
            logits = options.label_scale * ((1 - options.label_weight) * logits + half[:, None].to(logits.dtype))
        own = (logits + neighbourhood(tokens, options.deviation).to(logits.dtype)).softmax(-1)
        weights = 2 * ((1 - options.cross_weight) * own + options.cross_weight * earlier)
        return self.compared(tokens.holding(tower.finish(tokens.holding(tower.mix(last, weights @ v)))))

    def labels(self, images: Tensor, cosines: Tensor) -> Tensor:
        """The word of each patch, int64 (B, h, w), by the first pass; 0 where it is not sure enough."""
        pamr, found, counts = Pamr(), [], self.vocabulary.counts
        for image, maps in zip(images, enlarged(cosines, images.shape[-2:]).float(), strict=True):
            scaled = pamr.refine(maps, pamr.affinities(image)) * self.options.logit_scale
            probable = scaled.softmax(0)
            if counts is not None:  # a word that the list has twice is in the sum twice
                probable = probable / (probable * counts[:, None, None]).sum(0)
            best, label = probable.max(0)
            found.append(majority(label.masked_fill(best < self.options.first_threshold, 0), self.tower.patch))
        return torch.stack(found)
