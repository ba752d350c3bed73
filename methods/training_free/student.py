"""The networks that MaskCLIP+ trains: DeepLab v2 and v3+ as mmsegmentation 0.20 has them, on a ResNet at stride 8.

Tensors of the heads have mmsegmentation's names. Neither head ends in a classifier: pixels are compared with texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from zsbench.errors import UserError

from ..deeplab import MINIATURE, PRETRAINED, RANDOM, RESNETS, fill, resized

Network = Literal["v2", "v3+"]
TAG = "gluon_in1k"
"""timm's name for the ImageNet weights of GluonCV."""


def create_backbone(name: str, weights: str) -> Any:
    """timm's ResNet (with `c`: of three 3x3 convolutions first) at stride 8, giving a map after each of its four stages.

    `weights`: `random`, `imagenet` (downloaded by timm) or a file. Raises `UserError` where there are none, or a file does
    not fit.
    """
    base, changes = RESNETS[MINIATURE] if name == MINIATURE else (name, {})
    if weights == PRETRAINED and changes:
        raise UserError(
            f"no ImageNet weights of {name} can be downloaded: -o backbone_weights={RANDOM}, or a local file."
        )
    pretrained = weights == PRETRAINED
    body = timm.create_model(
        f"{base}.{TAG}" if pretrained else base,
        pretrained=pretrained,
        features_only=True,
        out_indices=(1, 2, 3, 4),
        output_stride=8,
        **changes,
    )
    if weights not in (RANDOM, PRETRAINED):
        fill(body, Path(weights), "torchvision")
    return body


class ConvNorm(nn.Module):
    """Convolution without bias that keeps the size, batch norm, ReLU; `depthwise`: each channel by itself."""

    def __init__(self, channels: int, out: int, side: int, dilation: int = 1, depthwise: bool = False) -> None:
        super().__init__()
        groups = channels if depthwise else 1
        padding = dilation * (side // 2)
        self.conv = nn.Conv2d(channels, out, side, padding=padding, dilation=dilation, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        return self.bn(self.conv(features)).relu()


class Separable(nn.Module):
    """A 3x3 convolution of each channel, then one of all at each pixel."""

    def __init__(self, channels: int, out: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(channels, channels, 3, dilation, depthwise=True)
        self.pointwise_conv = ConvNorm(channels, out, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(features))


class SumHead(nn.Module):
    """mmsegmentation's DeepLab v2: four dilated convolutions, each with norm and ReLU (the original has neither), summed."""

    DILATIONS = (6, 12, 18, 24)

    def __init__(self, channels: list[int], out: int) -> None:
        super().__init__()
        self.aspp_modules = nn.ModuleList(ConvNorm(channels[-1], out, 3, dilation) for dilation in self.DILATIONS)

    def forward(self, stages: list[Tensor]) -> Tensor:
        total = self.aspp_modules[0](stages[-1])
        for branch in self.aspp_modules[1:]:
            total = total + branch(stages[-1])
        return total


class PyramidHead(nn.Module):
    """mmsegmentation's DeepLab v3+ with separable convolutions, at the size of the first stage.

    The pooled branch has one value of each channel for an image. The batch norm of a single image is not defined there: it
    goes by its running statistics.
    """

    DILATIONS = (12, 24, 36)
    LOW = 48
    """Channels that the first stage is reduced to."""

    def __init__(self, channels: list[int], out: int) -> None:
        super().__init__()
        low, high = channels[0], channels[-1]
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNorm(high, out, 1))
        branches = [Separable(high, out, dilation) for dilation in self.DILATIONS]
        self.aspp_modules = nn.ModuleList([ConvNorm(high, out, 1), *branches])
        self.bottleneck = ConvNorm((len(branches) + 2) * out, out, 3)
        self.c1_bottleneck = ConvNorm(low, self.LOW, 1)
        self.sep_bottleneck = nn.Sequential(Separable(out + self.LOW, out), Separable(out, out))

    def forward(self, stages: list[Tensor]) -> Tensor:
        low, high = stages[0], stages[-1]
        self.image_pool.train(self.training and len(high) > 1)
        pooled = resized(self.image_pool(high), high.shape[-2:])
        pyramid = self.bottleneck(torch.cat([pooled, *(branch(high) for branch in self.aspp_modules)], 1))
        return self.sep_bottleneck(torch.cat([resized(pyramid, low.shape[-2:]), self.c1_bottleneck(low)], 1))


class Student(nn.Module):
    """Features (B, out, h, w), at least 0, of images normalised as ImageNet's: at stride 8 (v2) or 4 (v3+)."""

    def __init__(self, backbone: str, weights: str, network: Network, out: int) -> None:
        super().__init__()
        self.backbone = create_backbone(backbone, weights)
        channels = self.backbone.feature_info.channels()
        self.head = SumHead(channels, out) if network == "v2" else PyramidHead(channels, out)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone(pixels))
