"""DeepLab v2 and v3+ on timm's ResNets, as the systems before CLIP built them, and their backbone's weights from a file.

Two ResNets are called ResNet-101. Caffe's (He et al., 2016, as DeepLab v2 took it) strides in the first 1x1 convolution of a
stage, pools with `ceil_mode`, and was trained on BGR in 0..255 less a mean; torchvision's strides in the 3x3 convolution and
was trained on RGB over a deviation. Weights of one in the other load without a complaint and make nonsense, so a file is
told by its names, and refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]  # not in its __all__
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from zsbench.clip.vit import IMAGENET_MEAN, IMAGENET_STD
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError

Layout = Literal["caffe", "torchvision"]
Norm = Literal["frozen", "statistics", "batch"]
"""Batch norm of a backbone: constants; statistics that stay, but a scale and a shift that learn; or all of it learns."""

RANDOM, PRETRAINED = "random", "imagenet"
MINIATURE = "miniature"
"""ResNet-18 with a quarter of the channels, for images of about 100 pixels."""
RESNETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet50": ("resnet50", {}),
    "resnet101": ("resnet101", {}),
    MINIATURE: ("resnet18", {"channels": (16, 32, 64, 128)}),
}
"""Our names: the timm model, and how it is changed."""

STRIDES: dict[Layout, int] = {"caffe": 8, "torchvision": 16}
DILATIONS: dict[Layout, dict[str, Callable[[int], int]]] = {
    "caffe": {"layer3": lambda block: 2, "layer4": lambda block: 4},
    "torchvision": {"layer4": lambda block: 2 << block},
}
"""Dilation of the 3x3 convolutions of a stage's block (from 0): the same in every one (v2), or 2, 4, 8 (v3+: multi-grid)."""

CAFFE_MEAN = (122.675, 116.669, 104.008)
"""Mean of R, G and B in 0..255."""
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
"""Mean and deviation of R, G and B in 0..1."""


def caffe_pixels(images: Tensor) -> Tensor:
    """BGR in 0..255 less Caffe's mean, of RGB in 0..1 (B, 3, H, W)."""
    return (255 * images - images.new_tensor(CAFFE_MEAN)[:, None, None]).flip(1)


def imagenet_pixels(images: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..1, less ImageNet's mean, over its deviation."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in IMAGENET)
    return (images - mean) / deviation


class Backbone(nn.Module):
    """A ResNet at stride 8 (Caffe's) or 16 (torchvision's); `channels` are those of its four stages.

    `weights`: `random`, `imagenet` (torchvision's alone can be downloaded) or a file. Raises `UserError` where the file does
    not fit. `fed`: whose pixels it is given, where these are not those of its layout: then the file is of that kind.
    """

    def __init__(self, name: str, layout: Layout, norm: Norm, weights: str, fed: Layout | None = None) -> None:
        super().__init__()
        self.body: Any = _create(name, layout, weights == PRETRAINED)
        if weights not in (RANDOM, PRETRAINED):
            fill(self.body, Path(weights), fed or layout)
        if norm == "frozen":
            self.body = freeze_batch_norm_2d(self.body)
        self.norm = norm
        self.channels: list[int] = self.body.feature_info.channels()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Features after each of the four stages."""
        features: list[Tensor] = self.body(pixels)
        return features

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if self.norm == "statistics":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def _create(name: str, layout: Layout, pretrained: bool) -> nn.Module:
    if name not in RESNETS:
        raise UserError(f"backbone {name!r}: one of {', '.join(RESNETS)}.")
    base, changes = RESNETS[name]
    if pretrained and (layout == "caffe" or changes):
        raise UserError(
            f"no ImageNet weights of {'a Caffe-type ' * (layout == 'caffe')}{name} can be downloaded: give a local file, "
            f"-o backbone_weights=path, or -o backbone_weights={RANDOM}."
        )
    body = timm.create_model(
        f"{base}.tv_in1k" if pretrained else base,
        pretrained=pretrained,
        features_only=True,
        out_indices=(1, 2, 3, 4),
        output_stride=STRIDES[layout],
        zero_init_last=False,  # a frozen norm would keep a branch at zero for ever
        **changes,
    )
    for stage, dilation in DILATIONS[layout].items():
        for number, block in enumerate(body.get_submodule(stage).children()):
            _dilate(block, dilation(number))
    if layout == "caffe":
        body.get_submodule("maxpool").ceil_mode = True  # type: ignore[assignment]
        first = body.get_submodule("layer2.0")
        first.get_submodule("conv1").stride, first.get_submodule("conv2").stride = (2, 2), (1, 1)  # type: ignore[assignment]
    return body


def _dilate(block: nn.Module, dilation: int) -> None:
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)


CAFFE_PARTS = {"conv1": "reduce", "conv2": "conv3x3", "conv3": "increase", "downsample": "proj"}


def caffe_name(name: str) -> str:
    """What Caffe's converters call a tensor of our ResNet: `layer2.block1.reduce.conv.weight` of `layer1.0.conv1.weight`."""
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"layer1.conv1.{stem[1]}.{stem[2]}"
    if part := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name):
        stage, block, kind, number, leaf = part.groups()
        return f"layer{int(stage) + 1}.block{int(block) + 1}.{CAFFE_PARTS[f'conv{number}']}.{kind}.{leaf}"
    part = re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", name)
    assert part is not None, f"no tensor of a ResNet: {name}"
    stage, block, kind, leaf = part.groups()
    return f"layer{int(stage) + 1}.block{int(block) + 1}.proj.{('conv', 'bn')[int(kind)]}.{leaf}"


