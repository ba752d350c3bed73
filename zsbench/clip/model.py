"""CLIP through open_clip: image encoder, text encoder, tokenizer, and weights that surely belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from zsbench.clip.description import Description, describe, recognise
from zsbench.clip.files import files_sha256
from zsbench.clip.pretrained import (
    QUICK,
    RANDOM,
    Notes,
    Triple,
    check_activation,
    download,
    find_notes,
    is_config_file,
    local_files,
    normalisation,
)
from zsbench.clip.tokenizer import WordTokenizer
from zsbench.clip.weights import Weights, fill, parameters_sha256, read_tensors
from zsbench.errors import UserError

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


def load_clip(name: str, weights: str | None = None, seed: int = 0) -> Clip:
    """Build a CLIP model and fill it.

    `name`: open_clip's name of a model, the path of a JSON model config in open_clip's format, or a folder or file of
    weights that says which model it is (`zsbench.clip.description.describe`). A config of our own may also hold `words`
    (then the tokenizer is a `WordTokenizer` of them) and `preprocess_cfg` with `mean` and `std`. `weights`: a tag of
    open_clip (downloaded by it), a local file or folder (`zsbench.clip.weights.read_tensors`), or `random`, drawn from
    `seed`; None where `name` has them.

    Raises `UserError` for unknown names, unreadable files, a file with missing, unexpected or misshapen tensors, and
    weights that were trained with another activation than the model has: OpenAI's and some others have QuickGELU, and
    under plain GELU give plausible but wrong embeddings. Position embeddings are never resized here: a file made for
    another image size is refused, and a method that needs another grid interpolates it when it runs.
    """
    described = describe(name)
    config, notes = described.config, described.notes
    if weights == RANDOM:
        model = _build(name, config, seed)
        record = Weights(RANDOM, None, random=True)
    else:
        files, digest, notes = _find_weights(name, weights, described)
        check_activation(name, weights or name, config, notes)
        model = _build(name, config, seed)
        record = Weights(weights or name, digest, unexpected=fill(model, read_tensors(*files), weights or name, name))
    mean, std = normalisation(name, config, notes)
    model.eval().requires_grad_(False)
    return Clip(name, model, _tokenizer(name, config), mean, std, record, config)


def _find_weights(name: str, weights: str | None, described: Description) -> tuple[tuple[Path, ...], str, Notes]:
    """The files that are meant, their hash, and what is known of them. A tag's activation is checked before its download."""
    if weights is None or weights == name:
        if not described.files:
            raise UserError(f"{name} has no weights: give --weights, a tag of open_clip, a file, or `{RANDOM}`.")
        return described.files, files_sha256(described.files), described.notes
    if notes := find_notes(name, weights):
        check_activation(name, weights, described.config, notes)
        files: tuple[Path, ...] = (download(name, weights, notes),)
        return files, files_sha256(files), notes
    files = local_files(name, weights)
    digest = files_sha256(files)
    return files, digest, recognise(files, digest)


def read_config(name: str) -> dict[str, Any]:
    """The model config of `--clip`, in open_clip's words. Raises `UserError` where it names no model."""
    return describe(name).config


def _build(name: str, config: Mapping[str, Any], seed: int) -> Any:
    """The module that `config` describes, with parameters drawn from `seed`; torch's random state is left alone.

    Raises `UserError` where open_clip builds none from it.
    """
    try:
        return _built(config, seed)
    except OSError as error:
        raise UserError(f"a part of {name} could not be downloaded: {error}") from error
    except Exception as error:  # open_clip, timm and torch say in a dozen ways what is wrong with a config
        raise UserError(f"open_clip cannot build a model from {name}: {type(error).__name__}: {error}") from error


def _built(config: Mapping[str, Any], seed: int) -> Any:
    arguments = {key: deepcopy(value) for key, value in config.items() if key not in ("words", "preprocess_cfg")}
    text, trunk = arguments["text_cfg"], arguments["vision_cfg"].pop("trunk", None)
    if trunk is not None:  # not one of timm's names: built beside a small one of them, and put into its place
        arguments["vision_cfg"] |= {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "none"}
    kind = open_clip.CLIP
    if arguments.pop("custom_text", False) or "hf_model_name" in text:
        kind = open_clip.CoCa if "multimodal_cfg" in arguments else open_clip.CustomTextCLIP
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = kind(**arguments)
        if trunk is not None:
            model.visual.trunk = VisionTransformer(**trunk, class_token=False, global_pool="map", num_classes=0)
        return model


def _tokenizer(name: str, config: Mapping[str, Any]) -> Tokenizer:
    text = config["text_cfg"]
    if "words" in config:
        if not isinstance(config["words"], list) or not all(isinstance(word, str) for word in config["words"]):
            raise UserError(f"{name}: words: expected a list of words.")
        if not all(isinstance(text.get(key), int) and text[key] > 2 for key in ("context_length", "vocab_size")):
            raise UserError(f"{name}: text_cfg: expected context_length and vocab_size, numbers above 2, beside words.")
        tokenizer = WordTokenizer(config["words"], text["context_length"])
        if tokenizer.vocab_size != text["vocab_size"]:
            raise UserError(
                f"{name}: its {len(config['words'])} words and the 4 marks make a vocab_size of "
                f"{tokenizer.vocab_size}, but text_cfg says {text['vocab_size']}."
            )
        return tokenizer
    try:
        if not is_config_file(name):
            return open_clip.get_tokenizer(name)
        if words := text.get("hf_tokenizer_name"):
            options = {
                **(text.get("tokenizer_kwargs") or {}),
                "trust_remote_code": False,
            }  # a config never asks for code
            return open_clip.tokenizer.HFTokenizer(words, text.get("context_length", 77), **options)
        return open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    except Exception as error:  # open_clip and transformers say in many ways what a folder or a config lacks
        raise UserError(f"the tokenizer of {name} could not be had: {error}") from error


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]
