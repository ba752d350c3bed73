"""Files of weights become named tensors, and none of the code that such a file may carry is ever run.

A TorchScript archive (the form of OpenAI's releases) is a program: `torch.jit.load` compiles it and runs its
`__setstate__` methods, and PyTorch has deprecated it. But it is also a zip file in which the parameters lie
as `torch.save` writes them. So its code is left out, and the rest is read by `torch.load(weights_only=True)`,
with an empty class in the place of every module.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from zsbench.errors import UserError


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, a TorchScript archive, or a state dict saved by `torch.save`.

    A state dict may lie under the key `state_dict`, and a `module.` before all names is dropped. Tensors keep
    their dtype and are on the CPU. Raises `UserError` where the file is none of these or holds objects other
    than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = _read_torchscript(path) if is_torchscript(path) else _torch_load(path)
    except Exception as error:  # each format has its own exceptions for damaged files
        raise UserError(
            f"{path} cannot be read as weights: expected a .safetensors file, a state dict saved by "
            "torch.save, or a TorchScript archive. It may be damaged, half downloaded, or hold objects other "
            f"than tensors, which are refused ({type(error).__name__}: {str(error).partition('. ')[0]})."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} holds no state dict: expected tensors by name, plain or under 'state_dict'.")
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def fill(model: Any, path: Path, name: str) -> tuple[str, ...]:
    """Copy a file's tensors into open_clip's `model`, called `name`; return the names it need not have.

    Raises `UserError` naming the first few tensors that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    tensors = _adapted(read_tensors(path), model)
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
            f"{path} does not fit {name}: {'; '.join(filter(None, problems))}. "
            f"Give the model that these weights were made for{_image_size_hint(own, tensors)}."
        )
    model.load_state_dict(tensors)
    return tuple(spare)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive (told, as PyTorch does, by its table of constants)."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def parameters_sha256(module: nn.Module) -> str:
    """Hex digest of all parameters and persistent buffers, names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Module:
    """Stands for any module of a TorchScript archive; takes its attributes."""


def _untagged(value: Any, *_: Any) -> Any:
    """Stands for the functions that give TorchScript's lists their element type."""
    return value


def _torch_load(file: Path | io.BytesIO) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    data = _without_code(path)
    names = get_unsafe_globals_in_checkpoint(data)
    data.seek(0)
    modules = [(_Module, name) for name in names if name.startswith("__torch__.")]
    lists = [(_untagged, name) for name in names if name.startswith("torch.jit._pickle.")]
    with safe_globals([*modules, *lists]):
        return _collect(_torch_load(data))


def _without_code(path: Path) -> io.BytesIO:
    """A copy in memory that has the archive's data alone, which makes it a file of `torch.save`."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as kept:
        for name in archive.namelist():
            inner = name.split("/", 1)[-1]
            if inner in ("data.pkl", "version", "byteorder") or inner.startswith("data/"):
                kept.writestr(name, archive.read(name))
    copy.seek(0)
    return copy


def _collect(module: _Module, prefix: str = "") -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, _Module):
            tensors |= _collect(value, f"{prefix}{name}.")
    return tensors


def _adapted(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Older and foreign layouts that open_clip reads, brought to the present one."""
    tensors = dict(open_clip.convert.convert_state_dict(model, tensors))
    if not hasattr(model, "positional_embedding"):
        tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    for key in ("logit_scale", "logit_bias"):  # some files have a scalar, others a vector of one
        own = getattr(model, key, None)
        if key in tensors and own is not None and tensors[key].numel() == 1:
            tensors[key] = tensors[key].reshape(own.shape)
    return tensors


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
