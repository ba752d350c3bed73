"""Class names become vectors: prompts, text encoding, and the cache of both."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.func import functional_call

from zsbench.clip.templates import read_templates
from zsbench.clip.tokenizer import WordTokenizer, unknown_words
from zsbench.errors import UserError
from zsbench.utils.arrays import read_arrays
from zsbench.utils.files import write_atomically

if TYPE_CHECKING:
    from zsbench.clip.model import Clip

Seen = Sequence[bool] | NDArray[np.bool_] | Tensor

BATCH = 256
"""Prompts encoded at a time."""

NAMED = 8
"""Words that a message names before it counts the rest."""

SAME = 1e-4
"""How far from 1 the cosine of two words may be that are as good as the same to an encoder: less than a degree. Of the
names of all built-in datasets the most alike are 1e-2 from it, under random weights."""

DIGEST = "sha256"
"""Key of the hash in the metadata of a file of the cache."""

NORM_TOLERANCE = 1e-2
"""How far from 1 a stored embedding's norm may be: float16 storage alone costs up to 5.2e-4."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a method is told about what it has to tell apart: words, of which a class may have several.

    `embeddings`: float32 (W, D): CLIP's text embeddings, which have unit norm, or for a method that needs no CLIP word
    vectors of any norm and width. `seen`: bool (W,), True where the word's class was learnt from. In inductive training the
    unseen names are absent altogether, not merely marked. `background`: the word of the dataset's background, if any.
    `counts`: float32 (W,), how often the list of words has each, as a softmax over them counts it; None: once.
    """

    words: tuple[str, ...]
    embeddings: Tensor
    seen: Tensor
    background: str | None = None
    counts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.words)

    def to(self, device: torch.device) -> Vocabulary:
        counts = None if self.counts is None else self.counts.to(device)
        return replace(self, embeddings=self.embeddings.to(device), seen=self.seen.to(device), counts=counts)


def encode_vocabulary(
    clip: Clip,
    names: Sequence[str],
    seen: Seen,
    templates: str | Sequence[str] = "single",
    cache_dir: Path | None = None,
) -> Vocabulary:
    """The vocabulary of `names` (C), by the text encoder of `clip`, on the CPU.

    `seen`: bool (C,). `templates`: the name of a set, a template, a text file or a list (`read_templates`).
    Embeddings are kept in `cache_dir` (`default_cache_dir()` where None) under a hash of weights, model
    config, names and templates, so that they are computed once; a damaged file there is computed again, with a warning.
    Those of a text encoder that a method trains are not: its weights are no longer those of the file.
    Raises `UserError` for a name given twice and for faulty templates.
    """
    flags = checked_seen(names, seen)
    prompts = read_templates(templates)
    trained = any(p.requires_grad for name, p in clip.model.named_parameters() if not name.startswith("visual."))
    folder = None if trained else cache_dir or default_cache_dir()
    path = folder and folder / "vocabularies" / f"{_key(clip, names, prompts)}.safetensors"
    embeddings = None if path is None else _read_cache(path)
    if embeddings is None:
        embeddings = encode_names(clip, names, prompts).cpu()
        if path is not None:
            _write_cache(path, embeddings)
    return Vocabulary(tuple(names), embeddings, flags)


def check_known(clip: Clip, names: Sequence[str]) -> None:
    """Raise `UserError` where names hold words that the CLIP does not know: to it they are all one word."""
    if unknown := unknown_words(clip.tokenizer, names):
        more = f", ... ({len(unknown)} in all)" if len(unknown) > NAMED else ""
        known = f": {', '.join(clip.tokenizer.words)}" if isinstance(clip.tokenizer, WordTokenizer) else ""
        raise UserError(
            f"the CLIP {clip.name} does not know the words {', '.join(unknown[:NAMED])}{more} of the class names, and takes "
            f"them all for one. Give another --clip, or words that it knows, by --classes{known}."
        )


def check_apart(vocabulary: Vocabulary, owners: Sequence[int], classes: Sequence[str]) -> None:
    """Raise `UserError` where words of two classes have nearly the same embedding, so that rounding decides between them.

    `owners`: for each word the index of its class among `classes`. The same up to `SAME`.
    """
    unit = F.normalize(vocabulary.embeddings.double(), dim=-1)
    of, twins = torch.tensor(owners), []
    for start in range(0, len(unit), BATCH):  # a square of all words may not fit into memory
        rows = slice(start, start + BATCH)
        alike = (unit[rows] @ unit.T > 1 - SAME) & (of[rows, None] < of)
        twins += [(start + row, column) for row, column in alike.nonzero().tolist()]
    pairs = [" and ".join(f"{vocabulary.words[word]!r} ({classes[owners[word]]})" for word in pair) for pair in twins]
    if pairs:
        more = f", and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
        raise UserError(
            f"{'; '.join(pairs[:3])}{more}: words of different classes that are the same to the text encoder, so that one "
            "could never win. Case, spaces, and what lies beyond the length of its texts make no difference to it: give "
            "each class words of its own, by --classes."
        )


def read_vocabulary(path: Path, names: Sequence[str], seen: Seen, dim: int) -> Vocabulary:
    """The vocabulary of `names` (C) whose embeddings lie in an `.npy` file of shape (C, dim), of any float
    dtype.

    They are converted to float32 and not normalised again, as the released ZegCLIP uses them (its files are
    float16, with norms within 5.2e-4 of 1). Raises `UserError` for another shape or dtype, or norms further
    than 1e-2 from 1.
    """
    flags = checked_seen(names, seen)
    array = read_arrays(path, "an .npy file of embeddings").get("")
    if array is None or array.dtype.kind != "f" or array.shape != (len(names), dim):
        found = "an archive of arrays" if array is None else f"{array.dtype} {array.shape}"
        raise UserError(
            f"{path} holds {found}; expected floats of shape {(len(names), dim)}: a row for each class "
            f"({len(names)}), in their order, and a column for each of CLIP's {dim} dimensions."
        )
    embeddings = torch.from_numpy(array.astype(np.float32))
    deviation = (embeddings.norm(dim=1) - 1).abs()
    bad = int((~(deviation <= NORM_TOLERANCE)).int().argmax())  # a NaN is bad, too
    if not deviation[bad] <= NORM_TOLERANCE:
        norm = float(embeddings[bad].norm())
        raise UserError(f"{path}: row {bad} ({names[bad]}) has norm {norm:.4f}; expected unit vectors.")
    return Vocabulary(tuple(names), embeddings, flags)


def encode_names(clip: Clip, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Text embeddings float32 (N, D), unit norm, averaged over templates between two normalisations.

    The prompt ensemble of CLIP (Radford et al. 2021, section 3.1.4), in embedding space.
    """
    prompts = [template.replace("{}", name) for name in names for template in templates]
    each = encode_prompts(clip, prompts).view(len(names), len(templates), -1)
    return F.normalize(each.mean(dim=1), dim=-1)


