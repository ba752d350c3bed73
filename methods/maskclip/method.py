"""MaskCLIP as a method: the image encoder up to its last block, whose values alone are used."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.vit import embed, normalise, plain_vit
from zsbench.method import Method
from zsbench.registry import register_method

from .options import MaskClipOptions


@register_method("maskclip")
class MaskClip(Method):
    """Training-free: the last attention layer is replaced by its value path (MaskCLIP, ECCV 2022)."""

    Options = MaskClipOptions

    def __init__(self, clip: Clip, options: MaskClipOptions) -> None:
        super().__init__(clip, options)
        self.visual = plain_vit(clip, "maskclip")

    @property
    def logit_scale(self) -> float:
        return self.options.logit_scale or float(self.clip.model.logit_scale.exp())

    def predict(self, images: Tensor) -> Tensor:
        visual, patch = self.visual, self.clip.patch_size
        height, width = images.shape[-2] // patch, images.shape[-1] // patch
        tokens = embed(visual, normalise(images, self.clip.mean, self.clip.std))
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            tokens = block(tokens)
        features = F.normalize(visual.ln_post(values_only(last, tokens)[:, 1:]) @ visual.proj, dim=-1)
        logits = features @ self.vocabulary.embeddings.T
        return logits.mT.unflatten(-1, (height, width))


def values_only(block: Any, tokens: Tensor) -> Tensor:
    """A transformer block in which every token attends to itself alone: (B, L, D) to (B, L, D)."""
    attention = block.attn
    weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    tokens = tokens + attention.out_proj(F.linear(block.ln_1(tokens), weight, bias))
    return tokens + block.mlp(block.ln_2(tokens))
