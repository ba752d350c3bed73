"""Options of the training-free family; defaults are what was released."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from zsbench.options import Options, Preset

from .presets import (
    CLEARCLIP,
    GEM,
    MASKCLIP,
    MASKCLIP_PLUS,
    NACLIP,
    PLUS_VARIANT_PRESETS,
    PLUS_VARIANTS,
    PROXYCLIP,
    RESCLIP,
    SCCLIP,
    SCLIP,
)


class DenseOptions(Options):
    """What all of them share."""

    logit_scale: float = Field(
        40.0, gt=0, description="softmax scale for background by threshold and for area_threshold"
    )
    positions: Literal["bilinear", "bicubic", "scale", "antialias"] = Field(
        "scale", description="how position embeddings reach an image's grid (zsbench.clip.tower.Positions)"
    )
    padding: Literal["cut", "corner", "centred"] = Field(
        "cut", description="sides that are no multiple of a patch: cut off, or padded at right and bottom or around"
    )
    resize: Literal["once", "twice"] = Field(
        "once", description="scores of a whole image go straight to the label's size, or by way of the image's"
    )
    pamr: int = Field(
        0, ge=0, description="iterations of pixel-adaptive refinement at the label's size (dilations 8, 16)"
    )
    area_threshold: float | None = Field(
        None, gt=0, lt=1, description="classes with no more than this share of the foreground's pixels are dropped"
    )


class TeacherOptions(Options):
    """Of MaskCLIP, by itself or as the teacher of MaskCLIP+."""

    normalisation: Literal["imagenet", "clip"] = Field(
        "imagenet", description="pixel mean and deviation of CLIP (released: ImageNet's, not those it was trained with)"
    )
    activation: Literal["gelu", "trained"] = Field(
        "gelu",
        description="of CLIP's image encoder (released: GELU, even on OpenAI's weights, trained with QuickGELU; "
        "and an epsilon of 1e-6 in layer norms)",
    )
    denoising: float | None = Field(
        None,
        gt=0,
        le=1,
        description="prompt denoising: classes nowhere in the image that probable are dropped (paper: 0.5)",
    )
    smoothing: float | None = Field(
        None, gt=0, le=1, description="key smoothing of patches whose best class is less probable than this (paper: 1)"
    )


class MaskClipOptions(TeacherOptions, DenseOptions):
    """The released MaskCLIP; `quoted` is the one in the tables of later papers: ClearCLIP's copy, words and windows."""

    logit_scale: float = Field(100.0, gt=0, description="softmax scale (released: 100 inside, none for its argmax)")
    positions: Literal["bilinear", "bicubic", "scale", "antialias"] = "bicubic"
    padding: Literal["cut", "corner", "centred"] = "corner"
    resize: Literal["once", "twice"] = "twice"
    attention: Literal["values", "full"] = Field(
        "values",
        description="what the last block does: each token its own value, or attention as CLIP has it (a baseline)",
    )

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "released": {},
        "quoted": {
            "positions": "scale",
            "padding": "centred",
            "normalisation": "clip",
            "activation": "trained",
            "logit_scale": 50.0,
        },
        "key-smoothing": {"smoothing": 1.0},
        "prompt-denoising": {"denoising": 0.5},
        "smoothing-and-denoising": {"smoothing": 1.0, "denoising": 0.5},
        "full-attention": {"attention": "full"},
    }
    presets: ClassVar[Mapping[str, Preset]] = MASKCLIP
    variant_presets: ClassVar[Mapping[str, Mapping[str, Preset]]] = {"quoted": CLEARCLIP}


