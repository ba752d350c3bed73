"""ZegFormer (Ding et al., "Decoupling Zero-Shot Semantic Segmentation", CVPR 2022) as its repository runs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.method import Preset, Scoring
from zsbench.registry import register_method

from .base import WHOLE_IMAGES
from .fusion import ZegFormerFusion, zegformer_scores
from .heads import ZegFormerHead, class_logits
from .learning import MINIWORLD, MINIWORLD_RECIPE, PAPER_RECIPE, SMALL, MaskFormerMethod, ProposalOptions
from .proposals import Proposals
from .regions import CropStyle, zegformer_crops


class ZegFormerOptions(ProposalOptions):
    fusion: ZegFormerFusion = Field("ensemble", description="how the opinions of queries and CLIP are joined")
    calibration: float = Field(0.1, ge=0, allow_inf_nan=False, description="subtracted from the scores of seen classes")
    crop: CropStyle = Field(
        "cropmask", description="what CLIP sees of a region: its masked box, its box, or the masked image"
    )
    query_templates: str = Field(
        "scene", description="prompts that queries are compared with (a set, a template, a file, dataset)"
    )
    test_query_templates: str | None = Field(None, description="the same at test time; none: as in training")
    region_templates: str = Field("regions32", description="prompts that regions are compared with")


@register_method("zegformer")
class ZegFormer(MaskFormerMethod):
    """Two-stage: MaskFormer's segments, named by its queries and by CLIP on masked crops (ZegFormer, CVPR 2022)."""

    Options = ZegFormerOptions
    variants: ClassVar = {
        "r50": {"backbone": "resnet50"},
        "small": SMALL,
        "clip-only": {"fusion": "clip", "calibration": 0.0},
        "query-only": {"fusion": "query", "calibration": 0.0},
        "no-calibration": {"calibration": 0.0},
    }
    presets: ClassVar = {
        # its CLIP knows things at the size they have in an image, and not enlarged
        "miniworld": Preset(options={**MINIWORLD, "crop": "mask"}, recipe=MINIWORLD_RECIPE),
        "*": Preset(recipe=PAPER_RECIPE, protocol=WHOLE_IMAGES),
        "pascal-voc": Preset(recipe={"iterations": 10_000, "batch_size": 32}, protocol={"max_long_side": 2048}),
        "coco-stuff": Preset(
            options={"query_templates": "imagenet-select", "test_query_templates": "scene"},
            recipe={
                "iterations": 60_000,
                "batch_size": 32,
                "short_side": 640,
                "crop": 640,
                "scale": (0.5, 1.5),
            },
            protocol={"short_side": 640, "max_long_side": 2560},
        ),
    }

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
