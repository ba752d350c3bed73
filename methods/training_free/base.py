"""What training-free methods share: frames, tokens up to the last block, cosines with texts. How it attends is their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.tower import Tokens, Tower
from zsbench.clip.towers import tower_of
from zsbench.clip.vit import check_side, normalise
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.refining import Pamr, Refining

from .frames import enlarged, framed
from .options import DenseOptions

attended: Callable[..., Tensor] = F.scaled_dot_product_attention
"""softmax(q k^T / sqrt(d)) v for heads (B, H, L, d)."""


class DenseClip(Method):
    """CLIP's patches compared with its texts, the last block attending as a subclass says in `attend`.

    `residual`: whether the last block keeps its residual and its feed-forward network. `blocks`: how many blocks the method
    needs.
    """

    Options: ClassVar[type[DenseOptions]] = DenseOptions
    residual: ClassVar[bool] = False
    blocks: ClassVar[int] = 1

    def __init__(self, clip: Clip, options: DenseOptions) -> None:
        super().__init__(clip, options)
        self.visual = clip.model.visual
        self.mean, self.std = clip.mean, clip.std
        self.tower: Tower = tower_of(self.visual, clip.name)
        if len(self.tower.blocks) < self.blocks:
            raise UserError(
                f"{self.name} needs {self.blocks} attention blocks; {clip.name} has {len(self.tower.blocks)}. "
                "Choose another --clip, such as ViT-B-16-quickgelu."
            )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        """What each token takes in, (B, H, L, d), from the last block's queries, keys and values of `tokens`."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        top, left, padded = framed(normalise(images, self.mean, self.std), self.multiple, self.options.padding)
        check_side(padded, self.tower.patch)
        logits = self.cosines(padded)
        if (top, left) != (0, 0) or (self.options.padding == "centred" and padded.shape != images.shape):
            return enlarged(logits, padded.shape[-2:])[..., top : top + height, left : left + width]
        return enlarged(logits, (height, width)) if self.options.resize == "twice" else logits

    def cosines(self, images: Tensor) -> Tensor:
        """Cosines (B, C, h, w) of patches and texts; `images` normalised and padded."""
        return self.compared(self.leave(self.enter(images)))

    def enter(self, images: Tensor) -> Tokens:
        """The tokens before the last block."""
        tokens = self.tower.embed(images, self.options.positions)
        for block in list(self.tower.blocks)[:-1]:
            tokens = self.tower.run(block, tokens)
        return tokens

    def leave(self, tokens: Tokens) -> Tokens:
        """The last block, attending in the method's way, and on to the space of text embeddings."""
        tower, last = self.tower, self.tower.blocks[-1]
        mixed = tower.mix(last, self.attend(*tower.qkv(last, tokens), tokens))
        after = tower.residual(last, tokens, mixed) if self.residual else tokens.holding(mixed)
        return tokens.holding(tower.finish(after))

    def compared(self, dense: Tokens) -> Tensor:
        """Cosines (B, C, h, w) of patches in the space of text embeddings."""
        features = F.normalize(dense.patches, dim=-1)
        return (features @ self.vocabulary.embeddings.T.to(features.dtype)).mT.unflatten(-1, dense.grid)

    @property
    def multiple(self) -> int:
        """Images are padded to multiples of so many pixels, if at all."""
        return self.tower.patch

    @property
    def refining(self) -> Refining | None:
        options = self.options
        if not options.pamr and options.area_threshold is None:
            return None
        return Refining(Pamr(options.pamr) if options.pamr else None, options.area_threshold)

    @property
    def logit_scale(self) -> float:
        return self.options.logit_scale
