"""Checkpoints of the released ZegCLIP (mmsegmentation's naming) under the names of this implementation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.utils.torch_files import checked_state, find_state, plain_names, read_torch

LAYERS = "decode_head.decoder_1.layers"
EMPTY_WEIGHT = "decode_head.loss_decode.criterion.empty_weight"
PROMPTS = ("backbone.prompt_embeddings", "backbone.deep_prompt_embeddings")
TEXT = "text_encoder."
NO_TEXT = re.compile(r"visual\.|logit_|attn_mask")
"""What an open_clip model has beside its text encoder."""
PREFIXES = {
    "encoder.blocks.": "backbone.transformer.resblocks.",
    "encoder.prompts.projection.": "backbone.prompt_proj.",
    "encoder.prompts.norm.": "backbone.prompt_norm.",
    "encoder.": "backbone.",
    "descriptor.projection.": "decode_head.q_proj.",
    "decoder.layers.": f"{LAYERS}.",
}
"""Our names and the released ones; the first that fits."""

SETTINGS = {15: "inductive", 156: "inductive", 20: "transductive", 171: "supervised"}
"""The setting by the number of classes trained on, where the file has no configuration (20 may also be supervised, and 156
be self-trained, which has no calibration: `-o calibration=0`)."""


DATASETS = {15: "pascal-voc", 20: "pascal-voc", 156: "coco-stuff", 171: "coco-stuff"}
"""What the released checkpoints were trained on, by the number of classes trained on."""


@dataclass(frozen=True, eq=False)
class ReleasedFile:
    """A released checkpoint as read.

    `classes`: how many classes it was trained on, `setting`: how, `names`: all classes of that data; None where the file
    does not tell.
    """

    source: str
    state: Mapping[str, Tensor]
    classes: int | None
    setting: str | None
    names: tuple[str, ...] | None = None

    @property
    def dataset(self) -> str | None:
        """The dataset that it was trained on, if the number of classes tells."""
        return DATASETS.get(self.classes or 0)

    @property
    def options(self) -> dict[str, Any]:
        """The options of `ZegClipOptions` that follow from its tensors; all others are at their defaults."""
        layers = {key.split(".")[3] for key in self.state if key.startswith(f"{LAYERS}.")}
        return {"prompts": self.state[PROMPTS[0]].shape[1], "layers": len(layers)}

    def check(self, seen: int, classes: int) -> None:
        """Raise `UserError` where it was not trained on `seen` of `classes` classes, nor on all of them."""
        if self.classes not in (None, seen, classes):
            raise UserError(
                f"{self.source} was trained on {self.classes} classes; this dataset has {classes}, {seen} of them seen. "
                "Give the --dataset that it was trained on (PASCAL VOC: 15 or 20 classes, COCO-Stuff: 156 or 171), "
                "or --transfer to evaluate it with another vocabulary on purpose."
            )

    def fill(self, method: Method) -> None:
        """Put it into a `ZegClip`; raises `UserError` for whatever does not belong together."""
        check_text_encoder(self, method.clip.model.state_dict())
        load_trainable_state_dict(method, convert(self, method), self.source)


def is_released(state: Mapping[str, Any]) -> bool:
    """Whether the keys are those of the released ZegCLIP."""
    return f"{LAYERS}.0.multihead_attn.q.weight" in state and "decode_head.q_proj.weight" in state


def read_released(path: Path) -> ReleasedFile | None:
    """The released checkpoint in a file, or None where it holds something else.

    Only tensors and plain containers are read. Raises `UserError` for a file that is none of torch's or that needs more.
    """
    content = read_torch(path)
    if not is_released(plain_names(find_state(content))):
        return None
    state = checked_state(find_state(content), path)
    check_options(state, path)
    weights = state.get(EMPTY_WEIGHT)
    classes = None if weights is None or not weights.ndim else len(weights) - 1
    meta = content.get("meta")
    config = meta.get("config") if isinstance(meta, dict) else None
    setting = trained_setting(config) if isinstance(config, str) else None
    names = meta.get("CLASSES") if isinstance(meta, dict) else None
    names = tuple(map(str, names)) if isinstance(names, (list, tuple)) else None
    return ReleasedFile(str(path), state, classes, setting or SETTINGS.get(classes or 0), names)


def check_options(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise `UserError` where the tensors are not there, or not of the form, that options follow from."""
    prompts = state.get(PROMPTS[0])
    if prompts is None or prompts.ndim != 3:
        raise UserError(f"{path}: {PROMPTS[0]}: expected a tensor of shape (1, prompts, width) in a released ZegCLIP.")


