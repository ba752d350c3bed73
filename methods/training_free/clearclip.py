"""ClearCLIP (Lan et al., "Decomposing CLIP Representations for Dense Vision-Language Inference", ECCV 2024)."""

from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.registry import register_method

from .base import DenseClip, attended
from .options import ClearClipOptions


@register_method("clearclip")
class ClearClip(DenseClip):
    """Training-free: tokens attend to like queries; no residual, no feed-forward (ClearCLIP, ECCV 2024)."""

    Options = ClearClipOptions

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        return attended(q, q if self.options.attention == "qq" else k, v)
