"""Image and text encoders: model, weights in every layout, tokenizer, templates, vocabulary."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsbench.clip.model import Clip as Clip
    from zsbench.clip.model import load_clip as load_clip


def __getattr__(name: str) -> Any:  # on first use: templates and words need no torch
    if name not in ("Clip", "load_clip"):
        raise AttributeError(f"module 'zsbench.clip' has no attribute {name!r}")
    from zsbench.clip import model

    return getattr(model, name)