FIRST: dict[Layout, str] = {"caffe": "layer1.conv1.conv.weight", "torchvision": "layer1.0.conv1.weight"}
"""By one tensor of a ResNet its names are known, and what stands before them."""
REASON: dict[Layout, str] = {
    "caffe": "this backbone is Caffe's: stride in the first 1x1 convolution, BGR in 0..255. torchvision's weights were "
    "trained with the stride in the 3x3 convolution, on RGB over a deviation, and would compute nonsense in it. Give "
    "ResNet-101-model.caffemodel, converted, whose names are like layer2.block1.reduce.conv.weight",
    "torchvision": "this backbone is fed as torchvision's is, with RGB over a deviation. Caffe's weights "
    "(names like layer2.block1.reduce.conv.weight) would compute nonsense in it. Give the state dict of torchvision's or "
    "timm's ResNet",
}
BESIDES = ("fc.", "aspp.", "decoder.", "classifier.")
"""What a file may hold beside the ResNet: the classifier it was trained with, the heads of a DeepLab."""


def timm_name(name: str) -> str:
    """What timm calls a tensor of a ResNet with a deep stem, which mmsegmentation calls `stem.0.weight`."""
    return re.sub(r"^stem\.", "conv1.", re.sub(r"^stem\.7\.", "bn1.", name))


def fill(body: nn.Module, path: Path, layout: Layout) -> None:
    """Copy a file's ResNet into `body`, whose tensors have torchvision's names. Raises `UserError` where it does not fit."""
    tensors = read_tensors(path)
    found = file_layout(tensors)
    if found is not None and found != layout:
        raise UserError(f"{path} holds a {found}-type ResNet: {REASON[layout]}.")
    start = next((name for name in tensors if name.endswith(FIRST[layout])), "")
    prefix = start.removesuffix(FIRST[layout])
    inside = {
        timm_name(name.removeprefix(prefix)).replace(".shortcut.", ".proj."): tensor for name, tensor in tensors.items()
    }
    inside = {name: tensor for name, tensor in inside.items() if not name.startswith(BESIDES)}
    own = {caffe_name(name) if layout == "caffe" else name: (name, t) for name, t in body.state_dict().items()}
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing, unexpected = sorted(own.keys() - inside.keys() - counters), sorted(inside.keys() - own.keys())
    misshapen = sorted(name for name in own.keys() & inside.keys() if own[name][1].shape != inside[name].shape)
    if missing or unexpected or misshapen:
        raise UserError(
            f"{path} does not fit the backbone: missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape "
            f"{misshapen[:3]}. Expected every tensor of a {layout}-type ResNet of the same depth."
        )
    body.load_state_dict({own[name][0]: tensor for name, tensor in inside.items()}, strict=False)


