"""zsseg (Xu et al., "A Simple Baseline for Open-Vocabulary Semantic Segmentation", ECCV 2022) as its repository runs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.errors import UserError
from zsbench.method import Preset
from zsbench.registry import register_method

from .base import WHOLE_IMAGES, TwoStage
from .fusion import zsseg_scores
from .heads import ZssegHead, class_logits
from .learning import MINIWORLD, MINIWORLD_RECIPE, PAPER_RECIPE, SMALL, MaskFormerMethod, ProposalOptions
from .prompts import LearnedPrompts
from .proposals import Proposals
from .regions import zsseg_crops

LEARNED = "learned"


class ZssegOptions(ProposalOptions):
    backbone: str = Field(
        "resnet50", description="a ResNet of timm; resnet101c is the released one, for which give its weights"
    )
    expand: float = Field(1.0, ge=1, description="CLIP sees the box of a mask with its sides this much longer")
    weight: float = Field(0.7, ge=0, le=1, description="exponent of the trusted branch; 0 is CLIP alone")
    query_templates: str = Field(
        "sculpture", description="prompts that queries are compared with; learned: those of `prompts`"
    )
    region_templates: str = Field(
        "vild14", description="prompts that regions are compared with; learned: those of `prompts`"
    )
    prompts: Path | None = Field(None, description="checkpoint of zsseg-prompts, or a released one")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")


@register_method("zsseg")
class Zsseg(MaskFormerMethod):
    """Two-stage: MaskFormer's segments, named by its queries and by CLIP with learnable prompts (zsseg, ECCV 2022)."""

    Options = ZssegOptions
    variants: ClassVar = {
        "r101c": {"backbone": "resnet101c"},
        "released": {"backbone": "resnet101c", "backbone_weights": "random", "region_templates": LEARNED},
        "small": SMALL,
        "clip-only": {"weight": 0.0},
    }
    presets: ClassVar = {
        # its CLIP knows things at the size they have in an image, and not enlarged
        "miniworld": Preset(options={**MINIWORLD, "expand": 3.0}, recipe=MINIWORLD_RECIPE),
        "*": Preset(recipe=PAPER_RECIPE, protocol=WHOLE_IMAGES),
        "pascal-voc": Preset(
            recipe={"iterations": 20_000, "batch_size": 16, "short_side": 640, "scale": (0.5, 1.5)},
            protocol={"max_long_side": 2048},
        ),
        "coco-stuff": Preset(
            options={"weight": 0.8},
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

    def __init__(self, clip: Clip, options: ZssegOptions) -> None:
        super().__init__(clip, options, partial(zsseg_crops, expand=options.expand))
        if LEARNED in (options.query_templates, options.region_templates):
            self.prompts = LearnedPrompts(clip, options.prompt_length)
            if options.prompts is not None:
                self.prompts.load(options.prompts)
        elif options.prompts is not None:
            raise UserError(
                "prompts are given but not used: add -o region_templates=learned (or query_templates=learned)."
            )

    @classmethod
    def is_own_release(cls, state: Mapping[str, Tensor]) -> bool:
        return "clip_adapter.non_object_embedding" in state

    def make_head(self, width: int, dim: int) -> nn.Module:
        return ZssegHead(width, dim)

    def text(self, templates: str) -> Tensor:
        if templates == LEARNED and LEARNED not in self._texts:
            with torch.no_grad():
                learnt = self.prompts(self.clip.model, self.vocabulary.words)
            self._texts[LEARNED] = learnt.to(self.vocabulary.embeddings)
        return super().text(templates)

    def query_text(self) -> Tensor:
        return self.text(self.options.query_templates)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        query_logits = self.head(proposals.queries, self.query_text())
        logits, valid = region_logits(self, image, proposals, self.text(self.options.region_templates))
        return zsseg_scores(query_logits, logits, valid, self.vocabulary.seen, self.options.weight)


def region_logits(method: TwoStage, image: Tensor, proposals: Proposals, text: Tensor) -> tuple[Tensor, Tensor]:
    """`(logits (V, C), valid bool (Q,))` of the V proposals that hold a pixel of the image."""
    masks = proposals.masks[:, : image.shape[-2], : image.shape[-1]] > 0.5
    valid = masks.flatten(1).any(-1)
    if not bool(valid.any()):
        return text.new_zeros(0, len(text)), valid
    return class_logits(method.encode_regions(image, masks[valid]), text), valid
