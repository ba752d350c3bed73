"""A tokenizer of whole words, for small CLIPs whose language is a short list of words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from zsbench.errors import UserError

PUNCTUATION = ".,;:!?"


class WordTokenizer:
    """Lower-cased words to ids: `<pad>` 0, `<sot>` 1, `<unk>` 2, then `words` in order, then `<eot>`.

    `<eot>` has the highest id because CLIP's text encoder reads its output where the id is highest (arg max).
    Texts are split at white space; punctuation at the end of a word is dropped. Longer texts are cut, keeping
    `<eot>`. Raises `UserError` for a word given twice, or one that no text could ever match.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        unreachable = [word for word in words if split_words(word) != [word]]
        if unreachable:
            raise UserError(f"tokenizer: {unreachable[0]!r} is no lower-case word without punctuation at its end.")
        self.words = tuple(words)
        tokens = ["<pad>", "<sot>", "<unk>", *words, "<eot>"]
        self.ids = {token: index for index, token in enumerate(tokens)}
        if len(self.ids) != len(tokens):
            twice = next(token for token in tokens if tokens.count(token) > 1)
            raise UserError(f"tokenizer: the word {twice!r} is given twice.")
        self.vocab_size = len(tokens)
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """int64 (N, context_length), padded with 0; a single text gives N = 1."""
        texts = [texts] if isinstance(texts, str) else texts
        rows = torch.zeros((len(texts), self.context_length), dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            inner = [self.ids.get(word, self.ids["<unk>"]) for word in split_words(text)]
            ids = [self.ids["<sot>"], *inner[: self.context_length - 2], self.ids["<eot>"]]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """The words in `texts` that all become one token, each once."""
        return [word for word in dict.fromkeys(" ".join(texts).split()) if set(split_words(word)) - self.ids.keys()]


def split_words(text: str) -> list[str]:
    """The lower-case words of `text`, without punctuation at their ends."""
    return [word for raw in text.lower().split() if (word := raw.rstrip(PUNCTUATION))]


def unknown_words(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """The words in `texts` that mean nothing to a tokenizer of any kind, each once: those that become its one unknown token
    (of whole words; of transformers, in open_clip's `HFTokenizer`), and those of which no token is left."""
    if isinstance(tokenizer, WordTokenizer):
        return tokenizer.unknown(texts)
    clean: Callable[[str], str] = getattr(tokenizer, "clean_fn", str)
    inner = getattr(tokenizer, "tokenizer", None)
    encode, unknown = getattr(tokenizer, "encode", None), None
    if inner is not None and hasattr(inner, "unk_token_id"):
        encode, unknown = (lambda word: inner.encode(clean(word), add_special_tokens=False)), inner.unk_token_id
    if encode is None:
        return []
    found = {word: encode(word) for word in dict.fromkeys(" ".join(texts).split())}
    return [word for word, ids in found.items() if not ids or unknown in ids]
