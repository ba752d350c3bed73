"""CLIP and SigLIP as Hugging Face's transformers stores them, in the words and the layout of open_clip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsbench.errors import UserError

LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.in_proj.": "attn.in_proj_",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
CLIP = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
SIGLIP = {
    "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.post_layernorm.": "visual.trunk.norm.",
    "vision_model.encoder.layers.": "visual.trunk.blocks.",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
    "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
    "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
    "text_model.embeddings.token_embedding.": "text.token_embedding.",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.": "text.ln_final.",
    "text_model.encoder.layers.": "text.transformer.resblocks.",
    "text_model.head.": "text.text_projection.",
}
TRUNK_LAYER = {
    "layer_norm": "norm",
    "self_attn.in_proj.": "attn.qkv.",
    "self_attn.out_proj": "attn.proj",
}
POOL = "vision_model.head.attention.in_proj_"


def is_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of transformers' `CLIPModel` or `SiglipModel`."""
    return any(name.startswith("vision_model.") for name in tensors)


def converted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under open_clip's names; those without a place keep theirs."""
    siglip = any(name.startswith("vision_model.head.") for name in tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in fused(tensors).items():
        if name.startswith(POOL):
            kind = name.removeprefix(POOL)
            query, *rest = tensor.chunk(3)
            found[f"visual.trunk.attn_pool.q.{kind}"] = query
            found[f"visual.trunk.attn_pool.kv.{kind}"] = torch.cat(rest)
            continue
        layer = TRUNK_LAYER if siglip and name.startswith("vision_model.") else LAYER
        renamed = replaced(name, SIGLIP if siglip else CLIP)
        if ".encoder.layers." in name:
            renamed = replaced(renamed, layer)
        tensor = tensor.T if name in TRANSPOSED else tensor
        found[renamed] = tensor[None] if renamed == "visual.trunk.pos_embed" else tensor
    return found


def fused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projections of queries, keys and values as one, named `in_proj`."""
    found = dict(tensors)
    for name in tensors:
        if match := re.fullmatch(r"(.+\.self_attn\.)q_proj\.(\w+)", name):
            parts = [f"{match[1]}{letter}_proj.{match[2]}" for letter in "qkv"]
            if all(part in found for part in parts):
                found[f"{match[1]}in_proj.{match[2]}"] = torch.cat([found.pop(part) for part in parts])
    return found


def replaced(name: str, words: Mapping[str, str]) -> str:
    """The name with the first of the words in it replaced."""
    for word, new in words.items():
        if word in name:
            return name.replace(word, new, 1)
    return name


def read_config(folder: Path) -> Any:
    """transformers' configuration in a folder. Raises `UserError` for a model that is neither CLIP nor SigLIP."""
    from transformers import AutoConfig  # takes seconds, and few need it

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers checks little, and fails in many ways
        raise UserError(f"{folder} holds no configuration that transformers can read: {error}") from error
    if config.model_type not in ("clip", "siglip"):
        raise UserError(
            f"{folder} holds a {config.model_type} model of transformers; expected CLIP (CLIPModel) or SigLIP (SiglipModel)."
        )
    return config


def open_clip_config(config: Any, folder: Path) -> dict[str, Any]:
    """open_clip's model config of transformers' one; `folder` has the tokenizer of a model with words of its own."""
    vision, text = config.vision_config, config.text_config
    text_cfg = {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        "mlp_ratio": ratio(text),
        "norm_kwargs": {"eps": text.layer_norm_eps},
    }
    if config.model_type == "siglip":
        return siglip_config(vision, text, text_cfg, folder)
    if text.vocab_size != 49408:
        text_cfg["hf_tokenizer_name"] = str(folder)
    if text.eos_token_id not in (2, text.vocab_size - 1):  # 2 stands for the highest id in older configurations
        text_cfg |= {"pool_type": "eos", "eos_id": text.eos_token_id}
    vision_cfg = {
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "width": vision.hidden_size,
        "head_width": vision.hidden_size // vision.num_attention_heads,
        "layers": vision.num_hidden_layers,
        "mlp_ratio": ratio(vision),
        "norm_kwargs": {"eps": vision.layer_norm_eps},
    }
    quick = quick_gelu(config)
    return {"embed_dim": config.projection_dim, "quick_gelu": quick, "vision_cfg": vision_cfg, "text_cfg": text_cfg}


def siglip_config(vision: Any, text: Any, text_cfg: dict[str, Any], folder: Path) -> dict[str, Any]:
    tanh = {"gelu": False, "gelu_pytorch_tanh": True}
    if vision.hidden_act not in tanh or text.hidden_act not in tanh:
        raise UserError(
            f"{folder}: activation {vision.hidden_act} or {text.hidden_act} is not known; expected {', '.join(tanh)}."
        )
    text_cfg |= {
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "act_kwargs": {"approximate": "tanh"} if tanh[text.hidden_act] else {},
        "hf_tokenizer_name": str(folder),
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    trunk = {
        "img_size": vision.image_size,
        "patch_size": vision.patch_size,
        "embed_dim": vision.hidden_size,
        "depth": vision.num_hidden_layers,
        "num_heads": vision.num_attention_heads,
        "mlp_ratio": ratio(vision),
        "act_layer": "gelu_tanh" if tanh[vision.hidden_act] else "gelu",
    }
    return {
        "embed_dim": vision.hidden_size,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": vision.image_size, "trunk": trunk},
        "text_cfg": text_cfg,
    }


def ratio(config: Any) -> float:
    """Hidden size of the feed-forward network, as a multiple of the width; half a unit more, for it is rounded down."""
    return (config.intermediate_size + 0.5) / config.hidden_size


def quick_gelu(config: Any) -> bool:
    """Whether the activation of both encoders is QuickGELU; raises `UserError` where it is neither that nor GELU."""
    acts = {config.vision_config.hidden_act, config.text_config.hidden_act}
    if acts not in ({"quick_gelu"}, {"gelu"}):
        raise UserError(
            f"a CLIP of transformers with activation {', '.join(sorted(acts))}; expected quick_gelu or gelu."
        )
    return acts == {"quick_gelu"}