def file_layout(names: Sequence[str] | dict[str, Tensor]) -> Layout | None:
    """Which of the two ResNets these names are of; None where of neither."""
    if any(".reduce.conv." in name for name in names):
        return "caffe"
    return "torchvision" if any(re.search(r"layer1\.0\.conv1\.weight$", name) for name in names) else None


class AtrousSum(nn.Module):
    """Head of DeepLab v2: the sum of four dilated 3x3 convolutions with bias, without norm or activation."""

    DILATIONS = (6, 12, 18, 24)

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        branches = [nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation) for dilation in self.DILATIONS]
        for branch in branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.constant_(branch.bias, 0)  # type: ignore[arg-type]  # it has one
        self.branches = nn.ModuleList(branches)

    def forward(self, features: Tensor) -> Tensor:
        total = self.branches[0](features)
        for branch in self.branches[1:]:
            total = total + branch(features)
        return total


class DeepLabV2(nn.Module):
    """A map of `out` channels at stride 8, from `pixels` as the backbone's weights take them: those of Caffe, or `fed`."""

    def __init__(self, name: str, norm: Norm, weights: str, out: int, fed: Layout = "caffe") -> None:
        super().__init__()
        self.backbone = Backbone(name, "caffe", norm, weights, fed)
        self.head = AtrousSum(self.backbone.channels[-1], out)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone(pixels)[-1])


class Decoder(nn.Module):
    """Of DeepLab v3+: the pyramid's output, upsampled, beside few channels of the first stage."""

    LOW = 48

    def __init__(self, low: int, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(low, self.LOW, 1, bias=False), nn.BatchNorm2d(self.LOW), nn.ReLU())
        self.last_conv = nn.Sequential(
            nn.Conv2d(width + self.LOW, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
        )

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        return self.last_conv(torch.cat([aligned(high, low.shape[-2:]), self.project(low)], 1))


class DeepLabV3Plus(nn.Module):
    """Features of `width` channels at stride 4, at least 0, from `pixels`.

    The pooled branch has one value of each channel for an image. The batch norm of a single image is not defined there: it
    goes by its running statistics (the release leaves such batches out).
    """

    def __init__(self, name: str, norm: Norm, weights: str, width: int = 256) -> None:
        super().__init__()
        self.backbone = Backbone(name, "torchvision", norm, weights)
        self.aspp = ASPP(self.backbone.channels[-1], [6, 12, 18], width)
        self.decoder = Decoder(self.backbone.channels[0], width)

    def forward(self, pixels: Tensor) -> Tensor:
        self.aspp.convs[-1].train(self.training and len(pixels) > 1)
        low, _, _, high = self.backbone(pixels)
        return self.decoder(self.aspp(high), low)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) bilinearly at `size`, as the harness resizes logits."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def aligned(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) bilinearly at `size`, corner pixels upon each other, as DeepLab v3+ resizes its maps."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


SCALES = (1.0, 0.5, 0.75)


def multiscale(network: Callable[[Tensor], Tensor], pixels: Tensor, scales: Sequence[float] = SCALES) -> list[Tensor]:
    """Outputs of `network` for the image at each scale (sides rounded down), and their maximum at the first one's size."""
    height, width = pixels.shape[-2:]
    maps = [
        network(pixels if scale == 1 else resized(pixels, (int(height * scale), int(width * scale))))
        for scale in scales
    ]
    return [*maps, maximum(maps)]


def maximum(maps: Sequence[Tensor]) -> Tensor:
    """Elementwise, of maps (B, C, h, w) at the first one's size."""
    return functools.reduce(torch.maximum, (resized(each, maps[0].shape[-2:]) for each in maps))
