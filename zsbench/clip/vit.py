"""What dense methods share of a CLIP vision transformer: normalised pixels, and tokens at any image size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor

from zsbench.errors import UserError
from zsbench.recipe import IMAGENET_MEAN as IMAGENET_MEAN

if TYPE_CHECKING:
    from zsbench.clip.model import Clip

IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """`(images - mean) / std` by channel; `images` float (B, 3, H, W) in 0..1."""
    shape = (1, len(mean), 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def resize_positions(positions: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Position embedding (1 + n*n, D) of a square grid to (1 + height*width, D); the class token's row is kept."""
    side = math.isqrt(positions.shape[0] - 1)
    if (side, side) == (height, width):
        return positions
    grid = positions[1:].T.reshape(1, -1, side, side)
    resized = F.interpolate(grid, (height, width), mode=mode, align_corners=False)
    return torch.cat([positions[:1], resized.flatten(2)[0].T])


def plain_vit(clip: Clip, method: str) -> VisionTransformer:
    """The image encoder of `clip` where it is open_clip's own vision transformer with a class token that `method` can take
    apart; raises `UserError` for any other (a ResNet, a timm model, an attention pool)."""
    visual = clip.model.visual
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        return visual
    kind = type(visual).__name__ + (" with an attention pool" if isinstance(visual, VisionTransformer) else "")
    raise UserError(
        f"{method} needs open_clip's own vision transformer; {clip.name} has a {kind}. "
        "Choose another --clip, such as ViT-B-16-quickgelu."
    )


def check_side(images: Tensor, patch: int) -> None:
    """Raise `UserError` for images (B, 3, H, W) that are smaller than a patch of so many pixels."""
    height, width = images.shape[-2:]
    if min(height, width) < patch:
        raise UserError(
            f"an image of {width}x{height} px is smaller than a patch of CLIP, which has {patch}x{patch} px."
        )


def embed(visual: Any, images: Tensor, class_tokens: int = 1, mode: str = "bilinear") -> Tensor:
    """Tokens [class | patches row by row] (B, 1 + h*w, D) of an open_clip `VisionTransformer`, after its `ln_pre`.

    `images`: normalised; a rest smaller than a patch is cut off by the convolution. `class_tokens`: how often the class
    embedding is added (the released ZegCLIP adds it twice). Raises `UserError` for images smaller than a patch.
    """
    check_side(images, visual.conv1.kernel_size[0])
    patches = visual.conv1(images)
    height, width = patches.shape[-2:]
    classes = (class_tokens * visual.class_embedding).expand(len(images), 1, -1)
    tokens = torch.cat([classes.to(patches.dtype), patches.flatten(2).mT], 1)
    return visual.ln_pre(tokens + resize_positions(visual.positional_embedding, height, width, mode).to(tokens.dtype))
