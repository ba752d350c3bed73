"""MaskCLIP (Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022; github.com/chongzhou96/MaskCLIP, Apache-2.0)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.clip.tower import Tokens, joined
from zsbench.clip.towers import ResNetTower, tower_of
from zsbench.clip.vit import IMAGENET_MEAN, IMAGENET_STD, normalise
from zsbench.registry import register_method

from .base import DenseClip, attended
from .frames import framed
from .options import MaskClipOptions

SCALE = 100.0
"""Of the cosines, before a softmax over classes says how sure a patch is."""
NEVER = -100.0
"""The cosine of a class that is denoised away."""


@register_method("maskclip")
class MaskClip(DenseClip):
    """Training-free: in the last block each token takes its own value alone (MaskCLIP, ECCV 2022)."""

    Options = MaskClipOptions
    residual = True

    def __init__(self, clip: Clip, options: MaskClipOptions) -> None:
        super().__init__(clip, options)
        if options.normalisation == "imagenet":
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        if options.activation == "gelu":
            self.visual = as_released(self.visual)
            self.tower = tower_of(self.visual, clip.name)

    @property
    def multiple(self) -> int:
        return 1 if isinstance(self.tower, ResNetTower) else super().multiple  # a ResNet's sides are rounded down

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        return v if self.options.attention == "values" else attended(q, k, v)

    def cosines(self, images: Tensor) -> Tensor:
        tokens = self.enter(images)
        cosines = self.compared(self.leave(tokens))
        if self.options.denoising is not None and len(self.vocabulary) > 1:
            cosines = denoised(cosines, self.options.denoising)
        return (
            cosines if self.options.smoothing is None else smoothed(cosines, self.keys(tokens), self.options.smoothing)
        )

    def embedded(self, images: Tensor) -> Tensor:
        """Patches (B, D, h, w) of images in 0..1, padded, in the space of text embeddings, of length 1."""
        _, _, padded = framed(normalise(images, self.mean, self.std), self.multiple, self.options.padding)
        dense = self.leave(self.enter(padded))
        return F.normalize(dense.patches, dim=-1).mT.unflatten(-1, dense.grid)

    def keys(self, tokens: Tokens) -> Tensor:
        """The patches' keys in the last block, (B, h*w, W), through the output projection where that keeps their size."""
        _, keys, _ = self.tower.qkv(self.tower.blocks[-1], tokens)
        keys = keys[:, :, tokens.prefix :]
        return joined(keys) if isinstance(self.tower, ResNetTower) else self.tower.mix(self.tower.blocks[-1], keys)


def denoised(cosines: Tensor, threshold: float) -> Tensor:
    """Cosines (B, C, h, w) without the classes that are nowhere in the image as probable as `threshold`."""
    best = (SCALE * cosines).softmax(1).amax((2, 3), keepdim=True)
    return cosines.masked_fill(best < threshold, NEVER)


def smoothed(cosines: Tensor, keys: Tensor, threshold: float) -> Tensor:
    """Probabilities (B, C, h, w); a patch less sure than `threshold` gets the sum of all patches', weighted by like keys.

    As released: each channel of the keys (B, h*w, W) is divided by its norm over the patches (the paper says each key by its
    own), weights of either sign are not normalised, and so sums are no probabilities.
    """
    probable = (SCALE * cosines).softmax(1).flatten(2)
    keys = F.normalize(keys, dim=1)
    sure = probable.amax(1, keepdim=True) >= threshold
    return torch.where(sure, probable, probable @ (keys @ keys.mT)).view_as(cosines)


def as_released(visual: Any) -> Any:
    """An image encoder of the same parameters, with GELU for QuickGELU and an epsilon of 1e-6 in its norms."""
    copied = deepcopy(visual, {id(parameter): parameter for parameter in visual.parameters()})
    for module in list(copied.modules()):
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, nn.GELU())
    return copied
