"""Every switch of the systems before CLIP, typed, and their recipes by dataset as released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from zsbench.options import Options, Preset
from zsbench.recipe import IMAGENET_MEAN

MINIATURE = "miniature"
COCO_182 = "coco-stuff-182"
"""COCO-Stuff with the 11 ids that label no pixel, as SPNet, STRICT, CaGNet and SIGN have it."""
WHOLE: Mapping[str, Any] = {"short_side": None, "crop": None, "stride": None}
"""Protocol: the whole image at its own size, in one pass."""

WARPED_513: Mapping[str, Any] = {"stretch": 513, "short_side": None, "grid": "image"}
"""As released: image and label are stretched to a square, and scored there."""
CELLS: Mapping[str, Any] = {**WARPED_513, "grid": 65}
"""As released: the label is shrunk to the classifier's cells, and scored there."""

BLACK = (0.0, 0.0, 0.0)
CAFFE_MEAN = (122.675 / 255, 116.669 / 255, 104.008 / 255)
"""Subtracted before padding, so that what is padded is nothing; that of deeplab.py, which needs torch."""

SGD: Mapping[str, Any] = {
    "optimiser": "sgd",
    "learning_rate": 2.5e-4,
    "weight_decay": 5e-4,
    "min_learning_rate": 0.0,
    "warmup_iterations": 0,
    "photometric": False,
    "category_limit": 1.0,
    "pad_colour": BLACK,
}
WARPED: Mapping[str, Any] = {
    **SGD,
    "schedule_every": 10,
    "crop": 321,
    "short_side": 513,
    "stretch": True,
    "scale": (0.5, 1.5),
    "pad": "centre",
    "pad_colour": CAFFE_MEAN,
}
"""Images lose their aspect, are scaled, and padded all around."""

MINIWORLD: Mapping[str, Any] = {
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "min_learning_rate": 1e-6,
    "schedule_every": 1,
    "warmup_iterations": 30,
    "batch_size": 8,
    "crop": 96,
    "short_side": None,
    "stretch": False,
    "scale": (1.0, 1.0),
    "flip": 0.5,
    "blur": 0.0,
    "pad": "corner",
    "pad_colour": IMAGENET_MEAN,  # as its measured rows say; none of its images is padded
}
SMALL: Mapping[str, Any] = {"backbone": MINIATURE, "norm": "batch", "head_rate": 1.0, "dim": 24}
"""Options for images of 96 px: nothing pre-trained, hence a norm that learns and one rate for all.

Encoders of words and generators have a thousand steps, not tens of thousands: their constant rates are 4 to 20 times the
released ones.
"""


class DeepLabOptions(Options):
    """What all of them have: a backbone, and word vectors."""

    backbone: Literal["resnet101", "resnet50", "miniature"] = Field(
        "resnet101", description="miniature: a ResNet-18 with a quarter of its channels, for images of about 100 px"
    )
    backbone_weights: str = Field(
        "random",
        description="a local file (DeepLab v2: Caffe's ResNet-101, converted; v3+, and joem: torchvision's), imagenet "
        "(v3+ alone: downloaded), or random",
    )
    norm: Literal["frozen", "statistics", "batch"] = Field(
        "frozen",
        description="batch norm of the backbone: constants; statistics that stay, but a scale that learns; or all learns",
    )
    dim: int = Field(600, ge=1, description="numbers in a word vector")
    head_rate: float = Field(
        10.0,
        gt=0,
        description="rate of the head's weights as a multiple of the backbone's (DeepLab v2: of its biases twice that)",
    )


