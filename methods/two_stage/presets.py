"""What the two-stage methods share of their settings: networks by name, and recipes."""

from __future__ import annotations

from zsbench.recipe import IMAGENET_MEAN

WHOLE_IMAGES = {"crop": None, "stride": None}
"""The released systems test whole images, not sliding windows."""
PAPER_RECIPE = {
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "warmup_iterations": 0,
    "min_learning_rate": 0.0,
    "gradient_clip": 0.01,
    "category_limit": 1.0,
    "pad_colour": (128 / 255, 128 / 255, 128 / 255),
}
"""What both released systems share: AdamW, poly without warm-up, the whole gradient clipped at 0.01, grey padding."""
COCO_STUFF_RECIPE = {"iterations": 60_000, "batch_size": 32, "short_side": 640, "crop": 640, "scale": (0.5, 1.5)}
COCO_STUFF_PROTOCOL = {"short_side": 640, "max_long_side": 2560}
RANDOM, PRETRAINED, SHIPPED = "random", "imagenet", "miniworld"
SMALL = {
    "backbone": "resnet18-miniature",
    "backbone_norm": "batch",
    "backbone_weights": RANDOM,
    "backbone_rate": 2.0,
    "queries": 16,
    "decoder_layers": 1,
    "dropout": 0.0,
    "width": 128,
}
"""A network that learns from scratch on small images. With dropout or a deeper decoder, queries take longer to differ."""
MINIWORLD_REGIONS = {"fill": "black"}
"""Chosen on seen classes alone (datasets/miniworld/README.md)."""
MINIWORLD = {
    **SMALL,
    **MINIWORLD_REGIONS,
    "backbone_weights": SHIPPED,
    "query_templates": "dataset",
    "region_templates": "dataset",
}
MINIWORLD_RECIPE = {
    "iterations": 850,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "betas": (0.9, 0.98),
    "weight_decay": 1e-2,
    "gradient_clip": 1.0,
    "pad_colour": IMAGENET_MEAN,  # as its measured rows say; none of its images is padded
    "pseudo_labels": "unseen",  # likewise: each of its pixels has a label
}
"""Depth, rates and steps were chosen on seed 0, within three minutes of one CPU core."""
PROMPT_RECIPE = {
    "learning_rate": 2e-3,
    "weight_decay": 5e-4,
    "batch_size": 8,
    "warmup_iterations": 100,
    "min_learning_rate": 0.0,
    "category_limit": 1.0,
    "photometric": False,
}
"""zsseg trains with SGD (0.02, cosine) on 32 single segments a step; here AdamW, on all segments of 8 images a step."""
