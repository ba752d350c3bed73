"""Checkpoints of the released ZegFormer and zsseg (detectron2 naming) under the names of this implementation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.errors import UserError
from zsbench.utils.torch_files import checked_state, find_state, plain_names, read_torch

from .heads import INVERSE_TEMPERATURE
from .maskformer import IMAGENET_MEAN, IMAGENET_STD

NOT_LEARNT = re.compile(
    r"criterion\.empty_weight|.*\.num_batches_tracked|.*\.logit_scale|(clip_)?pixel_(mean|std)"
    r"|(sem_seg_head\.predictor|(region_)?clip_adapter)\.clip_model\..*"
    r"|(region_)?clip_adapter\.(prompt_learner\.(start|dot|end|pad)_signal|pixel_mean|pixel_std)"
    r"|region_clip_adapter\.non_object_embedding"
)
"""Entries without a place here: loss weights, the fixed temperature, pixel statistics, CLIP itself, embeddings of fixed
tokens, and zsseg's second "no object" vector, which its region branch computes and drops."""

Place = str | Callable[[re.Match[str]], str]
NORMS = {"1": "self_attn_layer_norm", "2": "encoder_attn_layer_norm", "3": "final_layer_norm"}
ATTENTIONS = {"self_attn": "self_attn", "multihead_attn": "encoder_attn"}
DECODER = "network.transformer.decoder"
IN_DECODER = r"sem_seg_head\.predictor\.transformer\.decoder"
PIXELS = r"sem_seg_head\.(?:pixel_decoder\.)?"  # the first MaskFormer releases lack the inner prefix


def _residual(match: re.Match[str]) -> str:
    stage, block, conv, norm, leaf = match.groups()
    kind = "bn" if norm else "conv"
    return f"network.backbone.body.layer{int(stage) - 1}.{block}.{kind}{conv}.{leaf}"


def _shortcut(match: re.Match[str]) -> str:
    stage, block, norm, leaf = match.groups()
    return f"network.backbone.body.layer{int(stage) - 1}.{block}.downsample.{1 if norm else 0}.{leaf}"


def _pyramid(match: re.Match[str]) -> str:
    kind, level, norm, leaf = match.groups()
    part = 1 if norm else 0
    if level == "4":
        return f"network.pixel_decoder.fpn.stem.{part}.{leaf}"
    return f"network.pixel_decoder.fpn.layers.{3 - int(level)}.{'block' if kind == 'layer' else 'proj'}.{part}.{leaf}"


RULES: tuple[tuple[str, Place], ...] = (
    (r"backbone\.res(\d)\.(\d+)\.conv(\d)\.(norm\.)?(\w+)", _residual),
    (r"backbone\.res(\d)\.(\d+)\.shortcut\.(norm\.)?(\w+)", _shortcut),
    (PIXELS + r"(layer|adapter)_(\d)\.(norm\.)?(\w+)", _pyramid),
    (PIXELS + r"mask_features\.(\w+)", r"network.pixel_decoder.mask_projection.\1"),
    (r"sem_seg_head\.predictor\.input_proj\.(\w+)", r"network.transformer.input_projection.\1"),
    (r"sem_seg_head\.predictor\.query_embed\.weight", "network.transformer.queries_embedder.weight"),
    (r"sem_seg_head\.predictor\.mask_embed\.layers\.(\d)\.(\w+)", r"network.mask_embedder.\1.0.\2"),
    (
        IN_DECODER + r"\.layers\.(\d+)\.(self_attn|multihead_attn)\.out_proj\.(\w+)",
        lambda m: f"{DECODER}.layers.{m[1]}.{ATTENTIONS[m[2]]}.o_proj.{m[3]}",
    ),
    (IN_DECODER + r"\.layers\.(\d+)\.linear([12])\.(\w+)", DECODER + r".layers.\1.mlp.fc\2.\3"),
    (
        IN_DECODER + r"\.layers\.(\d+)\.norm([123])\.(\w+)",
        lambda m: f"{DECODER}.layers.{m[1]}.{NORMS[m[2]]}.{m[3]}",
    ),
    (IN_DECODER + r"\.norm\.(\w+)", DECODER + r".layernorm.\1"),
    (r"sem_seg_head\.predictor\.projection_layer\.(\w+)", r"head.projection.\1"),
    (r"sem_seg_head\.predictor\.bg_feature", "head.background"),
    (
        r"sem_seg_head\.predictor\.class_embed\.layers\.([01])\.(\w+)",
        lambda m: f"head.layers.{2 * int(m[1])}.{m[2]}",
    ),
    (r"clip_adapter\.non_object_embedding", "head.no_object"),
    (r"(?:region_)?clip_adapter\.prompt_learner\.prefix_prompt", "prompts.prefix"),
)
STEMS = {
    False: {"conv1.": "conv1.", "conv1.norm.": "bn1."},
    True: {
        "conv1.": "conv1.0.",
        "conv1.norm.": "conv1.1.",
        "conv2.": "conv1.3.",
        "conv2.norm.": "conv1.4.",
        "conv3.": "conv1.6.",
        "conv3.norm.": "bn1.",
    },
}
"""The basic stem, and DeepLab's of three convolutions."""


