"""The learnt prompts of zsseg: CLIP names ground-truth segments, and the vectors before the class names are trained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.method import ImageBatch
from zsbench.registry import register_method

from .base import TwoStage
from .criterion import targets_of
from .fusion import zsseg_scores
from .heads import class_logits
from .options import PromptOptions
from .prompts import LearnedPrompts
from .proposals import Proposals, oracle
from .regions import zsseg_crops
from .templates import LEARNED
from .zsseg import region_logits


@register_method("zsseg-prompts")
class ZssegPrompts(TwoStage):
    """Prompts for zsseg, learnt by naming true segments of seen classes; evaluated on true segments (oracle)."""

    Options = PromptOptions
    trainable = True

    def __init__(self, clip: Clip, options: PromptOptions) -> None:
        super().__init__(clip, options, partial(zsseg_crops, expand=options.expand))
        self.prompts = LearnedPrompts(clip, options.prompt_length, learn=True)

    @property
    def oracle(self) -> bool:
        return True

    def names(self) -> Tensor:
        """Embeddings (C, D) of the vocabulary under the prompts as they are now."""
        self.clip.model.to(
            self.regions.mean.device
        )  # the text encoder is no part of this module, but here it works along
        return self.prompts(self.clip.model, self.vocabulary.words)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over the segments of each seen class, CLIP's image features as they are."""
        features, wanted = [], []
        for image, label in zip(images, labels, strict=True):
            targets = targets_of(label)
            if len(targets.classes):
                with torch.no_grad():
                    features.append(self.regions(image, targets.masks > 0))
                wanted.append(targets.classes)
        names = self.names()
        if not features:
            return {"ce": 0 * names.sum()}
        return {"ce": F.cross_entropy(class_logits(torch.cat(features), names), torch.cat(wanted))}

    def propose(self, batch: ImageBatch) -> Iterator[Proposals]:
        return oracle(batch)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        logits, valid = region_logits(self, image, proposals, self.text(LEARNED))
        return zsseg_scores(None, logits, valid, self.vocabulary.seen, 0.0)
