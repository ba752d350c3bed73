"""ZegCLIP's settings by dataset, and its ablations by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zsbench.method import Preset

PRESETS: Mapping[str, Preset] = {
    "pascal-voc": Preset({"prompts": 10, "idle_parameters": True}, {"iterations": 20_000}),
    "pascal-context": Preset({"prompts": 35, "idle_parameters": True}, {"iterations": 40_000}),
    "coco-stuff": Preset({"prompts": 100, "idle_parameters": True}, {"iterations": 80_000}),
    "miniworld": Preset(
        {
            "prompts": 8,
            "heads": 4,
            "ffn": 256,
            "normalisation": "clip",
            "class_embedding": "once",
            "position_size": None,
        }
    ),
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {}
