"""What the systems before CLIP have in common: word vectors of a known width, and phases of a recipe."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.clip.text import Vocabulary
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.recipe import Recipe
from zsbench.settings import Phase, Setting

from .options import DeepLabOptions


class WordMethod(Method):
    """A trainable method that knows classes by word vectors, (W, `dim`).

    `unit`: whether they are brought to length 1. `counts_classes`: whether `options.classes` of them are all it can tell.
    """

    needs_clip = False
    trainable = True
    unit = True
    counts_classes = False
    options: DeepLabOptions
    knows_unseen: Tensor
    """bool (): whether unseen pixels took part in training (self-training, supervision); then nothing is calibrated."""

    def __init__(self, clip: None, options: DeepLabOptions) -> None:
        super().__init__(clip, options)
        self.register_buffer("knows_unseen", torch.tensor(False))

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        width = vocabulary.embeddings.shape[1]
        if width != self.options.dim:
            raise UserError(
                f"{self.name}: the word vectors have {width} numbers each, where the method has {self.options.dim}. Give "
                f"--words of that width, or (before training) -o dim={width}."
            )
        classes = getattr(self.options, "classes", 0)
        if self.counts_classes and len(vocabulary) != classes:
            one_more = vocabulary.background is not None and len(vocabulary) == classes + 1
            lacking = f"no channel is left for the background class {vocabulary.background!r}: " if one_more else ""
            raise UserError(
                f"{self.name}: {lacking}its classifier tells {classes} classes, and {len(vocabulary)} words are given. Its "
                f"classes are fixed by training: -o classes={len(vocabulary)} before it, one word for each."
            )
        super().set_vocabulary(vocabulary)
        self.vectors = F.normalize(vocabulary.embeddings, dim=1) if self.unit else vocabulary.embeddings

    @property
    def seen(self) -> Tensor:
        """bool (W,), on the device of the word vectors."""
        return self.vocabulary.seen.to(self.vectors.device)

    def note_unseen(self, phase: Phase) -> None:
        """Remember that unseen pixels have taken part."""
        if phase.pixels != "inductive":
            self.knows_unseen.fill_(True)


def split(recipe: Recipe, *shares: float) -> list[Recipe]:
    """The recipe cut into as many as there are shares, in order; the last takes what rounding leaves."""
    ends = [round(recipe.iterations * sum(shares[: number + 1]) / sum(shares)) for number in range(len(shares))]
    return [recipe.model_copy(update={"iterations": end - start}) for start, end in zip([0, *ends], ends, strict=False)]


def only(*settings: Setting, setting: Setting, method: str) -> None:
    """Raise `UserError` where a method has no training in a setting."""
    if setting not in settings:
        raise UserError(f"{method} has no training in the {setting} setting: {', '.join(settings)}.")
