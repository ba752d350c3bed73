"""Stage 1: MaskFormer. Queries over the features of an image become masks and the embeddings that name them.

Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation", 2021. The pixel decoder and the query
decoder are those of the `transformers` library; backbone, initialisation and heads are our own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .backbone import Backbone

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of RGB in 0..255."""


class Predictions(NamedTuple):
    """What every decoder layer predicts, the last one last.

    `queries`: (L, B, Q, width), normed. `masks`: logits (L, B, Q, h, w) at stride 4 of the padded image.
    """

    queries: Tensor
    masks: Tensor


class MaskFormer(nn.Module):
    """A backbone, a feature pyramid, and a decoder of `layers` layers over `queries` queries of `width` channels.

    Masks are computed for every layer, at test time as in training, as the released systems do (and as their published cost
    counts); that is 0.1 % of a two-stage pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: Backbone, queries: int = 100, layers: int = 6, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        parts = _library()
        config = parts.MaskFormerConfig(
            fpn_feature_size=width,
            mask_feature_size=width,
            decoder_config=parts.MaskFormerDetrConfig(
                num_queries=queries,
                d_model=width,
                decoder_layers=layers,
                decoder_ffn_dim=8 * width,
                dropout=dropout,
                attention_dropout=dropout,
                activation_dropout=dropout,
                encoder_attention_heads=8,
                decoder_attention_heads=8,
            ),
        )
        *laterals, deepest = backbone.channels
        self.backbone = backbone
        self.pixel_decoder = parts.MaskFormerPixelDecoder(
            in_features=deepest, lateral_widths=laterals, feature_size=width, mask_feature_size=width
        )
        self.transformer = parts.MaskFormerTransformerModule(in_features=deepest, config=config)
        self.mask_embedder = parts.MaskformerMLPPredictionHead(width, width, width)
        self.width = width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        initialise(self)

    def normalise(self, images: Tensor) -> Tensor:
        """float (B, 3, H, W) RGB in 0..1 by the mean and deviation of ImageNet, which are not CLIP's.

        Computed in 0..255, as released: rounding otherwise decides other pixels on the border of a mask.
        """
        return (255 * images - self.mean) / self.std

    def forward(self, images: Tensor) -> Predictions:
        """`images`: normalised, then padded to a multiple of 32 (padding is attended to, as released)."""
        features = self.backbone(images)
        pixels = self.pixel_decoder(features).last_hidden_state
        decoded = self.transformer(features[-1], output_hidden_states=True)
        norm = self.transformer.decoder.layernorm
        inner = [norm(state) for state in decoded.hidden_states[1:-1]]
        queries = torch.stack([*inner, decoded.last_hidden_state])
        return Predictions(queries, torch.einsum("lbqc,bchw->lbqhw", self.mask_embedder(queries), pixels))


def initialise(network: MaskFormer) -> None:
    """Initial weights of everything but the backbone, nearly as the released MaskFormer draws them (README.md).

    Convolutions of the pyramid: Kaiming uniform with gain 1 (detectron2's `c2_xavier_fill`); decoder matrices: Xavier
    uniform; queries: standard normal.
    """
    for conv in (m for m in network.pixel_decoder.modules() if isinstance(m, nn.Conv2d)):
        _kaiming(conv)
    if network.transformer.input_projection is not None:
        _kaiming(network.transformer.input_projection)
    for parameter in network.transformer.decoder.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    nn.init.normal_(network.transformer.queries_embedder.weight)
    for linear in (m for m in network.mask_embedder.modules() if isinstance(m, nn.Linear)):
        linear.reset_parameters()


def _kaiming(conv: nn.Conv2d) -> None:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _library() -> Any:
    from transformers.models.maskformer import modeling_maskformer  # slow to import

    return modeling_maskformer
