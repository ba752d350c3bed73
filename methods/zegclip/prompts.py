"""Prompt tokens for the blocks of a vision transformer (deep prompt tuning, Jia et al., ECCV 2022, as ZegCLIP uses it)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.errors import UserError

from .options import ZegClipOptions


class Prompts(nn.Module):
    """Learnt tokens for some blocks, through one shared projection and dropout, and the norm after the last block.

    `embeddings`: (blocks with prompts of their own, prompts, width). Shallow prompts are put in before the first block,
    pass through all of them, and have no norm.
    """

    def __init__(self, visual: Any, options: ZegClipOptions) -> None:
        super().__init__()
        width, blocks = visual.conv1.out_channels, len(visual.transformer.resblocks)
        self.shallow = options.dpt == "shallow"
        self.blocks, self.dropout = blocks, options.prompt_dropout
        depth = 1 if self.shallow else blocks if options.prompt_depth is None else options.prompt_depth
        if not 0 < abs(depth) <= blocks:
            raise UserError(
                f"option prompt_depth={depth} of zegclip: this CLIP has {blocks} blocks; "
                f"give 1..{blocks} (the first ones) or -{blocks}..-1 (the last ones)."
            )
        self.first = 0 if depth > 0 else blocks + depth
        bound = math.sqrt(6 / (visual.conv1.weight[0].numel() + width))
        self.embeddings = nn.Parameter(torch.empty(abs(depth), options.prompts, width).uniform_(-bound, bound))
        self.projection = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.projection.weight, mode="fan_out")
        self.norm = nn.Identity() if self.shallow else nn.LayerNorm(width, eps=1e-6)

    def forward(self, batch: int) -> list[Tensor | None]:
        """For each block its new prompts (batch, prompts, width), or None."""
        projected = self.projection(self.embeddings)[:, None].expand(-1, batch, -1, -1)
        fresh = F.dropout(projected, self.dropout, self.training).unbind()
        before, after = self.first, self.blocks - self.first - len(fresh)
        return [*[None] * before, *fresh, *[None] * after]