@torch.no_grad()
def encode_prompts(clip: Clip, prompts: Sequence[str]) -> Tensor:
    """Text embeddings float32 (N, D) of whole prompts, unit norm, on the device of the model."""
    device = next(clip.model.parameters()).device
    batches = [list(prompts[start : start + BATCH]) for start in range(0, len(prompts), BATCH)]
    encoded = [_encode_tokens(clip.model, clip.tokenizer(batch).to(device)) for batch in batches]
    return F.normalize(torch.cat(encoded).float(), dim=-1)


def _encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """`model.encode_text(tokens)`, leaving out the padding where it cannot matter.

    Under a causal mask nothing after the end mark (the highest id, where CLIP reads its output) reaches it.
    Prompts have some ten tokens out of 77, so that this saves most of the time.
    """
    if getattr(model, "text_pool_type", None) != "argmax" or model.attn_mask is None:
        return model.encode_text(tokens)
    length = int(tokens.argmax(dim=1).max()) + 1
    short = {
        "positional_embedding": model.positional_embedding[:length],
        "attn_mask": model.attn_mask[:length, :length],
    }
    _, features, *_ = functional_call(model, short, kwargs={"text": tokens[:, :length]})
    return features


def default_cache_dir() -> Path | None:
    """`$ZSBENCH_CACHE`, else `zsbench` in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`); None for a user who has
    no home, as in containers."""
    if own := os.environ.get("ZSBENCH_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zsbench"
    except RuntimeError:
        return None


def checked_seen(names: Sequence[str], seen: Seen) -> Tensor:
    """`seen` as bool (C,) on the CPU, once names and flags have been found sound."""
    if not names or not all(name.strip() for name in names):
        raise UserError("a vocabulary needs class names, none of them empty.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise UserError(f"class name given twice: {', '.join(twice)}. Every class needs a name of its own.")
    flags = torch.as_tensor(seen, dtype=torch.bool, device="cpu")
    if flags.shape != (len(names),):
        raise UserError(f"{len(names)} class names, but seen/unseen is given for {tuple(flags.shape)}.")
    return flags


def _key(clip: Clip, names: Sequence[str], templates: Sequence[str]) -> str:
    content = [clip.fingerprint, clip.config, list(names), list(templates)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path, embeddings: Tensor) -> str:
    """Hash of the numbers, their shape, and the key by which they are found, which is the file's name."""
    about = f"{path.stem} {embeddings.dtype} {tuple(embeddings.shape)}"
    return hashlib.sha256(about.encode() + embeddings.numpy().tobytes()).hexdigest()


def _read_cache(path: Path) -> Tensor | None:
    """What is kept there, None where nothing is; what is not whole is told, and is nothing."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            embeddings = file.get_tensor("embeddings")
            if (file.metadata() or {}).get(DIGEST) == _digest(path, embeddings):
                return embeddings
    except PermissionError as error:
        warnings.warn(f"cached text embeddings cannot be read ({error}): they are computed again.", stacklevel=3)
        return None
    except (OSError, SafetensorError):
        pass
    warnings.warn(f"{path} is damaged, or of an earlier version: its texts are encoded again.", stacklevel=3)
    return None


def _write_cache(path: Path, embeddings: Tensor) -> None:
    """Keep the embeddings; a cache that cannot be written costs time, not the run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"embeddings": embeddings.contiguous()}
        digest = _digest(path, embeddings)

        def write(temporary: Path) -> None:
            # not `save_file`, whose files nobody else may read in a cache that several share
            temporary.write_bytes(save(tensors, {DIGEST: digest}))

        write_atomically(path, write)
    except (OSError, UserError) as error:
        warnings.warn(f"text embeddings could not be cached ({error}); set ZSBENCH_CACHE to a folder.", stacklevel=3)
