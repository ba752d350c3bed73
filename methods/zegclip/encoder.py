"""CLIP's image encoder with prompt tokens between the class token and the patches (ZegCLIP, section 3.2)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.clip.vit import IMAGENET_MEAN, IMAGENET_STD, embed, normalise, plain_vit, resize_positions

from .options import ZegClipOptions
from .prompts import Prompts


class PromptedEncoder(nn.Module):
    """Image and patch embeddings, both of unit length, of a CLIP vision transformer.

    Built around the modules of open_clip's `VisionTransformer`; they are shared with `clip` where they are frozen and
    copied where they are to learn. Raises `UserError` for another kind of image encoder.
    """

    def __init__(self, clip: Clip, options: ZegClipOptions) -> None:
        super().__init__()
        visual = plain_vit(clip, "zegclip")
        learns = options.encoder == "finetuned"
        if learns:
            visual = deepcopy(visual)
        self.mean, self.std = (
            (clip.mean, clip.std) if options.normalisation == "clip" else (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.class_tokens = 2 if options.class_embedding == "twice" else 1
        self.conv1, self.ln_pre, self.ln_post = visual.conv1, visual.ln_pre, visual.ln_post
        self.blocks: nn.ModuleList = visual.transformer.resblocks
        self.class_embedding, self.proj = visual.class_embedding, visual.proj
        positions = visual.positional_embedding.detach()
        if options.position_size is not None:
            side = options.position_size // clip.patch_size
            positions = resize_positions(positions, side, side)
        self.positional_embedding = nn.Parameter(positions)
        self.requires_grad_(learns)
        self.prompts = None if options.dpt == "off" else Prompts(visual, options)

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + h*w, W), class token first, after the last block and the norm of the prompts."""
        tokens = embed(self, normalise(images, self.mean, self.std), self.class_tokens)
        patches, keep = tokens.shape[1] - 1, self.prompts is None or self.prompts.shallow
        fresh = [None] * len(self.blocks) if self.prompts is None else self.prompts(len(images))
        for block, prompts in zip(self.blocks, fresh, strict=True):
            if prompts is not None:
                tokens = torch.cat([tokens[:, :1], prompts, tokens[:, -patches:]], 1)
            elif not keep:
                tokens = torch.cat([tokens[:, :1], tokens[:, -patches:]], 1)
            tokens = run_block(block, tokens)
        tokens = torch.cat([tokens[:, :1], tokens[:, -patches:]], 1)
        return tokens if self.prompts is None else self.prompts.norm(tokens)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit image embeddings float32 (B, D) and unit patch embeddings float32 (B, h*w, D).

        `images`: float (B, 3, H, W), RGB in 0..1; h = H // patch size, w = W // patch size, patches row by row.
        """
        features = F.normalize((self.ln_post(self.tokens(images)) @ self.proj).float(), dim=-1)
        return features[:, 0], features[:, 1:]


def run_block(block: Any, tokens: Tensor) -> Tensor:
    """One of open_clip's residual attention blocks on (B, L, W), its attention fused and without the inference fast path.

    The fast path of `nn.MultiheadAttention` hides its operations from FLOP counters and does not work under autocast.
    """
    attention = block.attn
    if not isinstance(attention, nn.MultiheadAttention):
        return block(tokens)
    qkv = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = qkv.view(*qkv.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    tokens = tokens + block.ls_1(attention.out_proj(mixed))
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
