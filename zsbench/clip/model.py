"""CLIP through open_clip: image encoder, text encoder, tokenizer, and weights that surely belong to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from zsbench.clip.pretrained import (
    QUICK,
    RANDOM,
    Notes,
    Triple,
    check_activation,
    download,
    find_notes,
    is_config_file,
    local_file,
    normalisation,
    recognise,
)
from zsbench.clip.tokenizer import WordTokenizer
from zsbench.clip.weights import Weights, fill, parameters_sha256
from zsbench.errors import UserError, did_you_mean
from zsbench.utils.files import sha256

Tokenizer = Callable[[list[str]], Tensor]


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model, frozen, with what is needed to feed it.

    `name`: open_clip's model name, or the path of a model config. `model`: open_clip's module (eval mode,
    float32, nothing learnable) with `visual`, `encode_image`, `encode_text`. `tokenizer`: texts to int64 (N,
    context length). `mean`, `std`: of RGB in 0..1, by which the image encoder's input is normalised.
    `weights`: where they come from. `config`: the model config.
    """

    name: str
    model: Any
    tokenizer: Tokenizer
    mean: Triple
    std: Triple
    weights: Weights
    config: Mapping[str, Any]

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the model was trained on."""
        return _side(self.model.visual.image_size)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels. Raises `UserError` for an image encoder without patches (a ResNet)."""
        visual = self.model.visual
        embed = getattr(getattr(visual, "trunk", None), "patch_embed", None)  # timm's
        size = getattr(visual, "patch_size", None) or getattr(embed, "patch_size", None)
        if size is None:
            raise UserError(f"{self.name} has no patches; use a vision transformer such as ViT-B-16{QUICK}.")
        return _side(size)

    @property
    def dim(self) -> int:
        """Size of the embeddings that images and texts share."""
        return int(self.config["embed_dim"])

    @property
    def fingerprint(self) -> str:
        """Equal for equal parameters: sha256 of the file they came from, or of random ones themselves."""
        return self.weights.sha256 or parameters_sha256(self.model)


def load_clip(name: str, weights: str, seed: int = 0) -> Clip:
    """Build a CLIP model and fill it.

    `name`: open_clip's name of a model, or the path of a JSON model config in open_clip's format, which may
    also hold `words` (then the tokenizer is a `WordTokenizer` of them) and `preprocess_cfg` with `mean` and
    `std`. `weights`: a tag of open_clip (downloaded by it), a local file (`zsbench.clip.weights.read_tensors`), or
    `random`, drawn from `seed`.

    Raises `UserError` for unknown names, unreadable files, a file with missing, unexpected or misshapen
    tensors, and weights that were trained with another activation than the model has: OpenAI's and some
    others have QuickGELU, and under plain GELU give plausible but wrong embeddings. Position embeddings are
    never resized here: a file made for another image size is refused, and a method that needs another grid
    interpolates it when it runs.
    """
    config = read_config(name)
    notes: Notes = {}
    if weights == RANDOM:
        model = _build(name, config, seed)
        record = Weights(RANDOM, None, random=True)
    else:
        notes = find_notes(name, weights)
        check_activation(name, weights, config, notes)
        path = download(name, weights, notes) if notes else local_file(name, weights)
        digest = sha256(path)
        notes = notes or recognise(path, digest)
        check_activation(name, weights, config, notes)
        model = _build(name, config, seed)
        record = Weights(weights, digest, unexpected=fill(model, path, name))
    mean, std = normalisation(name, config, notes)
    model.eval().requires_grad_(False)
    return Clip(name, model, _tokenizer(name, config), mean, std, record, config)


def read_config(name: str) -> dict[str, Any]:
    """The model config of open_clip's name or of a JSON file. Raises `UserError` for neither."""
    if not is_config_file(name):
        if name not in open_clip.list_models():
            hint = did_you_mean(name, open_clip.list_models())
            raise UserError(f"open_clip has no model {name!r}.{hint} The path of a model config (.json) will also do.")
        return open_clip.get_model_config(name)
    try:
        config = json.loads(Path(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no model config {name}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name} is no readable model config: {error}") from error
    needed = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(config, dict) or any(key not in config for key in needed):
        raise UserError(f"{name} is no model config of open_clip's format: a JSON object with {', '.join(needed)}.")
    return config


def _build(name: str, config: Mapping[str, Any], seed: int) -> Any:
    """The module that `config` describes, with parameters drawn from `seed`; torch's random state is left
    alone."""
    arguments = {key: deepcopy(value) for key, value in config.items() if key not in ("words", "preprocess_cfg")}
    text = arguments["text_cfg"]
    kind = open_clip.CLIP
    if arguments.pop("custom_text", False) or "hf_model_name" in text:
        kind = open_clip.CoCa if "multimodal_cfg" in arguments else open_clip.CustomTextCLIP
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return kind(**arguments)
    except TypeError as error:
        raise UserError(f"open_clip cannot build a model from {name}: {error}") from error
    except OSError as error:
        raise UserError(f"a part of {name} could not be downloaded: {error}") from error


def _tokenizer(name: str, config: Mapping[str, Any]) -> Tokenizer:
    text = config["text_cfg"]
    if "words" in config:
        tokenizer = WordTokenizer(config["words"], text["context_length"])
        if tokenizer.vocab_size != text["vocab_size"]:
            raise UserError(
                f"{name}: its {len(config['words'])} words and the 4 marks make a vocab_size of "
                f"{tokenizer.vocab_size}, but text_cfg says {text['vocab_size']}."
            )
        return tokenizer
    try:
        if is_config_file(name):
            return open_clip.SimpleTokenizer(context_length=text["context_length"])
        return open_clip.get_tokenizer(name)
    except OSError as error:
        raise UserError(f"the tokenizer of {name} could not be downloaded: {error}") from error


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]