def read_released(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a released checkpoint, or None where the file holds something else; raises as `read_torch`."""
    state = find_state(read_torch(path))
    return checked_state(state, path) if is_detectron2(plain_names(state)) else None


def is_detectron2(state: Mapping[str, Any]) -> bool:
    """Whether the keys are those of a MaskFormer under detectron2."""
    return any(key.startswith("sem_seg_head.") for key in state)


def released_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options that follow from the tensors of a released checkpoint; all others are at their defaults."""
    depth = len({key.split(".")[2] for key in state if key.startswith("backbone.res4.")})
    backbone = {6: "resnet50", 23: "resnet101"}.get(depth, f"a ResNet with {depth} blocks in its fourth stage")
    deep = "backbone.stem.conv2.weight" in state
    options: dict[str, Any] = {"backbone": backbone + ("c" if deep else ""), "backbone_weights": "random"}
    prefixes = [tensor for key, tensor in state.items() if key.endswith("prompt_learner.prefix_prompt")]
    if prefixes:
        options |= {"region_templates": "learned", "prompt_length": prefixes[0].shape[0] if prefixes[0].ndim else 0}
    if "clip_adapter.prompt_learner.prefix_prompt" in state and not any(
        k.startswith("region_clip_adapter.") for k in state
    ):
        options["query_templates"] = "learned"
    return options


def convert(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """`state` under the names of `own`, a method's learnt state, whose shapes decide what fits.

    Raises `UserError` naming every key that has no place here, every tensor that no key fills, every shape that differs, and
    where the file's pixel statistics or temperature are not those in use.
    """
    check_constants(state, source)
    deep_stem = "backbone.stem.conv2.weight" in state
    converted: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for key in sorted(state):  # a `region_clip_adapter` comes after, and wins over, the `clip_adapter` it specialises
        if NOT_LEARNT.fullmatch(key):
            continue
        places = list(rename(key, state[key], deep_stem))
        if not places or any(name not in own for name, _ in places):
            unexpected.append(key)
        converted.update(places)
    problems = {
        "unexpected": unexpected,
        "missing": sorted(own.keys() - converted.keys()),
        "of another shape": [
            f"{name} {tuple(converted[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in converted and converted[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise UserError(f"{source} does not fit. It may be of another method, backbone or number of queries. {listed}")
    return converted


def rename(key: str, tensor: Tensor, deep_stem: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Where a released tensor goes: nowhere, to one place, or (packed query, key and value projections) to three."""
    if match := re.fullmatch(r"backbone\.stem\.(conv\d\.(?:norm\.)?)(\w+)", key):
        place = STEMS[deep_stem].get(match[1])
        if place:
            yield f"network.backbone.body.{place}{match[2]}", tensor
        return
    if match := re.fullmatch(IN_DECODER + r"\.layers\.(\d+)\.(self_attn|multihead_attn)\.in_proj_(weight|bias)", key):
        for letter, part in zip("qkv", tensor.chunk(3) if tensor.ndim else [tensor], strict=False):
            yield f"{DECODER}.layers.{match[1]}.{ATTENTIONS[match[2]]}.{letter}_proj.{match[3]}", part
        return
    for pattern, rule in RULES:
        if match := re.fullmatch(pattern, key):
            yield (match.expand(rule) if isinstance(rule, str) else rule(match)), tensor
            return


def check_classes(state: Mapping[str, Tensor], seen: int, classes: int, source: str) -> None:
    """Raise `UserError` where a checkpoint was not trained on `seen` of `classes` classes, nor on all of them.

    The releases keep no text embeddings and no names; the number of classes is that of their loss weights, less one.
    """
    weights = state.get("criterion.empty_weight")
    if weights is not None and weights.numel() - 1 not in (seen, classes):
        raise UserError(
            f"{source} was trained on {weights.numel() - 1} classes; this vocabulary has {classes}, {seen} of them seen. "
            "Give the --dataset that it was trained on (PASCAL VOC: 15 or 20 classes, COCO-Stuff: 156 or 171)."
        )


def check_constants(state: Mapping[str, Tensor], source: str) -> None:
    """Raise `UserError` where stored pixel statistics or the temperature are not those that the first stage uses."""
    for key, expected in (("pixel_mean", IMAGENET_MEAN), ("pixel_std", IMAGENET_STD)):
        if key in state and not close(state[key], torch.tensor(expected), 0.1):
            raise UserError(
                f"{source}: {key} is {state[key].flatten().tolist()}, but proposals are made from images normalised by "
                f"{expected}. (CLIP's own statistics belong to the second stage.)"
            )
    scale = state.get("sem_seg_head.predictor.logit_scale")
    if scale is not None and not close(scale.float().exp(), torch.tensor([INVERSE_TEMPERATURE]), 0.1):
        raise UserError(
            f"{source}: logit_scale is {scale.flatten().tolist()}; the released systems fix it at log(100)."
        )


def close(stored: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether a stored constant, of whatever shape, has the expected numbers (n)."""
    numbers = stored.flatten().float()
    return numbers.shape == expected.shape and torch.allclose(numbers, expected.float(), rtol=0, atol=tolerance)


def check_clip(state: Mapping[str, Tensor], clip: Clip, source: str) -> None:
    """Raise `UserError` where the file holds tensors (to half precision) or pixel statistics of another CLIP than `clip`."""
    own = clip.model.state_dict()
    for key, tensor in state.items():
        if match := re.fullmatch(r"(?:clip_|(?:region_)?clip_adapter\.)pixel_(mean|std)", key):
            used = torch.tensor(clip.mean if match[1] == "mean" else clip.std)
            # kept in 0..255 or in 0..1
            stored = tensor / (255 if (tensor > 1).any() else 1)
            if not close(stored, used, 1e-3):
                raise UserError(
                    f"{source}: {key} is {tensor.flatten().tolist()}, but the given CLIP's images are normalised by "
                    f"{[255 * value for value in used.tolist()]}. (ImageNet's statistics belong to the first stage.)"
                )
        twin = own.get(key.split(".clip_model.", 1)[-1]) if ".clip_model." in key else None
        if twin is None:
            continue
        if twin.shape != tensor.shape or not torch.allclose(tensor.float(), twin.float().cpu(), rtol=2e-3, atol=1e-4):
            raise UserError(
                f"{source} was made with another CLIP than the given one: {key} differs. Give its --weights."
            )
