"""NACLIP (Hajimiri et al., "Pay Attention to Your Neighbours", WACV 2025; github.com/sinahmr/NACLIP, MIT)."""

from torch import Tensor

from zsbench.clip.tower import Tokens
from zsbench.registry import register_method

from .base import DenseClip, attended
from .neighbours import neighbourhood
from .options import NaclipOptions


@register_method("naclip")
class Naclip(DenseClip):
    """Training-free: tokens attend to like keys nearby; no residual, no feed-forward (NACLIP, WACV 2025)."""

    Options = NaclipOptions

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        return attended(k, k, v, neighbourhood(tokens, self.options.deviation).to(k.dtype))
