"""What pre-training minimises: images against captions, and against the names that captions hold."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARPNESS = 20.0
"""Of the soft maximum over patches."""


class Objective(nn.Module):
    """The losses, with the scales and biases of their own, which are not part of the CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((2,), 10.0).log())
        self.bias = nn.Parameter(torch.full((2,), -4.0))

    def names(self, image: Tensor, texts: Tensor, present: Tensor) -> Tensor:
        """Sigmoid loss (SigLIP) of images (B, D) against names (P, D); `present`: 0/1 (B, P)."""
        logits = self.scale[0].exp() * image @ texts.T + self.bias[0]
        return F.binary_cross_entropy_with_logits(logits, present, reduction="sum") / len(image)

    def patches(self, patches: Tensor, texts: Tensor, present: Tensor) -> Tensor:
        """The same of the best patches: (B, N, D), soft maximum over N. No place is told, presence alone."""
        similarity = patches @ texts.T
        best = (similarity * SHARPNESS).logsumexp(1) / SHARPNESS
        logits = self.scale[1].exp() * best + self.bias[1]
        return F.binary_cross_entropy_with_logits(logits, present, reduction="sum") / len(patches)


def contrast(image: Tensor, text: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss (InfoNCE, both ways); equal captions in a batch are no negatives of each other."""
    logits = scale * image @ text.T
    equal = (tokens[:, None] == tokens[None]).all(-1)
    equal.fill_diagonal_(False)
    logits = logits.masked_fill(equal, -1e4)
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def encode_texts(model: Any, tokens: Tensor) -> Tensor:
    """`model.encode_text`, without the columns that are padding in every row; unit norm."""
    length = int((tokens != 0).sum(1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize((x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection).float(), dim=-1)


def encode_tokens(model: Any, images: Tensor) -> Tensor:
    """Every token of the image encoder, [class | patches], in the space of the texts; unit norm."""
    visual = model.visual
    x = visual.ln_post(visual.transformer(visual._embeds(images))) @ visual.proj
    return F.normalize(x.float(), dim=-1)
