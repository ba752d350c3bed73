"""From two opinions on each proposal to one score, and from scores of proposals to a semantic map."""

from __future__ import annotations

import torch
from torch import Tensor

from .options import ZegFormerFusion

ZEGFORMER_SHARE = 2 / 3
"""Exponent of the trusted branch: the query branch on seen classes, CLIP on unseen ones (ZegFormer, section 3.3)."""


def zegformer_scores(
    query_logits: Tensor | None, clip_logits: Tensor | None, seen: Tensor, how: ZegFormerFusion = "ensemble"
) -> Tensor:
    """Scores (Q, C) of proposals, not renormalised.

    `query_logits`: (Q, C + 1), the last column the background, or None where proposals come without an opinion.
    `clip_logits`: (Q, C), or None where CLIP is not asked. The background logit joins CLIP's softmax as it is. "ensemble":
    with CLIP's probabilities of the seen classes replaced by their mean, p^(2/3) c^(1/3) on seen and p^(1/3) c^(2/3) on
    unseen classes; "ensemble-all": p^(1/3) c^(2/3) on all, no mean.
    """
    if query_logits is None:
        if clip_logits is None:
            raise ValueError("neither branch has an opinion")
        return clip_logits.softmax(-1)
    query = query_logits.softmax(-1)[:, :-1]
    if how == "query" or clip_logits is None:
        return query
    region = torch.cat([clip_logits, query_logits[:, -1:]], -1).softmax(-1)[:, :-1]
    if how == "clip":
        return region
    minor = 1 - ZEGFORMER_SHARE
    if how == "ensemble-all":
        return query**minor * region**ZEGFORMER_SHARE
    mean = (region * seen).sum(-1, keepdim=True) / seen.sum()  # without a seen class never looked at
    region = torch.where(seen, mean, region)
    query_share = torch.where(seen, ZEGFORMER_SHARE, minor).to(query)
    return query**query_share * region ** (1 - query_share)


def zsseg_scores(
    query_logits: Tensor | None, region_logits: Tensor, valid: Tensor, seen: Tensor, weight: float
) -> Tensor:
    """Scores (Q, C): p^w c^(1-w) on seen classes, p^(1-w) c^w on unseen ones.

    `query_logits`: (Q, C + 1), the last column "no object", or None. `region_logits`: (V, C), of the proposals where
    `valid`, bool (Q,), is True; for the others c = 1. `weight` <= 0, or no query logits: CLIP alone, and 0 for the others.
    """
    alone = query_logits is None or weight <= 0
    region = region_logits.new_full((len(valid), region_logits.shape[-1]), 0.0 if alone else 1.0)
    region[valid] = region_logits.softmax(-1)
    if query_logits is None or weight <= 0:
        return region
    query = query_logits.softmax(-1)[:, :-1]
    query_share = torch.where(seen, weight, 1 - weight).to(query)
    return query**query_share * region ** (1 - query_share)


def semantic_map(scores: Tensor, masks: Tensor) -> Tensor:
    """`sum_q scores[q, c] masks[q, h, w]`: (C, H, W) of scores (Q, C) and mask probabilities (Q, H, W)."""
    return torch.einsum("qc,qhw->chw", scores, masks)
