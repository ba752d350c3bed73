"""The learnt prompts of zsseg: CLIP names ground-truth segments, and the vectors before the class names are trained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.method import Preset
from zsbench.registry import register_method

from .base import WHOLE_IMAGES, RegionOptions, TwoStage
from .criterion import targets_of
from .fusion import zsseg_scores
from .heads import class_logits
from .prompts import LearnedPrompts
from .proposals import Proposals, oracle
from .regions import zsseg_crops
from .zsseg import region_logits

RECIPE = {
    "learning_rate": 2e-3,
    "weight_decay": 5e-4,
    "batch_size": 8,
    "warmup_iterations": 100,
    "min_learning_rate": 0.0,
    "category_limit": 1.0,
    "photometric": False,
}
"""zsseg trains with SGD (0.02, cosine) on 32 single segments a step; here AdamW, on all segments of 8 images a step."""


class PromptOptions(RegionOptions):
    expand: float = Field(1.0, ge=1, description="CLIP sees the box of a mask with its sides this much longer")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")


@register_method("zsseg-prompts")
class ZssegPrompts(TwoStage):
    """Prompts for zsseg, learnt by naming true segments of seen classes; evaluated on true segments (oracle)."""

    Options = PromptOptions
    trainable = True
    presets: ClassVar = {
        "*": Preset(recipe=RECIPE, protocol=WHOLE_IMAGES),
        "miniworld": Preset(options={"expand": 3.0}, recipe={"iterations": 200}),
        "pascal-voc": Preset(recipe={"iterations": 3_200}),
        "coco-stuff": Preset(recipe={"iterations": 16_000}),
    }

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

    def propose(self, images: Tensor) -> Iterator[Proposals]:
        return oracle(images, self.truth)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        if "learned" not in self._texts:
            with torch.no_grad():
                self._texts["learned"] = self.names()
        logits, valid = region_logits(self, image, proposals, self._texts["learned"])
        return zsseg_scores(None, logits, valid, self.vocabulary.seen, 0.0)
