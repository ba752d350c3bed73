"""The decoder: class queries attend to patches, and the attention scores are the masks (ZegCLIP, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.errors import UserError

from .options import ZegClipOptions


class CrossAttention(nn.Module):
    """Attention of class queries to patches, which can also give its scores alone."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def scores(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Scores before the softmax, averaged over heads: (B, C, N) of queries (B, C, D) and patches (B, N, D).

        The mean over heads of `q_h k_h / sqrt(d)` is one product of the whole vectors.
        """
        q, k = self.q(queries), self.k(patches)
        scale = (q.shape[-1] * self.heads) ** -0.5  # 1 / (heads sqrt(dim / heads))
        return scale * q @ k.mT

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """What each query gathers: (B, C, D) of queries (B, C, D) and patches (B, N, D)."""
        q, k, v = (
            x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for x in (self.q(queries), self.k(patches), self.v(patches))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        gathered: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return gathered


class DecoderLayer(nn.Module):
    """Cross-attention and feed-forward, each with a residual and a norm after it; without self-attention."""

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attention = CrossAttention(dim, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Updated queries (B, C, D)."""
        queries = self.norm2(queries + self.dropout(self.attention(queries, patches)))
        hidden = self.dropout(F.relu(self.linear1(queries)))
        updated: Tensor = self.norm3(queries + self.dropout(self.linear2(hidden)))
        return updated


class Decoder(nn.Module):
    """Layers that start as equal copies; the masks are the attention scores of the last.

    Nothing depends on what the last layer makes of its queries, nor on the self-attention and first norm that the released
    layers contain, so they are built only with `idle_parameters` and never computed.
    """

    def __init__(self, dim: int, options: ZegClipOptions) -> None:
        super().__init__()
        if dim % options.heads:
            raise UserError(f"option heads={options.heads} of zegclip must divide CLIP's embedding size {dim}.")
        layer = DecoderLayer(dim, options.heads, options.ffn, options.dropout)
        layers = [deepcopy(layer) for _ in range(options.layers)]
        if options.idle_parameters:
            add_idle_parameters(layers, dim, options.heads)
        else:
            drop_idle_parameters(layers[-1])
        self.layers = nn.ModuleList(layers)

    def forward(self, queries: Tensor, patches: Tensor, every_layer: bool = False) -> list[Tensor]:
        """Mask logits (B, C, N) of the last layer, or of every layer, for queries (B, C, D) and patches (B, N, D)."""
        *inner, last = cast(Iterable[DecoderLayer], self.layers)
        masks = []
        for layer in inner:
            if every_layer:
                masks.append(layer.attention.scores(queries, patches))
            queries = layer(queries, patches)
        return [*masks, last.attention.scores(queries, patches)]


def drop_idle_parameters(last: DecoderLayer) -> None:
    """Leave of the last layer what its scores need: the projections of queries and keys."""
    for name in ("linear1", "linear2", "norm2", "norm3"):
        delattr(last, name)
    del last.attention.v, last.attention.proj


def add_idle_parameters(layers: list[DecoderLayer], dim: int, heads: int) -> None:
    """Add what the released layers build and never run."""
    for layer in layers:
        layer.self_attn, layer.norm1 = nn.MultiheadAttention(dim, heads), nn.LayerNorm(dim)
