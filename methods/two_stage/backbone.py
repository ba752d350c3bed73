"""ResNets of timm as detectron2 runs them: stride in the 3x3 convolution, batch norm frozen, four stages out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]  # not in its __all__
from torch import Tensor, nn

from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError

from .options import Norm
from .presets import PRETRAINED, RANDOM, SHIPPED

DEEPLAB = "resnet101c"
"""ResNet-101 with detectron2's DeepLab stem (three 3x3 convolutions of 64, 64 and 128 channels) and dilations 1, 2, 4 in the
3x3 convolutions of its last stage, whose stride stays 32."""
MINIATURE = "resnet18-miniature"
"""ResNet-18 with half the channels, whose last stage is dilated and keeps stride 16, for images of about 100 pixels."""
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    DEEPLAB: ("resnet101c", {"stem_width": 64}),
    MINIATURE: ("resnet18", {"channels": (32, 64, 128, 256), "output_stride": 16}),
}
"""Our own names: the timm model that is changed, and how."""
SHIPPED_FILE = Path(__file__).with_name("resnet18-miniature.safetensors")
"""Made by `python -m zsbench.methods.two_stage.pretrain`."""
TORCHVISION_TAG = "tv_in1k"


class Backbone(nn.Module):
    """A timm ResNet; `channels`: of the four feature maps, strides 4, 8, 16 and 32 (miniature: 16 again)."""

    def __init__(self, name: str, norm: Norm, weights: str) -> None:
        super().__init__()
        self.body: Any = _create(name, weights == PRETRAINED)
        if name == DEEPLAB:
            _dilate_last_stage(self.body)
        if weights not in (RANDOM, PRETRAINED):
            _fill(self.body, SHIPPED_FILE if weights == SHIPPED else Path(weights), name)
        if norm == "frozen":
            self.body = freeze_batch_norm_2d(self.body)
        self.channels: list[int] = self.body.feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.body(images)
        return features


def _create(name: str, pretrained: bool) -> nn.Module:
    base, changes = CHANGES.get(name, (name, {}))
    if pretrained and changes:
        raise UserError(
            f"there are no ImageNet weights for {name}: give a local file, -o backbone_weights=path, "
            f"or -o backbone_weights={RANDOM}."
        )
    ported = f"{base}.{TORCHVISION_TAG}"
    full_name = ported if pretrained and timm.is_model(ported) else base
    try:
        return timm.create_model(
            full_name, pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4), **changes
        )
    except Exception as error:  # what a download raises depends on the hub's client
        if not pretrained:
            raise UserError(f"timm cannot build a ResNet {name!r} with four feature maps: {error}") from error
        raise UserError(
            f"the ImageNet weights of {full_name} could not be downloaded ({type(error).__name__}). Without a network give "
            f"a file of a timm or torchvision ResNet, -o backbone_weights=path; or -o backbone_weights={RANDOM} where a "
            "checkpoint replaces them, or numbers do not matter."
        ) from error


def _dilate_last_stage(body: nn.Module) -> None:
    for block, dilation in zip(body.get_submodule("layer4").children(), (1, 2, 4), strict=True):
        conv = block.get_submodule("conv2")
        conv.dilation = conv.padding = (dilation, dilation)  # type: ignore[assignment]


def _fill(body: nn.Module, path: Path, name: str) -> None:
    """Copy a timm or torchvision state dict, whose classifier is left out. Raises `UserError` where it does not fit."""
    tensors = {key: tensor for key, tensor in read_tensors(path).items() if not key.startswith("fc.")}
    own = body.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - counters)
    unexpected = sorted(tensors.keys() - own.keys())
    misshapen = sorted(key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape)
    if missing or unexpected or misshapen:
        raise UserError(
            f"{path} does not fit the backbone {name}: missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape "
            f"{misshapen[:3]}. Expected the state dict of timm's or torchvision's {name}."
        )
    body.load_state_dict(tensors, strict=False)
