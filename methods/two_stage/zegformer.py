"""ZegFormer (Ding et al., "Decoupling Zero-Shot Semantic Segmentation", CVPR 2022) as its repository runs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.method import Scoring
from zsbench.registry import register_method

from .fusion import zegformer_scores
from .heads import ZegFormerHead, class_logits
from .learning import MaskFormerMethod
from .options import ZegFormerOptions
from .proposals import Proposals
from .regions import zegformer_crops


@register_method("zegformer")
class ZegFormer(MaskFormerMethod):
    """Two-stage: MaskFormer's segments, named by its queries and by CLIP on masked crops (ZegFormer, CVPR 2022)."""

    Options = ZegFormerOptions

    def __init__(self, clip: Clip, options: ZegFormerOptions) -> None:
        super().__init__(clip, options, partial(zegformer_crops, style=options.crop))

    @classmethod
    def is_own_release(cls, state: Mapping[str, Tensor]) -> bool:
        return "sem_seg_head.predictor.projection_layer.weight" in state

    def make_head(self, width: int, dim: int) -> nn.Module:
        return ZegFormerHead(width, dim)

    def query_text(self) -> Tensor:
        if self.training or self.options.test_query_templates is None:
            return self.text(self.options.query_templates)
        return self.text(self.options.test_query_templates)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        query_logits = self.head(proposals.queries, self.query_text())
        if self.options.fusion == "query":
            return zegformer_scores(query_logits, None, self.vocabulary.seen, "query")
        features = self.encode_regions(image, proposals.masks > 0.5)
        scale = self.clip.model.logit_scale.exp().to(features)
        clip_logits = class_logits(features, self.text(self.options.region_templates), scale)
        return zegformer_scores(query_logits, clip_logits, self.vocabulary.seen, self.options.fusion)

    @property
    def scoring(self) -> Scoring:
        return Scoring(class_bias=self.options.calibration * self.vocabulary.seen.float())
