"""Checkpoints: what a method learnt, as safetensors, with everything needed to build the method again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open

from zsbench.errors import UserError
from zsbench.result import ValidationInfo
from zsbench.upgrade import with_request
from zsbench.utils.documents import parsed
from zsbench.utils.files import write_atomically
from zsbench.utils.validation import explain

if TYPE_CHECKING:  # what a checkpoint says about itself is read without torch
    from torch import Tensor, nn

METADATA_KEY, DIGEST = "zsbench", "sha256"


class CheckpointInfo(BaseModel):
    """What a checkpoint says about itself.

    `names`: the name set by which the classes were put into prompts, or the bare name of a file; None for the default one.
    `clip`: None for a method without one, whose word vectors have the hash `words_sha256`, and `words_width` numbers each.
    `request`: what was asked for when it was trained, `command` the same as a command line, for people; None where it does
    not say. `validation`: what was found meanwhile. None of it is a path that is opened
    (`zsbench.utils.validation.from_file`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    zsbench_version: str
    method: str
    options: dict[str, Any]
    clip: str | None
    clip_sha256: str | None
    dataset: str
    classes: list[str]
    unseen: list[str]
    names: str | None = None
    names_sha256: str
    templates: str
    text_embeddings_sha256: str | None = None
    words_sha256: str | None = None
    words_width: int | None = None
    setting: str | None
    seed: int
    recipe: dict[str, Any]
    request: dict[str, Any] | None = None
    command: str | None = None
    validation: ValidationInfo | None = None


def trainable_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that training may have changed: learnable parameters and persistent buffers, by name."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def load_trainable_state_dict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`, strictly: raises `UserError` naming tensors left over, missing or of another shape."""
    own = trainable_state_dict(module)
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the method has {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:6]) + ("; ..." if len(problems) > 6 else "")
        raise UserError(
            f"{source} does not fit the method ({len(problems)} tensors): {shown}. "
            "Give the options that it was trained with."
        )
    for name, tensor in own.items():
        tensor.detach().copy_(state[name])


def save_checkpoint(path: Path, state: nn.Module | Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write the learnt state of a module, or that state itself, and `info`, atomically, with a digest of both."""
    from safetensors.torch import save_file

    learnt = state if isinstance(state, Mapping) else trainable_state_dict(state)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learnt.items()}
    said = info.model_dump(mode="json")
    # one entry: safetensors writes several in any order, and equal checkpoints are equal files
    metadata = {METADATA_KEY: json.dumps({**said, DIGEST: digest(said, tensors)})}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata), lasting=True)


def read_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """`(info, tensors)` of a file that `save_checkpoint` wrote; raises `UserError` for any other or damaged file.

    One that says no digest is taken as it is: it was written elsewhere, or by an earlier version.
    """
    with opened(path, "pt") as (file, said):
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        written = said.pop(DIGEST, None)
        if written not in (None, digest(said, tensors)):
            raise UserError(f"{path} is damaged: it does not hold what was written. Take a copy of it, or train again.")
        return as_info(said, path), tensors


def digest(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a checkpoint says about itself and of all its tensors, whose names, types, shapes and bytes count."""
    import torch

    total = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def read_info(path: Path) -> CheckpointInfo:
    """What a file that `save_checkpoint` wrote says about itself; raises `UserError` for any other file."""
    with opened(path, "numpy") as (_, said):
        said.pop(DIGEST, None)
        return as_info(said, path)


@contextmanager
def opened(path: Path, framework: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A checkpoint as safetensors opens it for a framework, and what it says about itself."""
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist.")
    try:
        with safe_open(path, framework=framework) as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            if metadata is None:
                raise UserError(f"{path} is a safetensors file, but no zsbench checkpoint.")
            yield file, read_said(metadata, path)
    except UserError:
        raise
    except Exception as error:  # damaged files meet errors of safetensors, torch, JSON and the system
        raise UserError(f"{path} is no zsbench checkpoint, or a damaged one: {error}") from error


def read_said(metadata: str, path: Path) -> dict[str, Any]:
    """What the metadata of a checkpoint says, unchecked; raises `UserError` where that is no JSON object."""
    said = parsed(metadata, json.loads, f"{path}: not a readable description of a checkpoint")
    if not isinstance(said, dict):
        raise UserError(f"{path}: not a description of a checkpoint: expected a JSON object.")
    return said


def as_info(said: dict[str, Any], path: Path) -> CheckpointInfo:
    """What a checkpoint says, checked; raises `UserError` naming the entry that is missing or wrong."""
    try:
        info = CheckpointInfo(**(said if "request" in said else with_request(said)))
        info.model_dump_json()  # no halves of characters, no endless nesting: what cannot be written was not written
    except ValidationError as error:
        raise UserError(f"{path}: not a description of a checkpoint: {explain(error)}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a description of a checkpoint: {error}.") from None
    return info
