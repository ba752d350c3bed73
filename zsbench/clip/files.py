"""Which files make up the weights of a model: one, several shards with an index, or what a folder of the Hub holds."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zsbench.errors import UserError, did_you_mean
from zsbench.utils.documents import read_json
from zsbench.utils.files import sha256

OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
INDEX = ".index.json"
IN_FOLDERS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
"""The names under which folders of the Hub hold weights, the first that is there."""
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")


def says_its_model(clip: str) -> bool:
    """Whether `--clip` names what has weights and says which model they are for, so that --weights may be left out."""
    path = Path(clip)
    if path.suffix == ".json" and path.is_file() and not path.name.endswith(INDEX):
        content = read_object(path)
        return ("model_cfg" in content or "model_type" in content) and bool(in_folder(path.parent))
    return path.is_dir() or path.is_file()


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files behind a file, an index of shards, one of these shards, or a folder.

    Raises `UserError` where there are none or some are absent.
    """
    if path.is_dir():
        found = in_folder(path)
        if found is None:
            raise UserError(f"{path} holds no weights: expected one of {', '.join(IN_FOLDERS)}.")
        path = found
    if (shard := SHARD.fullmatch(path.name)) and (index := path.with_name(f"{shard[1]}{shard[2]}{INDEX}")).is_file():
        path = index
    if not path.name.endswith(INDEX):
        return (path,)
    names = read_object(path).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"{path} is no index of weights: expected a 'weight_map' of tensors and their files.")
    files = tuple(path.with_name(Path(name).name) for name in sorted(set(names.values())))
    if absent := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{path.parent} lacks {', '.join(absent)}, which its {path.name} names.")
    return files


def in_folder(folder: Path) -> Path | None:
    """The weights in a folder, by the names that are usual."""
    return next((folder / name for name in IN_FOLDERS if (folder / name).is_file()), None)


def files_sha256(files: Sequence[Path]) -> str:
    """Hex digest of a file; of several, that of their digests in the order of their names."""
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `UserError` for anything else."""
    content = read_json(path, "model config")
    if not isinstance(content, dict):
        raise UserError(f"{path} is no model config: expected a JSON object.")
    return content


def unknown_model(name: str, known: Sequence[str]) -> UserError:
    """What to tell of a name that is no model of open_clip's."""
    return UserError(
        f"open_clip has no model {name!r}.{did_you_mean(name, known)} A model config (.json), a folder of the Hugging Face "
        "Hub, or a file of weights that says which model it is will also do."
    )


def check_model_name(name: str) -> None:
    """Raise `UserError` for what is neither there nor a model of open_clip's, by the files of its package: it takes seconds
    to import."""
    spec = importlib.util.find_spec("open_clip")
    if Path(name).exists() or spec is None or spec.origin is None:
        return
    known = sorted(file.stem for file in (Path(spec.origin).parent / "model_configs").glob("*.json"))
    if known and name not in known:
        raise unknown_model(name, known)