class MaskClipPlusOptions(TeacherOptions):
    """MaskCLIP+; without a variant the mistakes of the release are put right, `as-released` keeps them."""

    backbone: Literal["resnet101c", "resnet50c", "miniature"] = Field(
        "resnet101c",
        description="ResNet with a deep stem (released: 50 layers where the teacher is annotation-free ViT-B/16), or a "
        "quarter of a ResNet-18 for images of about 100 px",
    )
    backbone_weights: str = Field(
        "random", description="imagenet (GluonCV's, downloaded by timm), a local file, or random (released: ImageNet's)"
    )
    network: Literal["v2", "v3+"] = Field("v2", description="DeepLab (released: v3+ on PASCAL Context with background)")
    background: str | None = Field(
        None, description="word whose row is learnt, and which is no pseudo label; none: all rows are CLIP's texts"
    )
    annotations: bool = Field(
        True,
        description="seen pixels keep their labels (zero-shot); false: MaskCLIP labels every pixel to the end "
        "(annotation-free; released: a tenth of the zero-shot iterations)",
    )
    void: Literal["hidden", "known"] = Field(
        "hidden",
        description="annotation-free: pixels that the annotation gives no class (VOC's background) are like any other, or "
        "left out (released, though it takes an annotation)",
    )
    loss_mean: Literal["labelled", "all"] = Field(
        "labelled",
        description="cross-entropy over the number of labelled pixels, or of all, ignored ones too (released)",
    )
    confidence: float | None = Field(
        None, description="MaskCLIP's labels with a score below this are not learnt (in the release, but never set)"
    )
    distil: bool = Field(
        False, description="in the guided phase features learn CLIP's, by their absolute difference, and no labels"
    )
    resize: Literal["once", "twice"] = Field("twice", description=DenseOptions.model_fields["resize"].description)

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = PLUS_VARIANTS
    presets: ClassVar[Mapping[str, Preset]] = MASKCLIP_PLUS
    variant_presets: ClassVar[Mapping[str, Mapping[str, Preset]]] = PLUS_VARIANT_PRESETS


class SclipOptions(DenseOptions):
    presets: ClassVar[Mapping[str, Preset]] = SCLIP


class ClearClipOptions(DenseOptions):
    """Its committed configuration runs CLIP's own attention without residual, which is not ClearCLIP: `as-committed`."""

    logit_scale: float = Field(50.0, gt=0, description="softmax scale for background by threshold")
    padding: Literal["cut", "corner", "centred"] = "centred"
    attention: Literal["qq", "qk"] = Field(
        "qq", description="queries attend to queries (the paper), or to keys as in CLIP"
    )

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"as-committed": {"attention": "qk"}}
    presets: ClassVar[Mapping[str, Preset]] = CLEARCLIP


class NaclipOptions(DenseOptions):
    pamr: int = Field(10, ge=0, description="iterations of pixel-adaptive refinement; 0: off, the paper's other row")
    deviation: float = Field(5.0, gt=0, description="of the Gaussian that favours neighbours, in patches")

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"without-pamr": {"pamr": 0}}
    presets: ClassVar[Mapping[str, Preset]] = NACLIP


CLEARCLIPS_GEM: Mapping[str, Any] = {"minmax": False, "padding": "centred", "logit_scale": 50.0}


class GemOptions(DenseOptions):
    """GEM as released, one word a class and one template; `clearclip-*` are the two readings of ClearCLIP's copy, with its
    words and windows."""

    logit_scale: float = Field(
        1.0,
        gt=0,
        description="softmax scale (released: a softmax of the maps as they are, for background by threshold)",
    )
    positions: Literal["bilinear", "bicubic", "scale", "antialias"] = "antialias"
    depth: int = Field(
        6, ge=1, description="blocks with self-self attention, from the last (released depth 7: 6 of them)"
    )
    iterations: int = Field(
        1, ge=0, description="how often queries, keys and values are gathered among themselves first"
    )
    temperature: float | None = Field(None, gt=0, description="of self-self attention; none: from each image's tokens")
    accumulate: bool = Field(
        True, description="each block's answer is added to those before; false: only the last is left"
    )
    minmax: bool = Field(True, description="each class's map is stretched to 0..1 over the image (released)")

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cosines": {"minmax": False, "logit_scale": 40.0},
        "clearclip-residual": CLEARCLIPS_GEM,
        "clearclip-no-residual": {**CLEARCLIPS_GEM, "accumulate": False},
    }
    presets: ClassVar[Mapping[str, Preset]] = GEM
    variant_presets: ClassVar[Mapping[str, Mapping[str, Preset]]] = {
        "clearclip-residual": CLEARCLIP,
        "clearclip-no-residual": CLEARCLIP,
    }