class SpNetOptions(DeepLabOptions):
    """Options of `SpNet`."""

    variants: ClassVar = {"uncalibrated": {"calibration": 0.0}, "one-scale": {"scales": (1.0,)}}
    protocols: ClassVar = {"as-released": WARPED_513}
    presets: ClassVar = {
        "*": Preset({}, {**WARPED, "iterations": 20_000, "batch_size": 10, "pseudo_labels": "all"}, WHOLE),
        "pascal-voc": Preset({"calibration": 0.6}),
        "coco-stuff": Preset({"calibration": 0.4}, {"iterations": 100_000}),
        COCO_182: Preset({"calibration": 0.4}, {"iterations": 100_000}),
        "miniworld": Preset(
            {**SMALL, "stretch": None, "scales": (1.0,)},
            {**MINIWORLD, "iterations": 900, "pseudo_labels": "unseen"},
        ),
    }

    stretch: int | None = Field(
        513, ge=1, description="test images are stretched to a square of this side; none: at their own size"
    )
    scales: tuple[float, ...] = Field(
        (1.0, 0.5, 0.75), min_length=1, description="scales of the image, whose largest logits count; each has a loss"
    )
    calibration: float = Field(
        0.0,
        ge=0,
        le=1,
        description="subtracted from the probabilities of seen classes after inductive training (released scripts: 0.6 on "
        "PASCAL VOC, 0.4 on COCO-Stuff; without it unseen classes are hardly ever found)",
    )
    views: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        description="self-training: scales of the image at which the teacher has to agree with itself",
    )
    mirror: bool = Field(False, description="self-training: and with the mirrored image at each of them")
    rounds: int = Field(1, ge=1, description="self-training: how often the student becomes the teacher")


STRICT_ON_COCO: Mapping[str, Any] = {"iterations": 144_712, "self_training_from": 100_000 / 144_712}


class StrictOptions(SpNetOptions):
    """Options of `Strict`: SPNet's at one scale, and teachers that must agree over six views."""

    variants: ClassVar = {
        "hard-labels": {"views": (1.0,), "mirror": False},
        "flip": {"views": (1.0,), "mirror": True},
        "smaller-views": {"views": (1.0, 0.5, 0.75)},
    }
    presets: ClassVar = {
        # 20,000 steps inductively, then two rounds of 2,000 (COCO: 100,000 and 22,356)
        "*": Preset(
            {},
            {
                **WARPED,
                "iterations": 24_000,
                "self_training_from": 20_000 / 24_000,
                "batch_size": 8,
                "flip": 0.9,
                "pad_colour": BLACK,
                "pseudo_labels": "all",
            },
            WHOLE,
        ),
        "coco-stuff": Preset({}, STRICT_ON_COCO),
        COCO_182: Preset({}, STRICT_ON_COCO),
        "miniworld": Preset(
            {**SMALL, "stretch": None},
            {**MINIWORLD, "iterations": 900, "self_training_from": 20_000 / 24_000, "pseudo_labels": "unseen"},
        ),
    }

    scales: tuple[float, ...] = Field((1.0,), min_length=1, description=SpNetOptions.model_fields["scales"].description)
    views: tuple[float, ...] = Field(
        (1.0, 1.5, 1.75), min_length=1, description=SpNetOptions.model_fields["views"].description
    )
    mirror: bool = Field(True, description=SpNetOptions.model_fields["mirror"].description)
    rounds: int = Field(2, ge=1, description=SpNetOptions.model_fields["rounds"].description)


PADDED: Mapping[str, Any] = {**SGD, "crop": 312, "short_side": 312, "scale": (0.5, 2.0)}
"""Images keep their aspect, and are padded at the right and the bottom."""


