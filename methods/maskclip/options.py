"""The options of MaskCLIP."""

from __future__ import annotations

from pydantic import Field

from zsbench.options import Options


class MaskClipOptions(Options):
    logit_scale: float | None = Field(
        None,
        gt=0,
        description="softmax scale for background by threshold; default CLIP's own, published ones are 40 to 65",
    )
