"""Images, windows, words and thresholds of each release, by dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zsbench.options import Preset

BACKGROUND = ("voc21", "context60", "coco-object")
"""Those of the usual eight that have a background, which a threshold finds; the others are below."""
OTHERS = ("voc20", "context59", "coco-stuff", "cityscapes", "ade20k")
SHORTENED = ("coco-stuff", "cityscapes", "ade20k")
"""Whose words are written without spaces in the files that all these releases share."""
WHOLE: Mapping[str, Any] = {"crop": None, "stride": None}


def suite(
    short_side: int,
    crop: int,
    stride: int,
    thresholds: Sequence[float],
    words: Mapping[str, str],
    **changes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Preset]:
    """A preset for each of the eight: images and windows in pixels, thresholds of `BACKGROUND`, name sets by dataset (others
    have plain words), and `options` or `protocol` of some datasets. All use the 80 templates, and resize scores to the image
    that windows are cut from first, even where one window holds it all."""
    names = {**dict.fromkeys(SHORTENED, "sclip"), **words}
    sizes = {"short_side": short_side, "max_long_side": 2048, "crop": crop, "stride": stride}
    likely = dict(zip(BACKGROUND, thresholds, strict=True))
    return {
        dataset: Preset(
            options={"resize": "twice", **changes.get("options", {}).get(dataset, {})},
            protocol={
                **sizes,
                "background_threshold": likely.get(dataset),
                **changes.get("protocol", {}).get(dataset, {}),
            },
            names=names.get(dataset, "plain"),
            templates="imagenet80",
        )
        for dataset in (*BACKGROUND, *OTHERS)
    }


SYNONYMS = dict.fromkeys(("voc20", "voc21", "coco-object"), "sclip")
"""SCLIP's words, which NACLIP, ResCLIP and SC-CLIP took over: background as 26 words, person and screen with synonyms."""
LARGE_CITY = {"cityscapes": {"short_side": 560}}

SCLIP = suite(
    336,
    224,
    112,
    (0.1, 0.1, 0.1),
    SYNONYMS,
    options={
        "voc21": {"logit_scale": 65.0, "area_threshold": 0.1},
        "context60": {"logit_scale": 50.0},
        "coco-object": {"logit_scale": 50.0},
    },
    protocol=LARGE_CITY | {"coco-stuff": {"short_side": 448}},
)

WHOLE_VOC = {"voc20": WHOLE, "voc21": WHOLE}
NACLIP = suite(
    336,
    224,
    112,
    (0.1, 0.1, 0.1),
    SYNONYMS,
    protocol=LARGE_CITY | WHOLE_VOC,
)

CLEARCLIP = suite(
    448,
    448,
    224,
    (0.5, 0.15, 0.4),
    {"voc20": "proxyclip", "voc21": "clearclip"},
    protocol={"cityscapes": {"crop": 224, "stride": 224}},
)

PROXYCLIP = suite(
    336,
    336,
    112,
    (0.2, 0.15, 0.25),
    dict.fromkeys(("voc20", "voc21", "coco-object"), "proxyclip"),
    protocol={
        "ade20k": {"short_side": 448},
        "cityscapes": {"short_side": 448, "crop": 224, "stride": 112},
    },
)
PROXYCLIP["ade-full"] = replace(PROXYCLIP["ade20k"], names=None)

SCCLIP = suite(
    336,
    224,
    112,
    (0.15, 0.15, 0.35),
    SYNONYMS,
    options={"voc21": {"logit_scale": 50.0, "area_threshold": 0.1}, "coco-object": {"logit_scale": 55.0}},
    protocol=LARGE_CITY,
)

# threshold of the first pass, weight of the earlier blocks' attention, then scale and weight of the patch labels
FIRST_PASS = {
    "voc21": (0.5, 0.3, 2.2, 0.7),
    "context60": (0.3, 0.3, 1.8, 0.7),
    "coco-object": (0.11, 0.4, 1.8, 0.7),
    "voc20": (0.1, 0.6, 2.1, 0.6),
    "context59": (0.25, 0.4, 1.8, 0.7),
    "coco-stuff": (0.11, 0.4, 1.8, 0.7),
    "cityscapes": (0.1, 0.2, 2.1, 0.6),
    "ade20k": (0.25, 0.3, 2.1, 0.7),
}
RESCLIP_OPTIONS = {
    dataset: dict(zip(("first_threshold", "cross_weight", "label_scale", "label_weight"), values, strict=True))
    for dataset, values in FIRST_PASS.items()
}
RESCLIP = suite(
    336,
    224,
    112,
    (0.1, 0.1, 0.1),
    SYNONYMS,
    options=RESCLIP_OPTIONS,
    protocol=LARGE_CITY | WHOLE_VOC,
)

SHORT_512 = {"short_side": 512, "max_long_side": 2048, **WHOLE}
MASKCLIP_SIZES: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("voc20", "pascal-voc", "coco-stuff", "ade20k"), SHORT_512),
    "context59": {"short_side": 520, "max_long_side": 520, **WHOLE},
    "cityscapes": {"short_side": 512, "max_long_side": 1024, **WHOLE},
}
MASKCLIP = {
    **{name: Preset(protocol=size, names="maskclip", templates="maskclip85") for name, size in MASKCLIP_SIZES.items()},
    # its CLIP is no release of OpenAI's: GELU and a mean of its own are right, not a mistake
    "miniworld": Preset({"normalisation": "clip"}),
}

