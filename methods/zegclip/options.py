"""Every switch of ZegCLIP, typed; the defaults are those of the released code (github.com/ZiqinZhou66/ZegCLIP)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from zsbench.options import Options

from .presets import PRESETS, TABLES, VARIANTS

Term = Literal["t", "g", "t*g", "t-g", "|t-g|", "t+g"]


def parse_terms(value: Any) -> Any:
    """`t*g,t` or a list of parts, spaces ignored; `off` is the text embedding alone."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return value
    words = [part.replace(" ", "") if isinstance(part, str) else part for part in value]
    return ("t",) if words == ["off"] else tuple(words)


class ZegClipOptions(Options):
    """Options of `ZegClip`; what the paper and its code say differently is said in each description."""

    variants: ClassVar = VARIANTS
    presets: ClassVar = PRESETS
    tables: ClassVar = TABLES

    encoder: Literal["frozen", "finetuned"] = Field("frozen", description="whether CLIP's own image encoder learns")
    encoder_rate: float = Field(
        0.1, gt=0, description="learning rate of a finetuned CLIP encoder, as a share of the recipe's"
    )
    dpt: Literal["deep", "shallow", "off"] = Field(
        "deep", description="prompt tokens: new ones in every block, the same ones through all blocks, or none"
    )
    prompts: int = Field(10, ge=1, description="prompt tokens per block (paper: 10 on PASCAL VOC, 100 on COCO-Stuff)")
    prompt_depth: int | None = Field(
        None, description="blocks with prompts of their own, from the first (negative: from the last); none: all blocks"
    )
    prompt_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of projected prompts, drawn for each image")
    class_embedding: Literal["twice", "once"] = Field(
        "twice", description="how often the class embedding is added to its token (CLIP: once, released code: twice)"
    )
    normalisation: Literal["imagenet", "clip"] = Field(
        "imagenet", description="pixel mean and deviation (released code: ImageNet's, not those CLIP was trained with)"
    )
    position_size: int | None = Field(
        512,
        ge=1,
        description="image side in pixels to whose grid CLIP's position embedding is resized once, before it is resized to "
        "each image's; none: straight to each image's",
    )
    rd: Annotated[tuple[Term, ...], BeforeValidator(parse_terms), Field(min_length=1)] = Field(
        ("t*g", "t"),
        description="relationship descriptor: the parts of a class query, from the text embedding t and the image "
        "embedding g: t, g, t*g, t-g, |t-g|, t+g, separated by commas; off: t alone (paper, Table 4)",
    )
    nel: Literal["focal_dice", "bce", "off"] = Field(
        "focal_dice",
        description="non-mutually exclusive loss: focal and dice on sigmoids (Table 6: plus), binary cross-entropy (plain), "
        "or off: softmax cross-entropy",
    )
    mask_weight: float = Field(
        100.0, ge=0, description="weight of the focal loss or of the binary cross-entropy (20 in an older release)"
    )
    dice_weight: float = Field(1.0, ge=0, description="weight of the dice loss")
    ignored: Literal["negative", "ignored"] = Field(
        "negative",
        description="pixels without a label under sigmoid losses: negatives of every class (released code), or left out",
    )
    loss_stride: int = Field(
        1,
        ge=1,
        description="losses look at every n-th pixel of every n-th row: cheaper, and almost the same for large patches",
    )
    deep_supervision: bool = Field(
        False,
        description="losses on every decoder layer's masks, not the last one's alone (in the release, but never run)",
    )
    calibration: float | None = Field(
        None,
        allow_inf_nan=False,
        description="subtracted from the scores of seen classes (not in the paper); none: as released, 0.1 after inductive "
        "training, 0 after any with unseen classes and with softmax",
    )
    layers: int = Field(3, ge=1, description="decoder layers")
    heads: int = Field(8, ge=1, description="attention heads of the decoder; they must divide CLIP's embedding size")
    ffn: int = Field(2048, ge=1, description="hidden size of the decoder's feed-forward networks")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in the decoder: attention, its sum, feed-forward")
    idle_parameters: bool = Field(
        False,
        description="also build the released decoder's parameters that no output depends on (5,782,016 of 13,821,184), so "
        "that counts equal the paper's Table 3",
    )

    @model_validator(mode="after")
    def check_depth(self) -> ZegClipOptions:
        if self.dpt == "shallow" and self.prompt_depth is not None:
            raise ValueError("prompt_depth belongs to dpt=deep; shallow prompts pass through all blocks")
        return self
