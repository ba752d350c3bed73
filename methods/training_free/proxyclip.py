"""ProxyCLIP (Lan et al., "Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.tower import Tokens
from zsbench.clip.towers import tower_of
from zsbench.clip.vit import IMAGENET_MEAN, IMAGENET_STD, normalise
from zsbench.clip.weights import fill, read_tensors
from zsbench.errors import UserError
from zsbench.registry import register_method

from .base import DenseClip
from .options import CLIP_ITSELF, ProxyClipOptions
from .similarity import cosines, sharpened


@register_method("proxyclip")
class ProxyClip(DenseClip):
    """Training-free: CLIP's values, gathered by the likeness of DINO's features (ProxyCLIP, ECCV 2024)."""

    Options = ProxyClipOptions

    def __init__(self, clip: Clip, options: ProxyClipOptions) -> None:
        super().__init__(clip, options)
        if options.guide != CLIP_ITSELF:
            self.guide = load_guide(options.guide, options.guide_weights, clip)
            self.guide_tower = tower_of(self.guide, options.guide)

    @property
    def multiple(self) -> int:
        return self.tower.patch if self.options.guide == CLIP_ITSELF else 56

    def cosines(self, images: Tensor) -> Tensor:
        tower, tokens = self.tower, self.enter(images)
        guide, last = self.guided(images, tokens), tower.blocks[-1]
        _, _, values = tower.qkv(last, tokens)
        count = values.shape[1]
        maps = values[:, :, tokens.prefix :].mT.flatten(1, 2).unflatten(-1, tokens.grid)
        values = F.interpolate(maps, guide.grid, mode="bilinear").flatten(2).unflatten(1, (count, -1)).mT
        weights = sharpened(cosines(guide.patches), self.options.offset, self.options.sharpness)
        mixed = tower.mix(last, weights[:, None] @ values)
        dense = Tokens(mixed, guide.grid, prefix=0)
        return self.compared(dense.holding(tower.finish(dense)))

    def guided(self, images: Tensor, entered: Tokens) -> Tokens:
        """DINO's tokens after its last norm, of images that CLIP's mean and deviation have normalised; or CLIP's own in the
        space of texts, of its tokens before the last block."""
        if self.options.guide == CLIP_ITSELF:
            return entered.holding(self.tower.finish(self.tower.run(self.tower.blocks[-1], entered)))
        mean, std = (images.new_tensor(value)[:, None, None] for value in (self.clip.mean, self.clip.std))
        tower = self.guide_tower
        tokens = tower.embed(normalise(images * std + mean, IMAGENET_MEAN, IMAGENET_STD), "scale")
        for block in tower.blocks:
            tokens = tower.run(block, tokens)
        return tokens.holding(self.guide.norm(tokens.features))


def load_guide(name: str, weights: Path | None, clip: Clip) -> Any:
    """timm's model `name`, frozen; random where CLIP is, which is what costs are measured with.

    Raises `UserError` for a name that timm does not have, and where no weights are given or to be had.
    """
    download = weights is None and not clip.weights.random
    try:
        with torch.random.fork_rng(devices=[]):
            guide = timm.create_model(name, pretrained=download, num_classes=0)
    except Exception as error:  # timm's and its hub's are of many kinds
        raise UserError(
            f"proxyclip: timm cannot give {name} ({type(error).__name__}: {str(error)[:200]}). Without a network, give "
            "a file of its weights: -o guide_weights=path/to/file; or --variant guided-by-clip, which needs none and is not "
            "the paper's."
        ) from error
    if weights is not None:
        fill(guide, read_tensors(weights), str(weights), name)
    return guide.eval().requires_grad_(False)
