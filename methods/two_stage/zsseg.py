"""zsseg (Xu et al., "A Simple Baseline for Open-Vocabulary Semantic Segmentation", ECCV 2022) as its repository runs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.registry import register_method

from .base import TwoStage
from .fusion import zsseg_scores
from .heads import ZssegHead, class_logits
from .learning import MaskFormerMethod
from .options import ZssegOptions
from .prompts import LearnedPrompts
from .proposals import Proposals
from .regions import zsseg_crops


@register_method("zsseg")
class Zsseg(MaskFormerMethod):
    """Two-stage: MaskFormer's segments, named by its queries and by CLIP with learnable prompts (zsseg, ECCV 2022)."""

    Options = ZssegOptions

    def __init__(self, clip: Clip, options: ZssegOptions) -> None:
        super().__init__(clip, options, partial(zsseg_crops, expand=options.expand))
        if options.learned:
            self.prompts = LearnedPrompts(clip, options.prompt_length)
            if options.prompts is not None:
                self.prompts.load(options.prompts)

    @classmethod
    def is_own_release(cls, state: Mapping[str, Tensor]) -> bool:
        return "clip_adapter.non_object_embedding" in state

    def make_head(self, width: int, dim: int) -> nn.Module:
        return ZssegHead(width, dim)

    def query_text(self) -> Tensor:
        return self.text(self.options.query_templates)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        query_logits = self.head(proposals.queries, self.query_text())
        text, options = self.text(self.options.region_templates), self.options
        logits, valid = region_logits(self, image, proposals, text, options.mask_threshold)
        trained = self.vocabulary.seen & (options.trained == "seen")
        return zsseg_scores(query_logits, logits, valid, trained, options.weight)


def region_logits(
    method: TwoStage, image: Tensor, proposals: Proposals, text: Tensor, threshold: float = 0.5
) -> tuple[Tensor, Tensor]:
    """`(logits (V, C), valid bool (Q,))` of the V proposals that hold a pixel of the image, with more than `threshold`."""
    masks = proposals.masks[:, : image.shape[-2], : image.shape[-1]] > threshold
    valid = masks.flatten(1).any(-1)
    if not bool(valid.any()):
        return text.new_zeros(0, len(text)), valid
    return class_logits(method.encode_regions(image, masks[valid]), text), valid
