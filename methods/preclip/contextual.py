"""The context of a pixel, at three dilations, as CaGNet codes it; SIGN's codes of where a pixel lies use the same parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..deeplab import SCALES, DeepLabV2, resized


def conv(channels: int, out: int, kernel: int, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(channels, out, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)


class Pyramid(nn.Module):
    """Three 3x3 convolutions after each other (dilations 1, 2, 5), each weighed at every pixel; no norm, no bias.

    Weights are the sigmoid of a ReLU, hence never below one half.
    """

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            [conv(channels, width, 3), conv(width, width, 3, dilation=2), conv(width, width, 3, dilation=5)]
        )
        self.weigh = conv(3 * width, 3, 3)
        self.pool = conv(3 * width, out, 1)

    def forward(self, maps: Tensor) -> Tensor:
        parts = []
        for step in self.steps:
            maps = step(maps).relu()
            parts.append(maps)
        weights = self.weigh(torch.cat(parts, 1)).relu().sigmoid()
        weighed = [part * weights[:, [number]] for number, part in enumerate(parts)]
        return self.pool(torch.cat(weighed, 1)).relu()


@dataclass(frozen=True)
class Code:
    """A Gaussian code of every pixel, (B, D, h, w) each. `log_variance` is at least 0, hence the variance at least 1."""

    mean: Tensor
    log_variance: Tensor

    def drawn(self) -> Tensor:
        """A draw of it."""
        noise = torch.randn(self.mean.shape, device=self.mean.device)
        return self.mean + noise.to(self.mean.dtype) * (self.log_variance / 2).exp()

    def divergence(self, valid: Tensor) -> Tensor:
        """From the standard normal distribution, a mean over channels and over the pixels `valid`, bool (B, h, w)."""
        terms = 1 + self.log_variance - self.mean.square() - self.log_variance.exp()
        return -0.5 * terms.movedim(1, -1)[valid].sum() / (valid.sum() * self.mean.shape[1]).clamp(min=1)


class Coder(nn.Module):
    """A pyramid, and the mean and the logarithm of the variance of its code."""

    def __init__(self, channels: int, width: int, between: int, out: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels, width, between)
        self.mean, self.log_variance = conv(between, out, 3), conv(between, out, 3)

    def forward(self, maps: Tensor) -> Code:
        pooled = self.pyramid(maps)
        return Code(self.mean(pooled), self.log_variance(pooled).relu())


class Context(Coder):
    """CaGNet's contextual module: its code of a pixel is what the generator is given in the place of noise."""

    def __init__(self, dim: int, width: int = 256) -> None:
        super().__init__(dim, width, dim, dim)

    def forward(self, maps: Tensor) -> Code:
        return super().forward(maps.sigmoid())


def contextual_feature(maps: Tensor, code: Tensor) -> Tensor:
    """Features in 0..1 of `maps` (B, D, h, w), strengthened where the context's `code` is large."""
    return (maps + maps * code.sigmoid()).sigmoid()


@dataclass(frozen=True)
class Encoded:
    """Of one image size: features (B, D, h, w), the code they were made with, and its distribution."""

    features: Tensor
    code: Tensor
    context: Code


class ContextualNetwork(nn.Module):
    """DeepLab v2 whose features the contextual module strengthens. A code is drawn in training, else it is its mean.

    `spatial`: what SIGN puts between the two, a map to a map of the same shape.
    """

    def __init__(self, backbone: DeepLabV2, context: Context, spatial: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.context, self.spatial = backbone, context, spatial

    def forward(self, pixels: Tensor) -> Encoded:
        maps = self.backbone(pixels)
        maps = maps if self.spatial is None else self.spatial(maps)
        context = self.context(maps)
        code = context.drawn() if self.training else context.mean
        return Encoded(contextual_feature(maps, code), code, context)

    def scales(self, pixels: Tensor, scales: Sequence[float] = SCALES) -> list[Encoded]:
        """At each scale of the image (sides rounded down), each with a draw of its own."""
        height, width = pixels.shape[-2:]
        sizes = [(int(height * scale), int(width * scale)) for scale in scales]
        return [self(pixels if size == (height, width) else resized(pixels, size)) for size in sizes]