def trained_setting(config: str) -> str | None:
    """The setting of a configuration file's text: `self_training=True`, or no unseen classes, or neither."""
    if re.search(r"self_training\s*=\s*True", config):
        return "transductive"
    unseen = re.search(r"novel_class\s*=\s*\[([^]]*)\]", config)
    return None if unseen is None else "inductive" if unseen[1].strip() else "supervised"


def convert(released: ReleasedFile, method: nn.Module) -> dict[str, Tensor]:
    """The learnt state of `method` (a `ZegClip`) from a released checkpoint.

    Raises `UserError` naming every key that has no place here, every tensor that no key fills, every shape that differs, and
    where the CLIP inside the checkpoint is not that of `method`.
    """
    own, learnt = method.state_dict(), trainable_state_dict(method)
    taken, converted = {EMPTY_WEIGHT}, {}
    problems = []
    for name, tensor in own.items():
        if name == "knows_unseen":
            converted[name] = torch.tensor(released.setting in ("transductive", "supervised"))
            continue
        keys = released_names(name)
        taken.update(keys)
        missing = [key for key in keys if key not in released.state]
        if missing:
            problems.append(f"missing: {', '.join(missing)}")
            continue
        value = torch.cat([released.state[key] for key in keys]) if len(keys) > 1 else released.state[keys[0]]
        if value.shape != tensor.shape:
            problems.append(f"{' and '.join(keys)} {tuple(value.shape)}, this method has {tuple(tensor.shape)}")
        elif name in learnt:
            converted[name] = value
        elif not same(value, tensor):
            problems.append(f"{keys[0]} is of another CLIP than the given one")
    problems += [f"unexpected: {key}" for key in released.state if key not in taken and not is_unused(key, own)]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise UserError(
            f"{released.source} does not fit. {shown}. Give the CLIP (ViT-B-16-quickgelu, openai) and the options, such as "
            f"prompts={released.options['prompts']}, that it was trained with."
        )
    return converted


def released_names(name: str) -> tuple[str, ...]:
    """The released key or keys (to be concatenated) of one of our names."""
    if name == "encoder.prompts.embeddings":
        return PROMPTS
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    key = PREFIXES[prefix] + name.removeprefix(prefix)
    return (key.replace(".attention.", ".multihead_attn."),)


def is_unused(key: str, own: Mapping[str, Tensor]) -> bool:
    """Whether a released tensor is known and needs no place: the text encoder, and what no output depends on."""
    last = sum(name.endswith(".attention.q.weight") for name in own) - 1
    idle = rf"\d+\.(self_attn|norm1)\..+|{last}\.(linear[12]|norm[23]|multihead_attn\.(v|proj))\..+"
    return key.startswith(TEXT) or re.fullmatch(rf"{re.escape(LAYERS)}\.({idle})", key) is not None


def check_text_encoder(released: ReleasedFile, clip_state: Mapping[str, Tensor]) -> None:
    """Raise `UserError` where the text encoder in the checkpoint is not that of `clip_state`, which embeds the classes."""
    own = {f"{TEXT}{name}": tensor for name, tensor in clip_state.items() if not NO_TEXT.match(name)}
    stored = {key: tensor for key, tensor in released.state.items() if key.startswith(TEXT)}
    for key in sorted(own.keys() | stored.keys()):
        if key not in own or key not in stored or not same(stored[key], own[key]):
            raise UserError(
                f"{released.source} was not trained with the text encoder of the given CLIP: {key} differs. "
                "Give --clip ViT-B-16-quickgelu --weights openai."
            )


def same(stored: Tensor, own: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of half precision or of a resized position embedding."""
    return stored.shape == own.shape and torch.allclose(stored.float(), own.float().cpu(), rtol=2e-3, atol=1e-4)
