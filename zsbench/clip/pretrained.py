"""What open_clip knows about trained weights: where a tag's file is, its activation, its normalisation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip

from zsbench.clip.files import weight_files
from zsbench.errors import UserError, did_you_mean

RANDOM = "random"
QUICK = "-quickgelu"
Triple = tuple[float, float, float]
Notes = Mapping[str, Any]
"""open_clip's entry of a tag (`quick_gelu`, `mean`, `std`, `url`, `hf_hub`), empty where nothing is known."""


def is_config_file(name: str) -> bool:
    """Whether a model is named by a path rather than by open_clip's name."""
    return name.endswith(".json") or Path(name).exists()


def known_models() -> list[str]:
    """open_clip's names."""
    return list(open_clip.list_models())


def known_weights(name: str) -> list[str]:
    """What goes with the model `name` without being a file: `random`, and the tags for either activation."""
    models = dict.fromkeys((name, name.removesuffix(QUICK)))
    return [RANDOM, *(tag for model in models for tag in open_clip.list_pretrained_tags_by_model(model))]


def find_notes(name: str, weights: str) -> Notes:
    """The notes on `weights` if it is a tag of the model `name`, with either activation; else empty."""
    for model in (name, name.removesuffix(QUICK)):
        if notes := open_clip.get_pretrained_cfg(model, weights):
            return notes
    return {}


def local_files(name: str, weights: str) -> tuple[Path, ...]:
    """The files of `weights`: one, shards, or those of a folder.

    Raises `UserError` where it is neither that nor a tag, which was looked for before.
    """
    path = Path(weights)
    if path.exists():
        return weight_files(path)
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"there is no file of weights {weights}.")
    alternative = f"a local file or {RANDOM!r}"
    if is_config_file(name):
        raise UserError(f"{name} is a model config: its weights must be {alternative}, not {weights!r}.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    near = [tag for tag in tags if tag.startswith(weights)] or tags
    raise UserError(
        f"open_clip has no weights {weights!r} for {name}.{did_you_mean(weights, near)} "
        f"It has: {', '.join(tags) or 'none'}. Instead of a tag, {alternative} can be given."
    )


def download(name: str, tag: str, notes: Notes) -> Path:
    """The file of a tag, from open_clip's cache or the network. Raises `UserError` where neither has it."""
    try:
        return Path(open_clip.download_pretrained(notes))
    except Exception as error:  # each of the ways of downloading has its own exceptions
        url = notes.get("url") or f"https://huggingface.co/{notes['hf_hub'].rstrip('/')}"
        raise UserError(
            f"the weights {tag!r} of {name} could not be downloaded ({type(error).__name__}). Without a "
            f"network, fetch them elsewhere, for example from {url}, and give the file: --weights "
            f"path/to/file. Where the numbers do not matter, --weights {RANDOM} will do."
        ) from error


def published(digest: str) -> tuple[str, Notes] | None:
    """The model and the notes of a release whose address holds the hash of its file."""
    for model, tag in open_clip.list_pretrained():
        notes: Notes = open_clip.get_pretrained_cfg(model, tag)
        hashes = re.findall(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pth?$", notes["url"])
        if any(digest.startswith(whole or start) for whole, start in hashes):
            quick = bool(notes.get("quick_gelu")) and not model.endswith(QUICK)
            return (f"{model}{QUICK}" if quick and f"{model}{QUICK}" in open_clip.list_models() else model), notes
    return None


def check_activation(name: str, weights: str, config: Mapping[str, Any], notes: Notes) -> None:
    """Raise `UserError` where the weights were trained with QuickGELU and the model has GELU, or the reverse.

    open_clip only warns of it, and says nothing about local files. With empty notes nothing is known, and all
    passes.
    """
    has, wants = bool(config.get("quick_gelu")), bool(notes.get("quick_gelu"))
    right = name.removesuffix(QUICK) + (QUICK if wants else "")
    if not notes or has == wants:
        return
    if right == name and not is_config_file(name):
        return  # open_clip's roberta-ViT-B-32, whose config has QuickGELU and whose tag does not say so
    remedy = f"use --clip {right}"
    if right not in open_clip.list_models():
        remedy = "use the model that they were made for"
    if is_config_file(name):
        remedy = f'set "quick_gelu": {json.dumps(wants)} in it'
    kind = {True: "QuickGELU", False: "plain GELU"}
    raise UserError(
        f"the weights {weights} were trained with {kind[wants]}, but {name} has {kind[has]}: its "
        f"embeddings would look right and be wrong. Please {remedy}."
    )


def normalisation(name: str, config: Mapping[str, Any], notes: Notes) -> tuple[Triple, Triple]:
    """Mean and std of RGB in 0..1.

    Those of the model config, else of the weights, else what all known weights of the model share, else
    OpenAI's.
    """
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    shared = tags[0] if len({(tag["mean"], tag["std"]) for tag in tags}) == 1 else {}
    default = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    sources: list[Mapping[str, Any]] = [config.get("preprocess_cfg", {}), notes, shared, default]

    def first(key: str) -> Triple:
        value = next(source[key] for source in sources if key in source)
        try:
            red, green, blue = map(float, value)
        except (TypeError, ValueError):
            red = green = blue = math.nan
        if not math.isfinite(red + green + blue) or (key == "std" and min(red, green, blue) <= 0):
            raise UserError(f"{name}: {key}: expected three numbers, of red, green and blue, not {value!r}.")
        return red, green, blue

    return first("mean"), first("std")
