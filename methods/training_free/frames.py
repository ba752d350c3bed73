"""Images and maps at the sizes that methods need, and blocks at the depth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def framed(images: Tensor, multiple: int, padding: str) -> tuple[int, int, Tensor]:
    """Images padded with zeros to multiples of so many pixels, and the top and left of what was there before.

    `corner`: at the right and below. `centred`: around, the smaller half first. `cut`: not at all.
    """
    if padding == "cut":
        return 0, 0, images
    below, right = (-side % multiple for side in images.shape[-2:])
    top, left = (below // 2, right // 2) if padding == "centred" else (0, 0)
    return top, left, F.pad(images, (left, right - left, top, below - top))


def enlarged(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Logits (B, C, h, w) at another size, bilinearly."""
    return F.interpolate(logits, tuple(size), mode="bilinear") if logits.shape[-2:] != tuple(size) else logits


def level(index: int, blocks: int) -> int:
    """A block of an encoder of 12 at the same relative depth of another: the last but one stays the last but one."""
    return round(index * (blocks - 2) / 10)
