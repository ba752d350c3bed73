"""Files of torch become plain objects, and none of the code that such a file may carry is ever run.

`torch.load(weights_only=True)` reads them, and knows tensors and containers alone. Whatever else a file names (a NumPy
scalar in its notes, the arguments of a training run) comes as an empty `Placeholder`: its class is never looked up.

A TorchScript archive (the form of OpenAI's releases) is a program: `torch.jit.load` compiles it and runs its
`__setstate__` methods, and PyTorch has deprecated it. But it is also a zip file in which the parameters lie as
`torch.save` writes them. So its code is left out, and the rest is read as any other file, modules being placeholders.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.serialization import safe_globals

from zsbench.errors import UserError

DATA = re.compile(r"[^/]*/(data\.pkl|version|byteorder|data/.*)")
"""The entries of a TorchScript archive that are no code."""
PREFIXES = ("module.", "_orig_mod.", "model.", "clip.")
"""Before all names of a state dict: of wrappers for several devices, for compilation, for training."""
PLAIN = ("state_dict", "model_state_dict", "model", "module")
AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
"""Under which a state dict may lie: the weights themselves, or where there are none, their running average."""
BESIDE = ("n_averaged",)
"""What wrappers add to the tensors of a model."""
WRAPPERS = 4
"""Within so many a state dict is looked for; a file may hold one that lies in itself."""
STREAMS = 4
"""Pickles in a file of the format before 2020: magic number, version, system, content."""


class Placeholder:
    """Stands for an object of a class that is not a tensor's or a container's; keeps its attributes, if it has some."""

    def __new__(cls, *_: Any, **__: Any) -> Placeholder:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


def read_torch(path: Path) -> Any:
    """The content of a file of `torch.save`, of either format, or the tensors by name of a TorchScript archive.

    Tensors are on the CPU, and where the format allows it lie in the file until they are used. Raises `UserError` for any
    other file, for a damaged one, and for one that would unpack to more than its own size (torch never compresses).
    """
    try:
        if is_torchscript(path):
            return _collect(_load(_without_code(path)))
        if archive := zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as entries:
                _check_size(path, entries.infolist())
        return _load(path, mmap=archive)
    except Exception as error:  # torch, pickle, zipfile have their own for damaged files
        reason = str(error).partition(". ")[0]
        raise UserError(
            f"{path} cannot be read as a torch file: expected what torch.save or TorchScript writes. It may be damaged, "
            f"half downloaded, or hold objects other than tensors ({type(error).__name__}: {reason})."
        ) from error


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without what wrappers put before all names."""
    found = dict(state)
    while prefix := next((each for each in PREFIXES if found and all(name.startswith(each) for name in found)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def find_state(content: Any) -> Mapping[str, Any]:
    """What has the form of a state dict in the content of a file, wrapped or bare, its names as they are; else nothing."""
    for _ in range(WRAPPERS):
        if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
            return {}
        inside = next((key for key in (*PLAIN, *AVERAGED) if key in content), None)
        if inside is None or isinstance(content[inside], Tensor):
            return {name: value for name, value in content.items() if name not in BESIDE}
        content = content[inside]
    return {}


def checked_state(state: Mapping[str, Any], source: Path | str) -> dict[str, Tensor]:
    """A state dict under plain names. Raises `UserError` for what is no tensor, or claims more numbers than it holds."""
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{source}: {name!r} is no tensor; objects other than tensors are refused in a state dict.")
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(f"{source}: {name} claims {tuple(tensor.shape)} and holds fewer numbers.")
    return plain_names(state)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive (told, as PyTorch does, by its table of constants)."""
    with suppress(OSError, ValueError, zipfile.BadZipFile, NotImplementedError):  # a damaged directory
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())
    return False


def _check_size(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size:
        raise ValueError(f"{path.stat().st_size} bytes would unpack to {unpacked}")


def _load(file: Path | io.BytesIO, mmap: bool = False) -> Any:
    names = _names(file)
    if isinstance(file, io.BytesIO):
        file.seek(0)
    with safe_globals([(_untagged if name.startswith("torch.jit._pickle.") else Placeholder, name) for name in names]):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)


def _names(file: Path | io.BytesIO) -> set[str]:
    """All classes and functions that a file names; those that torch knows as harmless stay themselves."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entry = next(name for name in archive.namelist() if name.split("/", 1)[-1] == "data.pkl")
            return _named(io.BytesIO(archive.read(entry)), 1)
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _named(stream, STREAMS)
    return set()


def _named(stream: BinaryIO | io.BytesIO, pickles: int) -> set[str]:
    codes = (code for _ in range(pickles) for code in pickletools.genops(stream))
    names = {str(argument).replace(" ", ".") for code, argument, _ in codes if code.name == "GLOBAL"}
    return {re.sub(r"^__builtin__\.", "builtins.", name) for name in names}  # as torch calls them


def _untagged(value: Any, *_: Any) -> Any:
    """Stands for the functions that give TorchScript's lists their element type."""
    return value


def _without_code(path: Path) -> io.BytesIO:
    """A copy in memory that has the archive's data alone, which makes it a file of `torch.save`."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as kept:
        entries = [entry for entry in archive.infolist() if DATA.fullmatch(entry.filename)]
        _check_size(path, entries)
        for entry in entries:
            kept.writestr(entry.filename, archive.read(entry))
    return copy


def _collect(module: Placeholder, prefix: str = "") -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, Placeholder):
            tensors |= _collect(value, f"{prefix}{name}.")
    return tensors
