"""ZegCLIP's settings by dataset, and the ablations of its paper by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from zsbench.options import Ablation, Preset

PRESETS: Mapping[str, Preset] = {
    "pascal-voc": Preset({"prompts": 10, "idle_parameters": True}, {"iterations": 20_000}),
    # no configuration was released for PASCAL Context, and its number of prompts is not known: one between the other two
    "pascal-context": Preset({"prompts": 35, "idle_parameters": True}, {"iterations": 40_000}),
    "coco-stuff": Preset({"prompts": 100, "idle_parameters": True}, {"iterations": 80_000}),
    # 96-px images and a few minutes of training: one head and clipped gradients allow a rate at which hundreds of steps
    # do what takes the release 20,000
    "miniworld": Preset(
        {
            "prompts": 8,
            "heads": 1,
            "ffn": 256,
            "normalisation": "clip",
            "class_embedding": "once",
            "position_size": None,
            "loss_stride": 2,
        },
        {
            "iterations": 1_200,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "betas": (0.9, 0.98),
            "gradient_clip": 0.1,
            "warmup_iterations": 30,
        },
    ),
}


QUERIES: Mapping[str, tuple[str, str]] = {
    "query-t": ("t", "t"),
    "query-product": ("t ⊙ g", "t*g"),
    "query-distance": ("|t - g|", "|t-g|"),
    "query-difference": ("t - g", "t-g"),
    "query-sum": ("t + g", "t+g"),
    "query-t-g": ("[t, g]", "t,g"),
    "query-product-t": ("[t ⊙ g, t]", "t*g,t"),
    "query-difference-t": ("[t - g, t]", "t-g,t"),
    "query-product-sum": ("[t ⊙ g, t + g]", "t*g,t+g"),
    "query-sum-t": ("[t + g, t]", "t+g,t"),
    "query-product-difference": ("[t ⊙ g, t - g]", "t*g,t-g"),
    "query-product-difference-t": ("[t ⊙ g, t - g, t]", "t*g,t-g,t"),
}
"""Table 4: variant, label, and value of the option `rd`."""

ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "Fix": {"encoder": "frozen", "dpt": "off"},
    "FT": {"encoder": "finetuned", "dpt": "off"},
    "DPT": {"encoder": "frozen", "dpt": "deep"},
}
LOSSES = {False: "off", True: "focal_dice"}
DESCRIPTORS = {False: "off", True: "t*g,t"}


def baselines() -> Iterator[tuple[Ablation, Mapping[str, Any]]]:
    """The rows of Table 5: how CLIP's encoder is used, with or without the loss and the descriptor."""
    for encoder, options in ENCODERS.items():
        for rd, nel in itertools.product((False, True), repeat=2):
            parts = [encoder, *["NEL"] * nel, *["RD"] * rd]
            row = Ablation("-".join(["baseline", *parts]).lower(), " + ".join([f"Baseline-{encoder}", *parts[1:]]))
            yield row, {**options, "nel": LOSSES[nel], "rd": DESCRIPTORS[rd]}


TABLES: Mapping[int, tuple[Ablation, ...]] = {
    4: tuple(Ablation(variant, label) for variant, (label, _) in QUERIES.items()),
    5: tuple(row for row, _ in baselines()),
    6: (Ablation("loss-plain", "plain"), Ablation("loss-plus", "plus")),
}
"""The ablation tables of the paper. No configurations were released for them; its text says what a row means."""

SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "uncalibrated": {"calibration": 0.0},
    "calibrated": {"calibration": 0.1},
    "clip-normalisation": {"normalisation": "clip"},
    "imagenet-normalisation": {"normalisation": "imagenet"},
    "class-embedding-once": {"class_embedding": "once"},
    "class-embedding-twice": {"class_embedding": "twice"},
    "ignored-pixels": {"ignored": "ignored"},
    "negative-pixels": {"ignored": "negative"},
    "deep-supervision": {"deep_supervision": True},
    "shallow-prompts": {"dpt": "shallow"},
    "lean": {"idle_parameters": False},
    **{f"prompts-{count}": {"prompts": count} for count in (1, 5, 10, 20, 50, 100)},
    **{f"prompt-depth-{depth}": {"prompt_depth": depth} for depth in (1, 2, 3, 6, 9)},
}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    **{variant: {"rd": terms} for variant, (_, terms) in QUERIES.items()},
    **{row.variant: options for row, options in baselines()},
    "loss-plain": {"nel": "bce"},
    "loss-plus": {"nel": "focal_dice"},
    **SWITCHES,
}
