"""Reference outputs, the rule of their weights, and the released names of our tensors (not those of the converter)."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.clip.model import load_clip
from zsbench.methods.two_stage.regions import ClipInput

ATTENTION = {"self_attn": "self_attn", "encoder_attn": "multihead_attn"}
NORMS = {"self_attn_layer_norm": 1, "encoder_attn_layer_norm": 2, "final_layer_norm": 3}
HEADS = {
    "head.projection.weight": "sem_seg_head.predictor.projection_layer.weight",
    "head.projection.bias": "sem_seg_head.predictor.projection_layer.bias",
    "head.background": "sem_seg_head.predictor.bg_feature",
    "head.layers.0.weight": "sem_seg_head.predictor.class_embed.layers.0.weight",
    "head.layers.0.bias": "sem_seg_head.predictor.class_embed.layers.0.bias",
    "head.layers.2.weight": "sem_seg_head.predictor.class_embed.layers.1.weight",
    "head.layers.2.bias": "sem_seg_head.predictor.class_embed.layers.1.bias",
    "head.no_object": "clip_adapter.non_object_embedding",
    "prompts.prefix": "region_clip_adapter.prompt_learner.prefix_prompt",
}


@pytest.fixture(scope="session")
def rule(goldens_of: Any) -> ModuleType:
    """`fill.py` of the goldens."""
    spec = importlib.util.spec_from_file_location("golden_fill", goldens_of("twostage") / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden(goldens_of: Any) -> Callable[[str], dict[str, Any]]:
    """The arrays of a reference file."""

    def load(name: str) -> dict[str, Any]:
        with np.load(goldens_of("twostage") / f"{name}.npz", allow_pickle=False) as stored:
            return dict(stored)

    return load


@pytest.fixture(scope="session")
def golden_clip(rule: ModuleType) -> Callable[[str], Any]:
    """A full ViT-B/16 CLIP with the weights of the reference, whose tensors were named with this prefix."""

    def build(prefix: str) -> Any:
        clip = load_clip("ViT-B-16-quickgelu", "random")
        with torch.no_grad():
            rule.fill_(clip.model.state_dict(), lambda key: prefix + key)
        return clip

    return build


@pytest.fixture(scope="session")
def released() -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A checkpoint as a release would store it, of zeros, for a method's learnt state."""
    return official_state


def official_state(own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A checkpoint as a release would store it, of zeros, for a method's learnt state."""
    names = list(own)
    plain = [name for name in names if not re.search(r"\.[qkv]_proj\.", name)]
    deep = "network.backbone.body.conv1.6.weight" in own
    state = {official_name(name, deep): torch.zeros_like(own[name]) for name in plain}
    for name in names:
        if match := re.fullmatch(r"network\.transformer\.decoder\.layers\.(\d)\.(\w+)\.q_proj\.(\w+)", name):
            layer, kind, leaf = match.groups()
            packed = f"sem_seg_head.predictor.transformer.decoder.layers.{layer}.{ATTENTION[kind]}.in_proj_{leaf}"
            state[packed] = torch.zeros(3 * own[name].shape[0], *own[name].shape[1:])
    return state


def official_name(name: str, deep: bool) -> str:
    if name in HEADS:
        return HEADS[name]
    predictor = "sem_seg_head.predictor."
    if name.startswith("network.backbone.body."):
        return _backbone(name.removeprefix("network.backbone.body."), deep)
    if match := re.fullmatch(r"network\.pixel_decoder\.fpn\.stem\.([01])\.(\w+)", name):
        return f"sem_seg_head.pixel_decoder.layer_4.{'norm.' if match[1] == '1' else ''}{match[2]}"
    if match := re.fullmatch(r"network\.pixel_decoder\.fpn\.layers\.(\d)\.(proj|block)\.([01])\.(\w+)", name):
        level, kind = 3 - int(match[1]), "adapter" if match[2] == "proj" else "layer"
        return f"sem_seg_head.pixel_decoder.{kind}_{level}.{'norm.' if match[3] == '1' else ''}{match[4]}"
    if match := re.fullmatch(r"network\.pixel_decoder\.mask_projection\.(\w+)", name):
        return f"sem_seg_head.pixel_decoder.mask_features.{match[1]}"
    if match := re.fullmatch(r"network\.mask_embedder\.(\d)\.0\.(\w+)", name):
        return f"{predictor}mask_embed.layers.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"network\.transformer\.decoder\.layers\.(\d)\.(.+)\.(\w+)", name):
        return f"{predictor}transformer.decoder.layers.{match[1]}.{_decoder(match[2])}.{match[3]}"
    short = {
        "network.transformer.queries_embedder.weight": "query_embed.weight",
        "network.transformer.input_projection.weight": "input_proj.weight",
        "network.transformer.input_projection.bias": "input_proj.bias",
        "network.transformer.decoder.layernorm.weight": "transformer.decoder.norm.weight",
        "network.transformer.decoder.layernorm.bias": "transformer.decoder.norm.bias",
    }
    return predictor + short[name]


def _decoder(inner: str) -> str:
    if inner in NORMS:
        return f"norm{NORMS[inner]}"
    if inner.startswith("mlp.fc"):
        return f"linear{inner[-1]}"
    kind, projection = inner.split(".")
    assert projection == "o_proj"
    return f"{ATTENTION[kind]}.out_proj"


def _backbone(inner: str, deep: bool) -> str:
    stems = {"conv1": "conv1", "bn1": "conv1.norm"}
    if deep:
        stems = {"conv1.0": "conv1", "conv1.1": "conv1.norm", "conv1.3": "conv2", "conv1.4": "conv2.norm"}
        stems |= {"conv1.6": "conv3", "bn1": "conv3.norm"}
    head, leaf = inner.rsplit(".", 1)
    if head in stems:
        return f"backbone.stem.{stems[head]}.{leaf}"
    layer, block, part = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", head).groups()  # type: ignore[union-attr]
    stage = f"backbone.res{int(layer) + 1}.{block}"
    if part.startswith("downsample"):
        return f"{stage}.shortcut.{'norm.' if part.endswith('1') else ''}{leaf}"
    return f"{stage}.conv{part[-1]}.{'norm.' if part.startswith('bn') else ''}{leaf}"


INPUT = ClipInput(
    224,
    torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1),
    torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1),
)


def assert_near(ours, reference, tolerance=1e-3):
    """Largest difference, relative to the largest value."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= tolerance * np.abs(reference).max()


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def image(rule):
    return torch.from_numpy(rule.det_image(480, 640, "480x640")) / 255


@pytest.fixture(scope="module")
def soft(rule):
    """Given masks (24, 480, 640): empty, one pixel, one row, one column, everything at stride 4, then shapes."""
    logits = torch.from_numpy(rule.det_masks(24, 120, 160, "480x640"))
    return F.interpolate(logits[None], (480, 640), mode="bilinear", align_corners=False)[0].sigmoid()
