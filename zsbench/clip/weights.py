"""Files of weights, in every layout that people have, fill a model of open_clip's: strictly, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zsbench.clip.transformers_layout import converted, is_transformers
from zsbench.errors import UserError
from zsbench.utils.torch_files import AVERAGED, PLAIN, checked_state, find_state, read_torch


@dataclass(frozen=True)
class Weights:
    """Where the parameters of a model come from.

    `source`: what the user named (a tag, a file, `random`). `sha256`: hash of the file, None for random
    weights. `missing`: parameters that the file did not set. `unexpected`: tensors of the file that the model
    has no use for.
    """

    source: str
    sha256: str | None
    random: bool = False
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def read_tensors(*files: Path) -> dict[str, Tensor]:
    """The tensors of `.safetensors` files, TorchScript archives, or state dicts saved by `torch.save`, of any age.

    A state dict may lie under one of `PLAIN` or `AVERAGED`, its names as wrappers write them. Tensors keep their dtype and
    are on the CPU. Raises `UserError` where a file is none of these or holds objects other than tensors, and where two
    files give the same tensor.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = _unwrapped(_read(file), file)
        if twice := found.keys() & tensors.keys():
            raise UserError(f"{file} and a file before it both hold {min(twice)}; are they parts of one model?")
        found |= tensors
    return found


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return read_torch(path)
    try:
        return load_file(path)
    except Exception as error:  # its own, or the system's
        raise UserError(
            f"{path} cannot be read as a .safetensors file; it may be damaged or half downloaded ({error})."
        ) from error


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds, under plain names."""
    state = find_state(content)
    if not state:
        raise UserError(
            f"{path} holds no state dict: expected tensors by name, plain or under {', '.join(PLAIN + AVERAGED)}; "
            "objects other than tensors are refused."
        )
    return checked_state(state, path)


def fill(model: Any, tensors: Mapping[str, Tensor], source: str, name: str) -> tuple[str, ...]:
    """Copy `tensors`, of the file `source`, into open_clip's `model`, called `name`; return the names it need not have.

    They may be named as transformers names them. Raises `UserError` naming the first few that are missing, unexpected or of
    another shape.
    """
    own = model.state_dict()
    tensors = _adapted(tensors, model)
    spare = sorted(key for key in tensors.keys() - own.keys() if _is_harmless(key))
    tensors = {key: tensor for key, tensor in tensors.items() if key not in spare}
    misshapen = {
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & tensors.keys()
        if own[key].shape != tensors[key].shape
    }
    problems = [
        _few("missing", own.keys() - tensors.keys()),
        _few("unexpected", tensors.keys() - own.keys()),
        _few("of another shape", misshapen),
    ]
    if any(problems):
        raise UserError(
            f"{source} does not fit {name}: {'; '.join(filter(None, problems))}. "
            f"Give the model that these weights were made for{_image_size_hint(own, tensors)}."
        )
    model.load_state_dict(tensors)
    return tuple(spare)


def parameters_sha256(module: nn.Module) -> str:
    """Hex digest of all parameters and persistent buffers, names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _adapted(tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Older and foreign layouts, transformers' and those that open_clip reads, brought to its present one."""
    if is_transformers(tensors):
        tensors = converted(tensors)
    found = dict(open_clip.convert.convert_state_dict(model, dict(tensors)))
    if not hasattr(model, "positional_embedding"):
        found = open_clip.model.convert_to_custom_text_state_dict(found)
    for key in ("logit_scale", "logit_bias"):  # some files have a scalar, others a vector of one
        own = getattr(model, key, None)
        if key in found and own is not None and found[key].numel() == 1:
            found[key] = found[key].reshape(own.shape)
    return found


def _is_harmless(key: str) -> bool:
    """Whether it is a constant of the architecture: OpenAI's metadata, a causal mask, position indices."""
    metadata = ("input_resolution", "context_length", "vocab_size")
    return key in metadata or key.rsplit(".", 1)[-1] in ("attn_mask", "position_ids")


def _few(what: str, keys: Set[str]) -> str:
    """`missing: a, b, c and 4 more`; empty where there are none."""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{what}: {', '.join(sorted(keys)[:3])}{more}" if keys else ""


def _image_size_hint(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    position, patches = (tensors.get(f"visual.{key}") for key in ("positional_embedding", "conv1.weight"))
    if position is None or patches is None or position.shape == own["visual.positional_embedding"].shape:
        return ""
    side = round((position.shape[0] - 1) ** 0.5) * patches.shape[-1]
    return f": they are for images of {side}x{side} px, and position embeddings are not resized"
