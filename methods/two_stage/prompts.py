"""What CLIP is asked about a region: templates, and prompts that are learnt (CoOp)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.clip.templates import read_templates
from zsbench.clip.text import Vocabulary, encode_vocabulary
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError

from .templates import DATASET, SETS


def encode(clip: Clip, vocabulary: Vocabulary, templates: str) -> Tensor:
    """Unit-norm text embeddings float32 (C, D), on the device of the vocabulary.

    `templates`: as in `read_templates`, or "dataset". A class name with ", " in it lists synonyms: the embeddings of all
    its prompts are averaged.
    """
    device = vocabulary.embeddings.device
    if templates == DATASET:
        return vocabulary.embeddings
    chosen = read_templates(templates, SETS)
    if not any(", " in name for name in vocabulary.words):
        return encode_vocabulary(clip, vocabulary.words, vocabulary.seen, chosen).embeddings.to(device)
    prompts = [
        [template.replace("{}", synonym) for template in chosen for synonym in name.split(", ")]
        for name in vocabulary.words
    ]
    distinct = list(dict.fromkeys(prompt for group in prompts for prompt in group))
    whole = encode_vocabulary(clip, distinct, torch.ones(len(distinct), dtype=torch.bool), "{}").embeddings
    places = {prompt: place for place, prompt in enumerate(distinct)}
    means = [whole[[places[prompt] for prompt in group]].mean(0) for group in prompts]
    return F.normalize(torch.stack(means), dim=-1).to(device)


class LearnedPrompts(nn.Module):
    """`length` learnt vectors before the name of every class, shared by all: [start] v_1 ... v_n name . [end].

    Zhou et al., "Learning to Prompt for Vision-Language Models" (CoOp), as in zsseg. `learn`: False makes them a buffer,
    which a checkpoint keeps but training leaves alone.
    """

    def __init__(self, clip: Clip, length: int = 16, learn: bool = False) -> None:
        super().__init__()
        self.tokenizer = clip.tokenizer
        width = text_tower(clip.model).positional_embedding.shape[-1]
        prefix = torch.empty(length, width)
        nn.init.normal_(prefix, std=0.02)
        if learn:
            self.prefix = nn.Parameter(prefix)
        else:
            self.register_buffer("prefix", prefix)

    def load(self, path: Path) -> None:
        """Take the vectors of a checkpoint of `zsseg-prompts`, or of a released one; `UserError` where it has none."""
        tensors = read_tensors(path)
        found = [key for key in tensors if key.endswith(("prompts.prefix", "prompt_learner.prefix_prompt"))]
        if not found:
            raise UserError(f"{path} holds no learnt prompts: expected a checkpoint of zsseg-prompts.")
        prefix = tensors[sorted(found)[-1]]
        if prefix.shape[-1] != self.prefix.shape[-1]:
            raise UserError(
                f"{path}: prompts of width {prefix.shape[-1]}, the CLIP's text encoder has {self.prefix.shape[-1]}."
            )
        if len(prefix) != len(self.prefix):
            raise UserError(f"{path} holds {len(prefix)} prompt vectors; give -o prompt_length={len(prefix)}.")
        with torch.no_grad():
            self.prefix.copy_(prefix)

    def forward(self, model: Any, names: Sequence[str]) -> Tensor:
        """Unit-norm embeddings (C, D) of `names` by the text encoder of `model`, on its device; differentiable."""
        text = text_tower(model)
        device = text.positional_embedding.device
        tokens = self.tokenizer([f"{name}." for name in names]).to(device)
        end = tokens.argmax(-1) + len(self.prefix)
        longest = int(end.max()) + 1
        if longest > tokens.shape[-1]:
            name = names[int(end.argmax())]
            raise UserError(
                f"{len(self.prefix)} prompt vectors and {name!r} need {longest} places, CLIP has {tokens.shape[-1]}."
            )
        embedded = text.token_embedding(tokens)
        prefix = self.prefix.to(device).expand(len(names), -1, -1)
        sequence = torch.cat([embedded[:, :1], prefix, embedded[:, 1 : tokens.shape[-1] - len(self.prefix)]], 1)
        return F.normalize(_encode(text, sequence, end), dim=-1)


def text_tower(model: Any) -> Any:
    """The module of an open_clip model that encodes text causally. Raises `UserError` where it has another kind."""
    text = getattr(model, "text", model)
    if not hasattr(text, "token_embedding") or getattr(text, "attn_mask", None) is None:
        raise UserError("prompts can be learnt for CLIP's own text encoder only, not for this model's.")
    return text


def _encode(text: Any, sequence: Tensor, end: Tensor) -> Tensor:
    """Features (N, D) at the places `end` (N,) of embedded tokens (N, L, W)."""
    hidden = text.transformer(sequence + text.positional_embedding, attn_mask=text.attn_mask)
    last = text.ln_final(hidden)[torch.arange(len(end), device=end.device), end]
    projection = text.text_projection
    projected: Tensor = projection(last) if isinstance(projection, nn.Module) else last @ projection
    return projected
