"""Which model `--clip` names, where a name, a config, a folder or a file of weights says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from zsbench.clip.files import (
    IN_FOLDERS,
    INDEX,
    OPEN_CLIP_CONFIG,
    SHARD,
    TRANSFORMERS_CONFIG,
    files_sha256,
    in_folder,
    read_object,
    unknown_model,
    weight_files,
)
from zsbench.clip.pretrained import Notes, published
from zsbench.clip.transformers_layout import open_clip_config, read_config
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError
from zsbench.utils.torch_files import is_torchscript


@dataclass(frozen=True)
class Description:
    """What `--clip` says: a model config in open_clip's words, what is known of its weights, and their files if any."""

    config: dict[str, Any]
    notes: Notes = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def describe(name: str) -> Description:
    """The model of open_clip's name, of a config in JSON (open_clip's, or that of a folder of the Hub), of such a folder, or
    of a file of weights beside such a config, of OpenAI's form, or known by its hash.

    Raises `UserError` for anything else.
    """
    path = Path(name)
    if path.is_dir():
        return describe_folder(path)
    if path.suffix == ".json" and not path.name.endswith(INDEX):
        content = read_object(path)
        if "model_type" in content:
            return describe_transformers(path.parent, in_folder(path.parent))
        if "model_cfg" in content:
            return describe_open_clip(content, path, in_folder(path.parent))
        return Description(checked(content, path))
    if path.is_file():
        return describe_weights(path)
    if name in open_clip.list_models():
        return Description(open_clip.get_model_config(name))
    raise unknown_model(name, open_clip.list_models())


def describe_folder(folder: Path) -> Description:
    """A folder as the Hub has it: open_clip's files, or transformers'."""
    if (config := folder / OPEN_CLIP_CONFIG).is_file():
        return describe_open_clip(read_object(config), config, in_folder(folder))
    if (folder / TRANSFORMERS_CONFIG).is_file():
        return describe_transformers(folder, in_folder(folder))
    raise UserError(
        f"{folder} is no folder of a CLIP: expected {OPEN_CLIP_CONFIG} or transformers' {TRANSFORMERS_CONFIG}."
    )


def describe_open_clip(content: Mapping[str, Any], path: Path, weights: Path | None) -> Description:
    """The config that every model of open_clip's on the Hub comes with."""
    model = content.get("model_cfg", content)
    pixels = {"preprocess_cfg": content.get("preprocess_cfg", {})}
    config = checked(model | pixels if isinstance(model, dict) else model, path)
    return Description(config, {"quick_gelu": bool(config.get("quick_gelu"))}, weight_files(weights) if weights else ())


def describe_transformers(folder: Path, weights: Path | None) -> Description:
    """A `CLIPModel` or `SiglipModel`."""
    found = read_config(folder)
    config = open_clip_config(found, folder)
    pixels = folder / "preprocessor_config.json"
    values = read_object(pixels) if pixels.is_file() else {}
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)} if found.model_type == "siglip" else {}
    told = {short: values[f"image_{short}"] for short in ("mean", "std") if f"image_{short}" in values}
    notes = {"quick_gelu": bool(config.get("quick_gelu")), **half, **told}
    return Description(config, notes, weight_files(weights) if weights else ())


def describe_weights(path: Path) -> Description:
    """A file of weights, by the config beside it, by its hash, or by its tensors if it is a TorchScript archive."""
    files = weight_files(path)
    if any(path.with_name(name).is_file() for name in (OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG)):
        return replace(describe_folder(path.parent), files=files)
    if known := published(files_sha256(files)):
        return Description(open_clip.get_model_config(known[0]), known[1], files)
    if is_torchscript(path):
        return Description(config_of_shapes(read_tensors(path), path), {"quick_gelu": True}, files)
    raise UserError(
        f"{path} does not say which model it is for: give that with --clip, and the file with --weights. (Files of OpenAI's "
        f"form say it, those whose hash open_clip knows, and those beside a {TRANSFORMERS_CONFIG} or {OPEN_CLIP_CONFIG}.)"
    )


def checked(config: Any, path: Path) -> dict[str, Any]:
    """A model config in open_clip's format; raises `UserError` where it is none."""
    needed = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(config, dict) or any(key not in config for key in needed):
        raise UserError(f"{path} is no model config of open_clip's format: a JSON object with {', '.join(needed)}.")
    objects = [key for key in (*needed[1:], "preprocess_cfg") if key in config]
    if wrong := [key for key in objects if not isinstance(config[key], dict)]:
        raise UserError(f"{path}: {wrong[0]}: expected a JSON object in a model config.")
    return dict(config)


def config_of_shapes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The config of OpenAI's archive by its tensors, heads being 64 wide as in all of theirs."""

    def count(pattern: str) -> int:
        return len({match[1] for key in tensors if (match := re.match(pattern, key))})

    try:
        context, width = tensors["positional_embedding"].shape
        text = {
            "context_length": context,
            "vocab_size": len(tensors["token_embedding.weight"]),
            "width": width,
            "heads": width // 64,
            "layers": count(r"transformer\.resblocks\.(\d+)\."),
        }
        embed_dim = tensors["text_projection"].shape[1]
        if "visual.attnpool.positional_embedding" in tensors:
            side = round((len(tensors["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
            stages = [count(rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
            inner = len(tensors["visual.layer1.0.conv1.weight"])
            vision = {"image_size": 32 * side, "layers": stages, "width": inner, "patch_size": None}
        else:
            inner, _, patch, _ = tensors["visual.conv1.weight"].shape
            side = round((len(tensors["visual.positional_embedding"]) - 1) ** 0.5)
            layers = count(r"visual\.transformer\.resblocks\.(\d+)\.")
            vision = {"image_size": patch * side, "layers": layers, "width": inner, "patch_size": patch}
    except KeyError as error:
        raise UserError(f"{path} is a TorchScript archive, but not of a CLIP: it lacks {error}.") from None
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def recognise(files: tuple[Path, ...], digest: str) -> Notes:
    """The notes on local files: a release known by its hash, what a config says beside files of the Hub's names, OpenAI's
    form; empty where nothing is known."""
    if known := published(digest):
        return known[1]
    if is_torchscript(files[0]):
        return {"quick_gelu": True}
    if files[0].name in IN_FOLDERS or SHARD.fullmatch(files[0].name):
        with suppress(UserError):
            return describe_folder(files[0].parent).notes
    return {}
