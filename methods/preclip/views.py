"""Pseudo labels of a teacher where its views of an image agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zsbench.dataset import IGNORE, UNLABELLED

from ..deeplab import resized


def views(score: Callable[[Tensor], Tensor], pixels: Tensor, scales: Sequence[float], flip: bool) -> list[Tensor]:
    """Logits (B, C, h, w) of the image as it is, then of it mirrored, then the same at each further scale.

    Each is turned back and resized to the first one's size. Sides of a scaled image are rounded down.
    """
    height, width = pixels.shape[-2:]
    maps: list[Tensor] = []
    for scale in scales:
        view = pixels if scale == 1 else resized(pixels, (int(height * scale), int(width * scale)))
        maps.append(score(view))
        if flip:
            maps.append(score(view.flip(-1)).flip(-1))
    return [maps[0], *(resized(each, maps[0].shape[-2:]) for each in maps[1:])]


def agreed(maps: Sequence[Tensor]) -> Tensor:
    """Class int64 (B, h, w) of the first of `maps` (B, C, h, w) where all choose the same, elsewhere `IGNORE`."""
    choices = torch.stack([logits.argmax(1) for logits in maps])
    return torch.where((choices == choices[0]).all(0), choices[0], IGNORE)


def taught(labels: Tensor, pseudo: Tensor, unseen: Tensor) -> Tensor:
    """Labels int64 (B, h, w), and where they are `UNLABELLED` the pseudo label, an index into `unseen`, int64 (U,)."""
    named = torch.where(pseudo >= 0, unseen[pseudo.clamp(min=0)], IGNORE)
    return torch.where(labels == UNLABELLED, named, labels)
