"""The second stage alone: CLIP names segments that come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.data.coco_results import check_ids, read_proposals
from zsbench.errors import UserError
from zsbench.method import Preset
from zsbench.registry import register_method

from .base import WHOLE_IMAGES, RegionOptions, TwoStage
from .detectron import Detectron
from .fusion import zegformer_scores, zsseg_scores
from .heads import class_logits
from .prompts import LearnedPrompts
from .proposals import Proposals, from_file, grid, oracle
from .regions import CropStyle, zegformer_crops, zsseg_crops
from .zsseg import LEARNED, region_logits

Source = Literal["grid", "whole", "oracle", "file", "detectron2"]


class ClipRegionOptions(RegionOptions):
    proposals: Source = Field("grid", description="where segments come from; oracle is the ground truth")
    cells: int = Field(4, ge=1, description="rows and columns of the grid")
    file: Path | None = Field(
        None, description="COCO results in JSON with run-length encoded masks, for proposals=file"
    )
    detectron2_config: Path | None = Field(None, description="YAML of a detectron2 MaskFormer or Mask R-CNN")
    detectron2_weights: Path | None = Field(None, description="its checkpoint")
    style: Literal["zegformer", "zsseg"] = Field("zegformer", description="how a region is cut out and resized")
    crop: CropStyle = Field(
        "cropmask", description="what zegformer's way shows: the masked box, the box, the masked image"
    )
    expand: float = Field(1.0, ge=1, description="zsseg's way: sides of the box are this much longer")
    templates: str = Field(
        "regions32", description="prompts (a set, a template, a file, dataset; learned: those of `prompts`)"
    )
    prompts: Path | None = Field(None, description="checkpoint of zsseg-prompts, for templates=learned")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")


@register_method("clip-regions")
class ClipRegions(TwoStage):
    """Training-free: CLIP names segments from a grid, a file, detectron2 or the ground truth (oracle)."""

    Options = ClipRegionOptions
    variants: ClassVar = {
        "oracle": {"proposals": "oracle"},
        "oracle-zsseg": {"proposals": "oracle", "style": "zsseg"},
        "whole": {"proposals": "whole"},
    }

    presets: ClassVar = {
        "*": Preset(protocol=WHOLE_IMAGES),
        "miniworld": Preset(options={"templates": "dataset", "crop": "mask", "expand": 3.0}),
    }

    def __init__(self, clip: Clip, options: ClipRegionOptions) -> None:
        ways = {
            "zegformer": partial(zegformer_crops, style=options.crop),
            "zsseg": partial(zsseg_crops, expand=options.expand),
        }
        super().__init__(clip, options, ways[options.style])
        if options.proposals == "file":
            self.segments = read_proposals(_given(options.file, "file"))
        if options.proposals == "detectron2":
            config = _given(options.detectron2_config, "detectron2_config")
            self.detector = Detectron(config, _given(options.detectron2_weights, "detectron2_weights"))
        if options.templates == LEARNED:
            self.prompts = LearnedPrompts(clip, options.prompt_length)
            self.prompts.load(_given(options.prompts, "prompts"))

    @property
    def oracle(self) -> bool:
        return self.options.proposals == "oracle"

    def begin(self, ids: Sequence[str]) -> None:
        super().begin(ids)
        if ids and self.options.proposals == "file":
            check_ids(self.segments, ids, self.options.file)

    def propose(self, images: Tensor) -> Iterator[Proposals]:
        match self.options.proposals:
            case "grid":
                return grid(images, self.options.cells)
            case "whole":
                return grid(images, 1)
            case "oracle":
                return oracle(images, self.truth)
            case "file":
                return from_file(images, self.ids, self.segments, str(self.options.file))
            case _:
                return self.detector.propose(images)

    def text(self, templates: str) -> Tensor:
        if templates == LEARNED and LEARNED not in self._texts:
            with torch.no_grad():
                learnt = self.prompts(self.clip.model, self.vocabulary.words)
            self._texts[LEARNED] = learnt.to(self.vocabulary.embeddings)
        return super().text(templates)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        text = self.text(self.options.templates)
        if self.options.style == "zsseg":
            logits, valid = region_logits(self, image, proposals, text)
            return zsseg_scores(None, logits, valid, self.vocabulary.seen, 0.0)
        if not len(proposals.masks):
            return text.new_zeros(0, len(text))
        features = self.encode_regions(image, proposals.masks > 0.5)
        return zegformer_scores(None, class_logits(features, text), self.vocabulary.seen)


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        raise UserError(f"these options of clip-regions need a path: -o {option}=...")
    if not path.is_file():
        raise UserError(f"clip-regions: there is no file {path} (-o {option}).")
    return path
