"""A CLIP's image encoder in parts, for methods that look inside: tokens, blocks, and attention in four steps.

A method that changes how a block attends says `q, k, v = tower.qkv(block, tokens)`, mixes values in its own way, then
`tower.mix` (the output projection) and, if it keeps them, `tower.residual` (residual and feed-forward). `tower.finish` takes
tokens to the space of text embeddings. `zsbench.clip.towers` has the encoders.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Positions = Literal["bilinear", "bicubic", "scale", "antialias"]
"""How position embeddings reach another grid: to its size, bilinearly or bicubically; bicubically by the factor (side + 0.1)
/ trained side, which moves the sampling positions, too (DINO's code and its followers); bicubically with antialiasing."""

Grid = tuple[int, int]
"""Rows and columns of patches."""
Heads = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, float (B, H, L, d) each."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """What goes from block to block.

    `features`: float (B, prefix + h*w, W): `prefix` tokens that are no patches (the class token), then patches row by row.
    `grid`: (h, w). `rotation`: timm's rotary embedding of the patches, where there is one.
    """

    features: Tensor
    grid: Grid
    prefix: int
    rotation: Tensor | None = None

    @property
    def patches(self) -> Tensor:
        """float (B, h*w, W)."""
        return self.features[:, self.prefix :]

    def holding(self, features: Tensor) -> Tokens:
        """The same places with other features, (B, prefix + h*w, any)."""
        return replace(self, features=features)


class Tower(ABC):
    """An image encoder in parts. `blocks`: its attention blocks, in order. `patch`: pixels from patch to patch."""

    blocks: Sequence[Any]
    patch: int

    @abstractmethod
    def embed(self, images: Tensor, positions: Positions = "bilinear") -> Tokens:
        """What enters the first block. `images`: normalised, float (B, 3, H, W), sides of at least one patch; a rest smaller
        than a patch is cut off."""

    @abstractmethod
    def normed(self, block: Any, tokens: Tokens) -> Tensor:
        """What a block's projections see: the tokens after its first norm, float (B, L, W)."""

    @abstractmethod
    def qkv(self, block: Any, tokens: Tokens) -> Heads:
        """Queries, keys and values of a block; rotated where the encoder rotates them."""

    @abstractmethod
    def mix(self, block: Any, values: Tensor) -> Tensor:
        """Attended values (B, H, L, d) through the output projection: (B, L, W)."""

    @abstractmethod
    def residual(self, block: Any, tokens: Tokens, mixed: Tensor) -> Tokens:
        """The block's output: `tokens` plus `mixed`, plus the feed-forward network's answer to that."""

    @abstractmethod
    def finish(self, tokens: Tokens) -> Tensor:
        """Tokens after the last block in the space of text embeddings, not normalised: float (B, prefix + h*w, D)."""

    def run(self, block: Any, tokens: Tokens) -> Tokens:
        """A block as it is."""
        return self.residual(block, tokens, self.mix(block, F.scaled_dot_product_attention(*self.qkv(block, tokens))))


def resize_positions(embedding: Tensor, trained: Grid, grid: Grid, mode: Positions, prefix: int = 0) -> Tensor:
    """Position embedding (prefix + n, D) of the grid `trained` at another: (prefix + h*w, D); the prefix is kept."""
    if tuple(trained) == tuple(grid):
        return embedding
    maps = embedding[prefix:].T.reshape(1, -1, *trained)
    if mode == "scale":
        factor = [(side + 0.1) / math.sqrt(trained[0] * trained[1]) for side in grid]
        resized = F.interpolate(maps, scale_factor=factor, mode="bicubic")
    else:
        kind = "bilinear" if mode == "bilinear" else "bicubic"
        resized = F.interpolate(maps, tuple(grid), mode=kind, antialias=mode == "antialias")
    return torch.cat([embedding[:prefix], resized.flatten(2)[0].T])


def flattened(maps: Tensor) -> tuple[Tensor, Grid]:
    """Maps (B, W, h, w) as tokens (B, h*w, W), and their grid."""
    return maps.flatten(2).mT, (maps.shape[-2], maps.shape[-1])


def heads(packed: Tensor, count: int) -> Heads:
    """Projections (B, L, 3 H d), queries first, as three of (B, H, L, d)."""
    q, k, v = packed.unflatten(-1, (3, count, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def joined(values: Tensor) -> Tensor:
    """(B, H, L, d) to (B, L, H d)."""
    return values.transpose(1, 2).flatten(2)
