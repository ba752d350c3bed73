"""The image encoders that dense methods can use, whoever wrote them.

open_clip's `VisionTransformer` fits as it is. By a choice of ours, each patch leaving as if it were the whole image:

- CLIP's ResNets: one block, the attention pool, on [mean | places] and without its position embedding (MaskCLIP's choice).
- timm's `VisionTransformer` and `Eva` (SigLIP, SigLIP2, EVA, PE-Core, ViTamin, MobileCLIP's transformers): where an
  attention pool ends the encoder, a patch goes through its value path; rotary positions follow the image's grid.

Others (ConvNeXt, Swin, FastViT, relative positions, CoCa's pooler) are refused: they have no attention over the whole
image, or patches that never meet a text.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import Tensor, nn

from zsbench.clip.tower import Grid, Heads, Positions, Tokens, Tower, flattened, heads, joined, resize_positions
from zsbench.errors import UserError


class ClipTower(Tower):
    """open_clip's own vision transformer."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.blocks = visual.transformer.resblocks
        self.patch = visual.patch_size[0]

    def embed(self, images: Tensor, positions: Positions = "bilinear") -> Tokens:
        visual, (patches, grid) = self.visual, flattened(self.visual.conv1(images))
        tokens = torch.cat([visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1), patches], 1)
        place = resize_positions(visual.positional_embedding, visual.grid_size, grid, positions, prefix=1)
        return Tokens(visual.ln_pre(tokens + place.to(tokens.dtype)), grid, prefix=1)

    def normed(self, block: Any, tokens: Tokens) -> Tensor:
        return block.ln_1(tokens.features)

    def qkv(self, block: Any, tokens: Tokens) -> Heads:
        attention = block.attn
        packed = F.linear(self.normed(block, tokens), attention.in_proj_weight, attention.in_proj_bias)
        return heads(packed, attention.num_heads)

    def mix(self, block: Any, values: Tensor) -> Tensor:
        return block.attn.out_proj(joined(values))

    def residual(self, block: Any, tokens: Tokens, mixed: Tensor) -> Tokens:
        features = tokens.features + block.ls_1(mixed)
        return tokens.holding(features + block.ls_2(block.mlp(block.ln_2(features))))

    def finish(self, tokens: Tokens) -> Tensor:
        return self.visual.ln_post(tokens.features) @ self.visual.proj


class ResNetTower(Tower):
    """CLIP's ResNet: convolutions up to the attention pool, which is its only block."""

    patch = 32

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.blocks = [visual.attnpool]

    def embed(self, images: Tensor, positions: Positions = "bilinear") -> Tokens:
        """The mean of all places, then the places; a pool's positions are for one image size, and are left out."""
        visual = self.visual
        maps = nn.Sequential(visual.layer1, visual.layer2, visual.layer3, visual.layer4)(visual.stem(images))
        places, grid = flattened(maps)
        return Tokens(torch.cat([places.mean(1, keepdim=True), places], 1), grid, prefix=1)

    def normed(self, block: Any, tokens: Tokens) -> Tensor:
        return tokens.features

    def qkv(self, block: Any, tokens: Tokens) -> Heads:
        parts = [project(tokens.features) for project in (block.q_proj, block.k_proj, block.v_proj)]
        return heads(torch.cat(parts, -1), block.num_heads)

    def mix(self, block: Any, values: Tensor) -> Tensor:
        return block.c_proj(joined(values))

    def residual(self, block: Any, tokens: Tokens, mixed: Tensor) -> Tokens:
        return tokens.holding(mixed)

    def finish(self, tokens: Tokens) -> Tensor:
        return tokens.features


