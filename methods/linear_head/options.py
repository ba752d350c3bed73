"""Switches of the linear head, and how it learns on each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from zsbench.options import Options, Preset

PLAIN: Mapping[str, Any] = {"schedule": "constant", "warmup_iterations": 0, "learning_rate": 1e-3, "weight_decay": 0.01}


class LinearHeadOptions(Options):
    presets: ClassVar = {
        "*": Preset(recipe={**PLAIN, "iterations": 2000}),
        "miniworld": Preset(recipe={"iterations": 200, "batch_size": 16}),
    }
    variants: ClassVar = {"identity": {"start": "identity"}}

    start: Literal["random", "identity"] = Field(
        "random", description="the map before training: random, or one that changes nothing, which is CLIP itself"
    )
    scale: float = Field(20.0, gt=0, description="of cosines, before the softmax over classes")