CLIP_ITSELF = "clip"


class ProxyClipOptions(DenseOptions):
    """ProxyCLIP as released, for windows of any shape (the release's work where they are square); `guided-by-clip` is no
    system of the paper's, but for where there is no DINO: CLIP's own patches say what is alike."""

    padding: Literal["cut", "corner", "centred"] = "centred"
    guide: str = Field(
        "vit_base_patch8_224.dino",
        description=f"timm's name of the model whose features say what is alike; {CLIP_ITSELF}: CLIP itself",
    )
    guide_weights: Path | None = Field(None, description="a file of its weights; none: timm's, downloaded by it")
    offset: float = Field(1.2, description="patches less alike than this times the mean are not attended to (beta)")
    sharpness: float = Field(3.0, gt=0, description="scale of likenesses before their softmax (gamma)")

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"guided-by-clip": {"guide": CLIP_ITSELF}}
    presets: ClassVar[Mapping[str, Preset]] = PROXYCLIP

    @model_validator(mode="after")
    def check_guide(self) -> ProxyClipOptions:
        """CLIP has its weights already."""
        if self.guide == CLIP_ITSELF and self.guide_weights is not None:
            raise ValueError(f"guide_weights are not used where the guide is {CLIP_ITSELF}: leave them out")
        return self


class ScClipOptions(DenseOptions):
    """SC-CLIP as released, and right on images that are not square; blocks are those of an encoder of 12, counted from 0."""

    early: int = Field(3, ge=0, le=10, description="block whose patches say what is alike at the end (post)")
    late: int = Field(8, ge=0, le=10, description="block whose patches say what is alike in attention (pre)")
    summed_from: int = Field(3, ge=0, le=10, description="first block of the sum that attends, too (multi)")
    summed_to: int = Field(10, ge=1, le=11, description="the block after the last of that sum")
    class_weight: float = Field(0.3, description="of the class token, added to every patch (res_cls)")
    threshold: float = Field(0.4, description="cosine below which patches are not averaged (beta)")
    sharpness: float = Field(3.0, gt=0, description="scale of likenesses before their softmax")
    neighbours: int = Field(30, ge=1, description="nearest patches by which an outlier is told")
    quantile: float = Field(0.95, ge=0, le=1, description="of the outlier factors: patches above it are outliers")

    presets: ClassVar[Mapping[str, Preset]] = SCCLIP


class ResClipOptions(DenseOptions):
    """ResCLIP as released; blocks are those of an encoder of 12, counted from 0."""

    deviation: float = Field(5.0, gt=0, description="of the Gaussian that favours neighbours, in patches")
    cross_from: int = Field(5, ge=0, le=10, description="first block whose attention is mixed into the last")
    cross_to: int = Field(8, ge=0, le=10, description="last block whose attention is mixed into the last")
    cross_weight: float = Field(0.4, ge=0, le=1, description="its weight (lambda_r)")
    first_threshold: float = Field(
        0.11, ge=0, lt=1, description="less probable pixels of the first pass get the first word"
    )
    label_scale: float = Field(1.8, description="scale of the second pass's attention logits (tau_s)")
    label_weight: float = Field(0.7, ge=0, le=1, description="of the first pass's labels in them (lambda_s)")
    label_deviation: float = Field(5.0, gt=0, description="of the Gaussian along a row of label weights, in patches")

    presets: ClassVar[Mapping[str, Preset]] = RESCLIP
