"""Class names become unit vectors: prompts, text encoding, and the cache of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a method is told about the classes it has to tell apart.

    `embeddings`: float32 (C, D), unit norm. `seen`: bool (C,), True where a class was learnt from. In inductive training
    the unseen names are absent altogether, not merely marked.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, keep: Tensor) -> Vocabulary:
        """The classes where `keep` (bool, (C,)) is True, in order."""
        names = tuple(name for name, kept in zip(self.names, keep.tolist(), strict=True) if kept)
        return Vocabulary(names, self.embeddings[keep], self.seen[keep])

    def to(self, device: torch.device) -> Vocabulary:
        return Vocabulary(self.names, self.embeddings.to(device), self.seen.to(device))
