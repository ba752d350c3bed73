"""Every switch of the two-stage methods, typed, with what they change for a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, FilePath, model_validator

from zsbench.options import Options, Preset

from .presets import (
    COCO_STUFF_PROTOCOL,
    COCO_STUFF_RECIPE,
    MINIWORLD,
    MINIWORLD_RECIPE,
    MINIWORLD_REGIONS,
    PAPER_RECIPE,
    PRETRAINED,
    PROMPT_RECIPE,
    RANDOM,
    SMALL,
    WHOLE_IMAGES,
)
from .templates import DATASET, LEARNED, checked_templates

Norm = Literal["frozen", "batch"]
CropStyle = Literal["cropmask", "crop", "mask"]
Fill = Literal["mean", "black"]
ZegFormerFusion = Literal["ensemble", "ensemble-all", "clip", "query"]
Source = Literal["grid", "whole", "oracle", "file", "detectron2"]
Templates = Annotated[str, checked_templates(DATASET)]
LearntTemplates = Annotated[str, checked_templates(DATASET, LEARNED)]


class RegionOptions(Options):
    chunk: int | None = Field(None, ge=1, description="regions that CLIP encodes together; none: what measured fastest")
    fill: Fill = Field("mean", description="what stands outside a region: CLIP's mean colour, as released, or black")
    stride: int = Field(
        1,
        ge=1,
        description="scores are returned at 1/stride of the input's size: 1 as released, 4 for 1/16 of the memory",
    )


class ProposalOptions(RegionOptions):
    backbone: str = Field("resnet101", description="a ResNet of timm; resnet101c is that of detectron2's DeepLab")
    backbone_norm: Norm = Field(
        "frozen", description="batch norm frozen, as released, or learning (batch), for a backbone from scratch"
    )
    backbone_weights: str = Field(
        PRETRAINED,
        description="imagenet (timm's port of torchvision's), random, a local file, or miniworld: of resnet18-miniature, "
        "shipped, which learnt miniworld's seen things one by one",
    )
    backbone_rate: float = Field(0.1, gt=0, description="learning rate of the backbone, as a share of the recipe's")
    queries: int = Field(100, ge=1, description="proposals for each image")
    decoder_layers: int = Field(6, ge=1, description="layers of the query decoder, each supervised")
    dropout: float = Field(0.1, ge=0, lt=1, description="of attention and states in the query decoder")
    width: int = Field(256, ge=32, multiple_of=32, description="channels of pyramid, queries and masks")


ZEGFORMER: Mapping[str, Preset] = {
    # its CLIP knows things at the size they have in an image, and not enlarged
    "miniworld": Preset(options={**MINIWORLD, "crop": "mask"}, recipe=MINIWORLD_RECIPE),
    "*": Preset(recipe=PAPER_RECIPE, protocol=WHOLE_IMAGES),
    "pascal-voc": Preset(
        recipe={"iterations": 10_000, "batch_size": 32}, protocol={"max_long_side": 2048}, names="zegformer"
    ),
    "coco-stuff": Preset(
        options={"query_templates": "imagenet-select", "test_query_templates": "scene"},
        recipe=COCO_STUFF_RECIPE,
        protocol=COCO_STUFF_PROTOCOL,
    ),
    "ade-full": Preset(
        options={"backbone": "resnet50", "query_templates": "imagenet-select", "calibration": 0.0},
        recipe={"iterations": 60_000, "batch_size": 32},
        protocol={"max_long_side": 2048},
    ),
}
ZEGFORMER_R50: Mapping[str, Preset] = {
    **ZEGFORMER,
    "pascal-voc": replace(ZEGFORMER["pascal-voc"], options={"fusion": "clip", "calibration": 0.0}),
    "coco-stuff": replace(ZEGFORMER["coco-stuff"], options={"query_templates": "imagenet-select"}),
}
"""As its released configurations have it: CLIP alone on VOC, and on COCO-Stuff the prompts of training."""


class ZegFormerOptions(ProposalOptions):
    variants: ClassVar = {
        "r50": {"backbone": "resnet50"},
        "small": SMALL,
        "clip-only": {"fusion": "clip", "calibration": 0.0},
        "query-only": {"fusion": "query", "calibration": 0.0},
        "no-calibration": {"calibration": 0.0},
    }
    presets: ClassVar[Mapping[str, Preset]] = ZEGFORMER
    variant_presets: ClassVar[Mapping[str, Mapping[str, Preset]]] = {"r50": ZEGFORMER_R50}

    fusion: ZegFormerFusion = Field("ensemble", description="how the opinions of queries and CLIP are joined")
    calibration: float = Field(0.1, ge=0, allow_inf_nan=False, description="subtracted from the scores of seen classes")
    crop: CropStyle = Field(
        "cropmask", description="what CLIP sees of a region: its masked box, its box, or the masked image"
    )
    query_templates: Templates = Field(
        "scene", description="prompts that queries are compared with (a set, a template, a file, dataset)"
    )
    test_query_templates: Templates | None = Field(None, description="the same at test time; none: as in training")
    region_templates: Templates = Field("regions32", description="prompts that regions are compared with")


class ZssegOptions(ProposalOptions):
    variants: ClassVar = {
        "r101c": {"backbone": "resnet101c"},
        "released": {"backbone": "resnet101c", "backbone_weights": RANDOM, "region_templates": LEARNED},
        "small": SMALL,
        "clip-only": {"weight": 0.0},
    }
    presets: ClassVar = {
        # its CLIP knows things at the size they have in an image, and not enlarged
        "miniworld": Preset(options={**MINIWORLD, "expand": 3.0}, recipe=MINIWORLD_RECIPE),
        "*": Preset(recipe={**PAPER_RECIPE, "pseudo_labels": "all"}, protocol=WHOLE_IMAGES),
        "pascal-voc": Preset(
            recipe={"iterations": 20_000, "batch_size": 16, "short_side": 640, "scale": (0.5, 1.5)},
            protocol={"max_long_side": 2048},
        ),
        "coco-stuff": Preset(options={"weight": 0.8}, recipe=COCO_STUFF_RECIPE, protocol=COCO_STUFF_PROTOCOL),
    }

    backbone: str = Field(
        "resnet50", description="a ResNet of timm; resnet101c is the released one, for which give its weights"
    )
    expand: float = Field(1.0, ge=1, description="CLIP sees the box of a mask with its sides this much longer")
    weight: float = Field(0.7, ge=0, le=1, description="exponent of the trusted branch; 0 is CLIP alone")
    trained: Literal["seen", "none"] = Field(
        "seen", description="classes whose queries are trusted, others by CLIP; none: as released across datasets"
    )
    mask_threshold: float = Field(
        0.5, ge=0, lt=1, description="a pixel is of the region that CLIP sees where its mask is above it"
    )
    query_templates: LearntTemplates = Field(
        "sculpture", description="prompts that queries are compared with; learned: those of `prompts`"
    )
    region_templates: LearntTemplates = Field(
        "vild14", description="prompts that regions are compared with; learned: those of `prompts`"
    )
    prompts: FilePath | None = Field(None, description="checkpoint of zsseg-prompts, or a released one")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")

    @property
    def learned(self) -> bool:
        """Whether learnt prompts are asked for."""
        return LEARNED in (self.query_templates, self.region_templates)

    @model_validator(mode="after")
    def check_prompts(self) -> ZssegOptions:
        if self.prompts is not None and not self.learned:
            raise ValueError("prompts are not used: add -o region_templates=learned (or query_templates=learned)")
        return self


class PromptOptions(RegionOptions):
    presets: ClassVar = {
        "*": Preset(recipe=PROMPT_RECIPE, protocol=WHOLE_IMAGES),
        "miniworld": Preset(options={**MINIWORLD_REGIONS, "expand": 3.0}, recipe={"iterations": 200}),
        "pascal-voc": Preset(recipe={"iterations": 3_200}),
        "coco-stuff": Preset(recipe={"iterations": 16_000}),
    }

    expand: float = Field(1.0, ge=1, description="CLIP sees the box of a mask with its sides this much longer")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")


class ClipRegionOptions(RegionOptions):
    variants: ClassVar = {
        "oracle": {"proposals": "oracle"},
        "oracle-zsseg": {"proposals": "oracle", "style": "zsseg"},
        "whole": {"proposals": "whole"},
    }
    presets: ClassVar = {
        "*": Preset(protocol=WHOLE_IMAGES),
        "miniworld": Preset(options={**MINIWORLD_REGIONS, "templates": "dataset", "crop": "mask", "expand": 3.0}),
    }

    proposals: Source = Field("grid", description="where segments come from; oracle is the ground truth")
    cells: int = Field(4, ge=1, description="rows and columns of the grid")
    file: FilePath | None = Field(
        None, description="COCO results in JSON with run-length encoded masks, for proposals=file"
    )
    detectron2_config: FilePath | None = Field(None, description="YAML of a detectron2 MaskFormer or Mask R-CNN")
    detectron2_weights: FilePath | None = Field(None, description="its checkpoint")
    style: Literal["zegformer", "zsseg"] = Field("zegformer", description="how a region is cut out and resized")
    crop: CropStyle = Field(
        "cropmask", description="what zegformer's way shows: the masked box, the box, the masked image"
    )
    expand: float = Field(1.0, ge=1, description="zsseg's way: sides of the box are this much longer")
    templates: LearntTemplates = Field(
        "regions32", description="prompts (a set, a template, a file, dataset; learned: those of `prompts`)"
    )
    prompts: FilePath | None = Field(None, description="checkpoint of zsseg-prompts, for templates=learned")
    prompt_length: int = Field(16, ge=1, description="learnt vectors before each class name")

    @model_validator(mode="after")
    def check_paths(self) -> ClipRegionOptions:
        needed = {"file": ("file",), "detectron2": ("detectron2_config", "detectron2_weights")}
        names = [*needed.get(self.proposals, ()), *(["prompts"] if self.templates == LEARNED else [])]
        absent = [f"-o {name}=..." for name in names if getattr(self, name) is None]
        if absent:
            raise ValueError(f"these options need a path: {' '.join(absent)}")
        return self

    def verify(self, ids: Sequence[str]) -> None:
        """Raise `UserError` where the file of proposals has images that are not among `ids`, those of the split."""
        if self.proposals == "file" and self.file is not None:
            from zsbench.data.coco_results import check_ids, read_proposals  # not with the options: it needs torch

            check_ids(read_proposals(self.file), ids, self.file)
