"""The second stage alone: CLIP names segments that come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.data.coco_results import read_proposals
from zsbench.method import ImageBatch
from zsbench.registry import register_method

from .base import TwoStage
from .detectron import Detectron
from .fusion import zegformer_scores, zsseg_scores
from .heads import class_logits
from .options import ClipRegionOptions
from .prompts import LearnedPrompts
from .proposals import Proposals, from_file, grid, oracle
from .regions import zegformer_crops, zsseg_crops
from .templates import LEARNED
from .zsseg import region_logits


@register_method("clip-regions")
class ClipRegions(TwoStage):
    """Training-free: CLIP names segments from a grid, a file, detectron2 or the ground truth (oracle)."""

    Options = ClipRegionOptions

    def __init__(self, clip: Clip, options: ClipRegionOptions) -> None:
        ways = {
            "zegformer": partial(zegformer_crops, style=options.crop),
            "zsseg": partial(zsseg_crops, expand=options.expand),
        }
        super().__init__(clip, options, ways[options.style])
        if options.proposals == "file" and options.file:
            self.segments = read_proposals(options.file)
        if options.proposals == "detectron2" and options.detectron2_config and options.detectron2_weights:
            self.detector = Detectron(options.detectron2_config, options.detectron2_weights)
        if options.templates == LEARNED and options.prompts:
            self.prompts = LearnedPrompts(clip, options.prompt_length)
            self.prompts.load(options.prompts)

    @property
    def oracle(self) -> bool:
        return self.options.proposals == "oracle"

    def propose(self, batch: ImageBatch) -> Iterator[Proposals]:
        match self.options.proposals:
            case "grid":
                return grid(batch.images, self.options.cells)
            case "whole":
                return grid(batch.images, 1)
            case "oracle":
                return oracle(batch)
            case "file":
                return from_file(batch, self.segments, str(self.options.file))
            case _:
                return self.detector.propose(batch.images)

    def scores(self, image: Tensor, proposals: Proposals) -> Tensor:
        text = self.text(self.options.templates)
        if self.options.style == "zsseg":
            logits, valid = region_logits(self, image, proposals, text)
            return zsseg_scores(None, logits, valid, self.vocabulary.seen, 0.0)
        if not len(proposals.masks):
            return text.new_zeros(0, len(text))
        features = self.encode_regions(image, proposals.masks > 0.5)
        return zegformer_scores(None, class_logits(features, text), self.vocabulary.seen)
