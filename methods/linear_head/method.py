"""The linear head: one matrix between CLIP's patches and its texts, trained on the pixels of seen classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.clip.tower import Tokens
from zsbench.clip.towers import tower_of
from zsbench.clip.vit import check_side, normalise
from zsbench.dataset import IGNORE
from zsbench.method import Losses, Method
from zsbench.registry import register_method

from .options import LinearHeadOptions


@register_method("linear-head")
class LinearHead(Method):
    """A linear map of a frozen CLIP's patches, compared with the texts; softmax cross-entropy on seen pixels."""

    Options = LinearHeadOptions
    trainable = True
    settings = ("inductive", "supervised")
    options: LinearHeadOptions

    def __init__(self, clip: Clip, options: LinearHeadOptions) -> None:
        super().__init__(clip, options)
        self.visual = clip.model.visual
        self.tower = tower_of(self.visual, clip.name)
        self.head = nn.Linear(clip.dim, clip.dim)
        if options.start == "identity":
            nn.init.eye_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def predict(self, images: Tensor) -> Tensor:
        """Cosines float32 (B, C, h, w), one for each patch, times `scale`."""
        dense = self.dense(images)
        features = F.normalize(self.head(F.normalize(dense.patches.float(), dim=-1)), dim=-1)
        cosines = features @ self.vocabulary.embeddings.T.to(features.dtype)
        return self.options.scale * cosines.mT.unflatten(-1, dense.grid)

    @torch.no_grad()
    def dense(self, images: Tensor) -> Tokens:
        """CLIP's tokens (B, 1 + h*w, D) in the space of its texts. Nothing of CLIP learns."""
        check_side(images, self.tower.patch)
        tokens = self.tower.embed(normalise(images, self.clip.mean, self.clip.std))
        for block in self.tower.blocks:
            tokens = self.tower.run(block, tokens)
        return tokens.holding(self.tower.finish(tokens))

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Softmax cross-entropy over the seen classes, a mean over labelled pixels."""
        logits = F.interpolate(self.predict(images), labels.shape[-2:], mode="bilinear", align_corners=False)
        labelled = (labels != IGNORE).sum()
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        return Losses({"ce": total / labelled.clamp(min=1)}, labelled)