class JoEmOptions(DeepLabOptions):
    """Options of `JoEm`; the defaults are those of PASCAL VOC 15/5 ("sp" in the release)."""

    variants: ClassVar = {"uncalibrated": {"sigma": 1.0}}
    presets: ClassVar = {
        "*": Preset(
            {},
            {
                **SGD,
                "weight_decay": 1e-4,
                "schedule_every": "epoch",
                "iterations": 22_000,  # 50 passes over VOC's 10,582 images
                "batch_size": 24,
                "crop": 321,
                "short_side": 512,
                "scale": (0.5, 1.5),
            },
            WHOLE,
        ),
        "pascal-context": Preset(
            {
                "network": "v3+",
                "dim": 300,
                "width": 256,
                "classes": 60,
                "ratio": 0.25,
                "tau": 7.0,
                "relation_weight": 0.01,
                "relation": "squared",
                "sigma": 0.5,
            },
            {**PADDED, "schedule_every": "epoch", "iterations": 31_200, "batch_size": 32},
        ),
        "miniworld": Preset(
            {**SMALL, "width": 64, "classes": 60, "semantic_rate": 2e-3}, {**MINIWORLD, "iterations": 900}
        ),
    }

    network: Literal["v2", "v3+"] = Field("v2", description="DeepLab: v2 (VOC 15/5) or v3+ (the splits of ZS3)")
    norm: Literal["frozen", "statistics", "batch"] = Field(
        "statistics", description=DeepLabOptions.model_fields["norm"].description
    )
    width: int = Field(600, ge=1, description="numbers in a feature, and in a prototype (v2: 600, v3+: 256)")
    classes: int = Field(
        21,
        ge=1,
        description="channels of the auxiliary classifier, which takes part in training alone (released: with background)",
    )
    ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="how much coarser word vectors are laid out before they are interpolated (0.25 with v3+)",
    )
    tau: float = Field(5.0, gt=0, description="sharpness of the relations between words")
    relation_weight: float = Field(
        1.0,
        ge=0,
        description="weight of the loss of relations (v3+: 0.1 on VOC, 0.01 on Context; v2: not in the release)",
    )
    relation: Literal["mean", "squared"] = Field(
        "mean",
        description="the loss of relations as released for VOC, or for PASCAL Context (divided by the classes once more)",
    )
    semantic_rate: float = Field(2e-4, gt=0, description="rate of the encoder of words (Adam, constant)")
    sigma: float = Field(
        0.7,
        gt=0,
        le=1,
        description="factor of squared distances from unseen classes among the two nearest; 1: no calibration",
    )


class Zs3Options(DeepLabOptions):
    """Options of `Zs3`."""

    variants: ClassVar = {
        "graph": {"graph": True},
        "true-layout": {"layout": "truth"},
        "deeplab-v2": {"network": "v2", "norm": "frozen"},
    }
    protocols: ClassVar = {"as-released": {"short_side": 513, "grid": "image"}}
    presets: ClassVar = {
        # 200 epochs of 16 images, then 30 of 8 (Context: 200 of 10, then 20 of 8)
        "*": Preset(
            {"classes": 20},
            {
                **PADDED,
                "learning_rate": 0.007,
                "blur": 0.5,
                "iterations": 171_900,
                "batch_size": 16,
            },
            {**WHOLE, "short_side": 513},
        ),
        "pascal-context": Preset(
            {"classes": 60, "segment_share": 0.889, "confident_share": 0.75},
            {"iterations": 112_460, "batch_size": 10},
        ),
        "coco-stuff": Preset({"classes": 171}),
        COCO_182: Preset({"classes": 182}),
        "miniworld": Preset(
            {
                **SMALL,
                "classes": 60,
                "width": 64,
                "noise": 24,
                "segment_share": 0.6,
                "generator_rate": 2e-3,
                "unseen_weight": 10.0,
            },
            {**MINIWORLD, "iterations": 900},
            WHOLE,
        ),
    }

    # the generators with the graph learn for 100 epochs of 8 images, the network as long as without it
    variant_presets: ClassVar = {
        "graph": {
            **presets,
            "pascal-context": Preset(
                {"classes": 60, "segment_share": 0.6154, "confident_share": 0.75},
                {"iterations": 162_435, "batch_size": 10},
            ),
        }
    }

    network: Literal["v2", "v3+"] = Field(
        "v3+",
        description="DeepLab: v3+ as released, or v2 as in CaGNet's re-run, of which nothing else is known",
    )
    dim: int = Field(300, ge=1, description=DeepLabOptions.model_fields["dim"].description)
    norm: Literal["frozen", "statistics", "batch"] = Field(
        "batch", description=DeepLabOptions.model_fields["norm"].description
    )
    classes: int = Field(20, ge=1, description="classes of the data, seen and unseen: channels of the classifier")
    width: int = Field(256, ge=1, description="numbers in a feature")
    noise: int = Field(300, ge=1, description="numbers of noise beside a word vector")
    segment_share: float = Field(
        0.769,
        gt=0,
        lt=1,
        description="share of the inductive steps that train the network; in the rest it stands still",
    )
    generation_batch: int = Field(8, ge=1, description="images of a step that trains generator and classifier")
    generator_rate: float = Field(2e-4, gt=0, description="rate of the generators (Adam, constant)")
    unseen_weight: float = Field(100.0, ge=1, description="weight of unseen classes in the classifier's loss")
    layout: Literal["regions", "truth"] = Field(
        "regions",
        description="where unseen classes lie in images whose features are generated: at seen regions, renamed at random, "
        "or where they truly are (as released: that is supervised)",
    )
    imagined: float = Field(0.5, ge=0, le=1, description="layout regions: share of images whose features are generated")
    graph: bool = Field(
        False, description="a second generator, on the graph of an image's regions (for PASCAL Context)"
    )
    confident_share: float = Field(
        0.25, gt=0, le=1, description="self-training (ZS5): pixels of an image that keep their pseudo label, the surest"
    )