PLUS_RECIPE: Mapping[str, Any] = {
    "iterations": 20_000,
    "batch_size": 16,
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "min_learning_rate": 1e-4,
    "warmup_iterations": 0,
    "self_training_from": 0.1,
    "crop": 512,
    "short_side": 512,
}
PLUS_CONTEXT: Mapping[str, Any] = {"iterations": 40_000, "short_side": 520, "long_side": 520, "crop": 480}
PLUS_STEPS: Mapping[str, Mapping[str, Any]] = {
    "coco-stuff": {"iterations": 80_000},
    "voc20": {"iterations": 2000},  # without annotations: a tenth
    "ade20k": {"iterations": 8000},
    "cityscapes": {"iterations": 4000, "short_side": 1024, "crop": 512, "crop_width": 1024},
    "context59": PLUS_CONTEXT,
    "pascal-context": {**PLUS_CONTEXT, "learning_rate": 0.004, "weight_decay": 1e-4},
}
PLUS_SIZES = {**MASKCLIP_SIZES, "cityscapes": {"short_side": 1024, "max_long_side": 2048, **WHOLE}}
ANNOTATION_FREE: Mapping[str, Any] = {"annotations": False, "backbone": "resnet50c"}
"""As released beside ViT-B/16; beside RN50 it is `resnet101c`."""
PLUS_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("voc20", "ade20k", "cityscapes"), ANNOTATION_FREE),  # nothing is unseen there
    "pascal-context": {"network": "v3+", "background": "background"},
}
MASKCLIP_PLUS = {
    "*": Preset(
        recipe=PLUS_RECIPE,
        protocol={**SHORT_512, "background_threshold": None},
        names="maskclip",
        templates="maskclip85",
    ),
    **{
        name: Preset(PLUS_OPTIONS.get(name, {}), PLUS_STEPS.get(name, {}), PLUS_SIZES.get(size, SHORT_512))
        for name, size in {
            "pascal-voc": "pascal-voc",
            "voc20": "voc20",
            "coco-stuff": "coco-stuff",
            "ade20k": "ade20k",
            "cityscapes": "cityscapes",
            "context59": "context59",
            "pascal-context": "context59",
        }.items()
    },
    "miniworld": Preset(
        {"backbone": "miniature", "normalisation": "clip"},
        {
            "iterations": 600,
            "optimiser": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
            "min_learning_rate": 1e-6,
            "warmup_iterations": 30,
            "self_training_from": 0.3,
            "crop": 96,
            "short_side": None,
        },
        {"short_side": None, "max_long_side": None, **WHOLE},
        templates="single",
    ),
}

PLUS_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as-released": {"loss_mean": "all"},
    "annotation-free": {"annotations": False},
    "annotation-free-as-released": {"annotations": False, "loss_mean": "all"},
    "key-smoothing": {"annotations": False, "smoothing": 1.0},
    "prompt-denoising": {"annotations": False, "denoising": 0.5},
    "smoothing-and-denoising": {"annotations": False, "smoothing": 1.0, "denoising": 0.5},
    "distilled": {"annotations": False, "distil": True},
}


def blind(presets: Mapping[str, Preset]) -> dict[str, Preset]:
    """The presets of annotation-free training, which takes a tenth of the steps; those with a network of their own stay: of
    the miniature world, and of sets where nothing is unseen."""

    def shortened(preset: Preset) -> Preset:
        steps = {**PLUS_RECIPE, **preset.recipe}["iterations"] // 10
        return replace(
            preset, options={**preset.options, **ANNOTATION_FREE}, recipe={**preset.recipe, "iterations": steps}
        )

    return {name: each if "backbone" in each.options else shortened(each) for name, each in presets.items()}


def leaving_out_void(presets: Mapping[str, Preset]) -> dict[str, Preset]:
    """As released, annotation-free training does not learn where the annotation gives no class. Its configuration for ADE20K
    forgets to leave anything out."""
    return {
        name: replace(preset, options={**preset.options, "void": "hidden" if name == "ade20k" else "known"})
        for name, preset in presets.items()
    }


PLUS_VARIANT_PRESETS = {
    **{name: blind(MASKCLIP_PLUS) for name, options in PLUS_VARIANTS.items() if "annotations" in options},
    "as-released": leaving_out_void(MASKCLIP_PLUS),
    "annotation-free-as-released": leaving_out_void(blind(MASKCLIP_PLUS)),
}

GEM = {
    name: Preset(
        protocol={"stretch": 448, "short_side": None, "max_long_side": None, "background_threshold": None, **WHOLE},
        names="plain",
        templates="a photo of a {}.",
    )
    for name in (*BACKGROUND, *OTHERS)
}
"""Nothing is released but the model: images are squares of 448 px, and background is a word like any other."""