class TimmTower(Tower):
    """A transformer of timm's; `head`: what open_clip puts behind it."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        self.trunk, self.head = trunk, head
        self.blocks = trunk.blocks
        self.patch = round(trunk.patch_embed.img_size[0] / trunk.patch_embed.grid_size[0])

    def embed(self, images: Tensor, positions: Positions = "bilinear") -> Tokens:
        trunk, prefix = self.trunk, self.trunk.num_prefix_tokens
        patches, grid = self.patches(images)
        marks = [mark.expand(len(images), -1, -1) for mark in (trunk.cls_token, trunk.reg_token) if mark is not None]
        place, marked = trunk.pos_embed, 0 if trunk.no_embed_class else prefix
        if place is not None:
            place = resize_positions(place[0], trunk.patch_embed.grid_size, grid, positions, marked)
            patches = patches + place[marked:]
            marks = [torch.cat(marks, 1) + place[:marked]] if marked else marks
        return Tokens(trunk.norm_pre(torch.cat([*marks, patches], 1)), grid, prefix, self.rotation(grid))

    def rotation(self, grid: Grid) -> Tensor | None:
        """The rotary embedding of a grid; the module's own stays that of the trained size."""
        if getattr(self.trunk, "rope", None) is None:
            return None
        rope = deepcopy(self.trunk.rope)
        rope.update_feat_shape(list(grid))
        return rope.get_embed()

    def patches(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Patches before positions, (B, h*w, W), at any image size (timm checks it, in front of the convolution)."""
        embed = self.trunk.patch_embed
        maps = embed.proj(embed.backbone(images) if hasattr(embed, "backbone") else images)
        patches, grid = flattened(maps)
        return getattr(embed, "norm", nn.Identity())(patches), grid

    def normed(self, block: Any, tokens: Tokens) -> Tensor:
        return tokens.features if isinstance(block, EvaBlockPostNorm) else block.norm1(tokens.features)

    def qkv(self, block: Any, tokens: Tokens) -> Heads:
        attention, features = block.attn, self.normed(block, tokens)
        if attention.qkv is None:
            parts = [project(features) for project in (attention.q_proj, attention.k_proj, attention.v_proj)]
            packed = torch.cat(parts, -1)
        else:
            bias = attention.qkv.bias
            if getattr(attention, "q_bias", None) is not None:
                bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
            packed = F.linear(features, attention.qkv.weight, bias)
        q, k, v = heads(packed, attention.num_heads)
        return self.rotated(attention.q_norm(q), tokens), self.rotated(attention.k_norm(k), tokens), v

    def rotated(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Queries or keys (B, H, L, d), those of the patches rotated by their places."""
        if tokens.rotation is None:
            return x
        half = getattr(self.blocks[0].attn, "rotate_half", False)
        turned = apply_rot_embed_cat(x[:, :, tokens.prefix :], tokens.rotation, half=half)
        return torch.cat([x[:, :, : tokens.prefix], turned], 2).type_as(x)

    def mix(self, block: Any, values: Tensor) -> Tensor:
        return block.attn.proj(block.attn.norm(joined(values)))

    def residual(self, block: Any, tokens: Tokens, mixed: Tensor) -> Tokens:
        features = tokens.features
        if isinstance(block, Block):
            features = features + block.ls1(mixed)
            return tokens.holding(features + block.ls2(block.mlp(block.norm2(features))))
        if isinstance(block, EvaBlockPostNorm):
            features = features + block.norm1(mixed)
            return tokens.holding(features + block.norm2(block.mlp(features)))
        features = features + scaled(mixed, block.gamma_1)
        return tokens.holding(features + scaled(block.mlp(block.norm2(features)), block.gamma_2))

    def finish(self, tokens: Tokens) -> Tensor:
        """Every token alone is pooled as if all tokens of an image were like it."""
        alone = self.trunk.norm(tokens.features).flatten(0, 1)[:, None].expand(-1, tokens.prefix + 1, -1)
        return self.head(self.trunk.forward_head(alone)).unflatten(0, tokens.features.shape[:2])


def tower_of(visual: Any, name: str) -> Tower:
    """The image encoder `visual` of the model `name` in parts. Raises `UserError` for one that is not supported."""
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    if isinstance(visual, VisionTransformer):
        plain = all(isinstance(block.attn, nn.MultiheadAttention) for block in visual.transformer.resblocks)
        if plain and visual.attn_pool is None:
            return ClipTower(visual)
        raise unsupported(name, "its patches leave through a captioner's pooler, or its attention is not CLIP's")
    trunk: Any = visual.trunk if isinstance(visual, TimmModel) else visual
    if not isinstance(trunk, TimmTransformer | Eva):
        raise unsupported(name, f"a {type(trunk).__name__} has no attention over the whole image, or other blocks")
    blocks: Any = list(trunk.blocks)
    known = all(type(block) in (Block, EvaBlock, EvaBlockPostNorm) and block.attn.gate is None for block in blocks)
    if known and not getattr(trunk, "rope_mixed", False):
        return TimmTower(trunk, visual.head if isinstance(visual, TimmModel) else nn.Identity())
    raise unsupported(name, f"blocks such as its {type(blocks[0]).__name__} are not known here")


def unsupported(name: str, reason: str) -> UserError:
    return UserError(
        f"{name} cannot give dense features: {reason}. Choose another --clip: open_clip's own vision transformers (such as "
        "ViT-B-16-quickgelu), CLIP's ResNets, or one of EVA, SigLIP, PE-Core, ViTamin."
    )


def scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x