CAGNET_ON_COCO: Mapping[str, Any] = {
    "discriminator_rate": 5e-4,
    "unseen_rate": 59.0,
    "mixed_rate": 1e-5,
    "decay": (10_000, 10_000, 0.3),
    "generator_decay": (10_000, 5_000, 0.3),
    "mixed_decay": (3_000, 2_000, 0.3),
    "transfer_weights": (1.0, 1.0),
    "self_rates": (5e-5, 5e-5, 5e-5),
    "self_weights": (0.5, 0.5, 1.0),
    "self_crop": None,
}
CAGNET_ON_CONTEXT: Mapping[str, Any] = {
    "mixed_share": 0.2,
    "unseen_rate": 14.0,
    "decay": (10_000, 10_000, 0.3),
    "mixed_decay": (5_000, 1_000, 0.3),
    "top": 16,
    "self_rates": (2.5e-4, 2.5e-4, 2e-4),
    "self_weights": (0.75, 0.25, 0.0),
    "self_crop": None,
}


class CaGNetOptions(DeepLabOptions):
    """Options of `CaGNet`."""

    protocols: ClassVar = {"as-released": CELLS}
    presets: ClassVar = {
        # 40,000 steps with images and 6,000 mixed ones; self-training has 10,000 more (`-r iterations=56000`)
        "*": Preset(
            {},
            {
                **WARPED,
                "iterations": 46_000,
                "batch_size": 8,
                "crop": 368,
                "self_training_from": 46_000 / 56_000,
                "pseudo_labels": "all",
            },
            WHOLE,
        ),
        "context33": Preset(
            {"classes": 33, **CAGNET_ON_CONTEXT}, {"iterations": 50_000, "self_training_from": 50_000 / 60_000}
        ),
        "pascal-context": Preset(
            {"classes": 60, **CAGNET_ON_CONTEXT}, {"iterations": 50_000, "self_training_from": 50_000 / 60_000}
        ),
        "coco-stuff": Preset({"classes": 171, **CAGNET_ON_COCO}, {"schedule_every": 100}),
        COCO_182: Preset({"classes": 182, **CAGNET_ON_COCO}, {"schedule_every": 100}),
        "miniworld": Preset(
            {
                **SMALL,
                "classes": 60,
                "stretch": None,
                "mixed_share": 0.4,
                "alternate": 10,
                "discriminator_rate": 1e-3,
                "generator_rate": 1e-3,
                "mixed_rate": 1e-3,
                "decay": (1_000_000, 1, 1.0),
                "mixed_decay": (1_000_000, 1, 1.0),
                "self_rates": (1e-3, 1e-3, 1e-3),
                "self_decay": (1_000_000, 1, 1.0),
                "self_batch": 8,
                "self_crop": None,
            },
            {**MINIWORLD, "iterations": 700, "pseudo_labels": "unseen"},
        ),
    }

    classes: int = Field(
        20, ge=1, description="classes of the data, seen and unseen; the classifier has one more channel"
    )
    stretch: int | None = Field(513, ge=1, description=SpNetOptions.model_fields["stretch"].description)
    discriminator_rate: float = Field(2.5e-4, gt=0, description="rate of discriminator and classifier (Adam)")
    generator_rate: float = Field(2e-4, gt=0, description="rate of the generator (Adam)")
    decay: tuple[int, int, float] = Field(
        (10_000, 5_000, 0.71),
        description="of these two rates: the step from which, the steps after which again, and by which factor they fall",
    )
    generator_decay: tuple[int, int, float] | None = Field(
        None, description="the same of the generator's rate; none: as the discriminator's"
    )
    mixed_share: float = Field(
        6 / 46,
        ge=0,
        lt=1,
        description="share of the inductive steps that are mixed: with images, then without, in turns",
    )
    alternate: int = Field(100, ge=1, description="mixed: steps of either kind after each other")
    mixed_rate: float = Field(5e-5, gt=0, description="mixed: rate of both")
    mixed_decay: tuple[int, int, float] = Field((3_000, 1_000, 0.1), description="mixed: as `decay`")
    class_weights: tuple[float, float] = Field(
        (0.75, 0.25), description="mixed: weights of the classifier's losses on real and on generated features"
    )
    transfer_weights: tuple[float, float] = Field(
        (0.125, 0.0), description="mixed, without images: weights of that loss for the classifier and for the generator"
    )
    unseen_rate: float = Field(
        9.0, ge=0, description="mixed, without images: an unseen class is drawn 1 + this times as often as a seen one"
    )
    self_rates: tuple[float, float, float] = Field(
        (5e-5, 1e-4, 5e-5), description="self-training: rates of backbone, discriminator and generator"
    )
    self_decay: tuple[int, int, float] = Field((5_000, 1_000, 0.3), description="self-training: as `decay`, of both")
    self_weights: tuple[float, float, float] = Field(
        (0.75, 0.25, 1.0),
        description="self-training: weights of the classifier's losses on real and on generated features, and of the "
        "generator's loss of being told from real",
    )
    self_batch: int = Field(4, ge=1, description="self-training: images of a step")
    self_crop: int | None = Field(328, ge=1, description="self-training: side of a crop; none: the recipe's")
    top: int = Field(
        1, ge=1, description="self-training: the best unseen class is taken where it is among this many best classes"
    )


class SignOptions(CaGNetOptions):
    """Options of `Sign`. Nothing of its configurations is published: all numbers are CaGNet's."""

    variants: ClassVar = {
        "annealed": {"pseudo_weights": "annealed"},
        **{f"annealed-{t}": {"pseudo_weights": "annealed", "temperature": float(t)} for t in (1, 10, 100)},
        "no-position": {"spatial": None},
    }

    spatial: Literal["1", "2", "2.1"] | None = Field(
        "1", description="how positions enter, the release's network_type; which one the paper measured is not known"
    )
    pseudo_weights: Literal["released", "annealed"] = Field(
        "released",
        description="self-training: weights of pseudo labels in the classifier's losses: none (as the release computes), or "
        "annealed by confidence (as the paper describes)",
    )
    temperature: float = Field(
        10.0, gt=0, description="sharpness of annealed weights (the paper's T; its value is not known)"
    )
