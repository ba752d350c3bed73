"""SCLIP (Wang et al., "Rethinking Self-Attention for Dense Vision-Language Inference", ECCV 2024)."""

from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.registry import register_method

from .base import DenseClip, attended
from .options import SclipOptions


@register_method("sclip")
class Sclip(DenseClip):
    """Training-free: tokens attend to like queries and, added to it, to like keys (SCLIP, ECCV 2024)."""

    Options = SclipOptions
    residual = True

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        return attended(q, q, v) + attended(k, k, v)
