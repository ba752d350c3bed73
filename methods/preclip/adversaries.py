"""What CaGNet learns with: a generator of features, a discriminator that is the classifier too, and their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zsbench.dataset import IGNORE

from ..deeplab import maximum
from .contextual import Encoded
from .labels import cross_entropy, shrunk
from .mmd import discrepancy

VARIANCES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
WIDTHS, DROPOUTS = (1024, 960, 864, 784, 720), (0.1, 0.1, 0.3, 0.5, 0.5)
DIVERGENCE, CONTENT, BACKBONE = 100.0, 50.0, 0.5
"""Weights: of the code's divergence, of the discrepancy, and of the classifier's loss on real features in the backbone's."""


class Generator(nn.Module):
    """Features (B, D, h, w) in 0..1, from word vectors and codes (B, D, h, w) each."""

    def __init__(self, dim: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, out, dropout in zip((2 * dim, *widths), widths, DROPOUTS, strict=False):
            layers += [nn.Conv2d(channels, out, 1), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
        self.mlp = nn.Sequential(*layers, nn.Conv2d(widths[-1], dim, 1), nn.Sigmoid())

    def forward(self, words: Tensor, codes: Tensor) -> Tensor:
        return self.mlp(torch.cat([words, codes], 1))


class Discriminator(nn.Module):
    """Tells real features from generated ones, and classes from each other: the latter is the segmenter.

    `classes` channels, the last of which no pixel is ever labelled with.
    """

    def __init__(self, dim: int, classes: int, hidden: int = 1024) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Dropout(0.5))
        self.real, self.classes = nn.Conv2d(hidden, 1, 1), nn.Conv2d(hidden, classes, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probability (B, 1, h, w) that they are real, and logits (B, classes, h, w)."""
        shared = self.shared(features)
        return self.real(shared).sigmoid(), self.classes(shared)


def run_discrepancy(fake: Tensor, real: Tensor, labels: Tensor) -> Tensor:
    """Mean discrepancy over runs of equal labels among the labelled pixels, row by row, image after image.

    `fake`, `real` (B, D, h, w); labels int64 (B, h, w), negative where there is none. A run may pass the end of a row.
    """
    valid = labels >= 0
    if not valid.any():
        return fake.sum() * 0
    ours, theirs = (maps.movedim(1, -1)[valid] for maps in (fake, real))
    _, lengths = torch.unique_consecutive(labels[valid], return_counts=True)
    ends = lengths.cumsum(0)
    total = fake.new_zeros(())
    for length in lengths.unique().tolist():  # runs of one length are compared at once
        index = (ends - lengths)[lengths == length][:, None] + torch.arange(length, device=fake.device)
        total = total + discrepancy(ours[index], theirs[index], VARIANCES).sum()
    return total / len(lengths) / 2**0.5


def real_loss(probability: Tensor, real: bool, labels: Tensor) -> Tensor:
    """Mean distance of probabilities (B, 1, h, w) from 1, or from 0, over labelled pixels."""
    valid = labels >= 0
    return (probability[:, 0][valid] - float(real)).abs().sum() / valid.sum().clamp(min=1)


@dataclass(frozen=True)
class Weights:
    """Of the classifier's losses, on real and on generated features, and of the discriminator being `fooled`."""

    real: float = 1.0
    fake: float = 0.0
    fooled: float = 1.0


Classify = Callable[[Tensor, Tensor], Tensor]
"""A classifier's loss of logits (B, C, h, w) and labels int64 (B, H, W), which it shrinks to the logits' size."""


def plain(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled pixels."""
    return cross_entropy(logits, shrunk(labels, logits.shape[-2:]))


@dataclass(frozen=True)
class Adversaries:
    """The generator and the discriminator, and the loss of classes."""

    generator: Generator
    discriminator: Discriminator
    weights: Weights = Weights()
    classify: Classify = plain


@dataclass(frozen=True)
class Descents:
    """What each part descends, of one forward pass; only its own parameters may follow. `terms`: of what they are sums."""

    discriminator: Tensor
    backbone: Tensor
    generator: Tensor
    terms: dict[str, Tensor]


def image_losses(encoded: Sequence[Encoded], labels: Tensor, words: Tensor, parts: Adversaries) -> Descents:
    """The losses of images, encoded at each scale.

    labels int64 (B, H, W): indices into `words` (C, D), negative where there is none, which to the generator is a vector of
    zeros. The three parts share their terms: the gradient of each is computed before any of them moves.
    """
    first = encoded[0]
    real, cells = first.features, shrunk(labels, first.features.shape[-2:])
    fake = parts.generator(looked_up(words, cells), first.code.detach())
    every = [*(each.features for each in encoded), maximum([each.features for each in encoded])]
    class_real = torch.stack([parts.classify(parts.discriminator(maps)[1], labels) for maps in every]).mean()
    is_real, (is_fake, fake_classes) = parts.discriminator(real)[0], parts.discriminator(fake)
    class_fake = parts.classify(fake_classes, cells)
    terms = {
        "real": real_loss(is_real, True, cells),
        "fake": real_loss(is_fake, False, cells),
        "fooled": parts.weights.fooled * real_loss(is_fake, True, cells),
        "class real": parts.weights.real * class_real,
        "class fake": parts.weights.fake * class_fake,
        "divergence": DIVERGENCE * first.context.divergence(cells >= 0),
        "discrepancy": CONTENT * run_discrepancy(fake, real.detach(), cells),
    }
    return Descents(
        discriminator=terms["real"] + terms["fake"] + terms["class real"] + terms["class fake"],
        backbone=terms["divergence"] + BACKBONE * class_real,
        generator=terms["fooled"] + terms["discrepancy"],
        terms=terms,
    )


def transfer_loss(labels: Tensor, words: Tensor, parts: Adversaries) -> Tensor:
    """Cross-entropy of features that are generated without any image, for the discriminator and the generator to weigh.

    labels int64 (B, h, w), drawn (`drawn_labels`); `words` (C, D) of all classes. Noise stands for the contextual code.
    """
    vectors = looked_up(words, labels)
    fake = parts.generator(vectors, torch.randn(vectors.shape, device=vectors.device).to(vectors.dtype))
    return parts.classify(parts.discriminator(fake)[1], labels)


def looked_up(words: Tensor, labels: Tensor) -> Tensor:
    """Word vectors (B, D, h, w) of labels int64 (B, h, w): `words` (C, D), and zeros where a label is negative."""
    table = torch.cat([words, words.new_zeros(1, words.shape[1])])
    return table[labels.clamp(min=-1)].movedim(-1, 1)


def drawn_labels(seen: Tensor, unseen_rate: float, size: Sequence[int]) -> Tensor:
    """Labels int64 of `size`, each drawn by itself; an unseen class is `1 + unseen_rate` times as likely as a seen one."""
    likely = torch.where(seen, 1.0, 1.0 + unseen_rate)
    count = int(torch.tensor(size).prod())
    return torch.multinomial(likely, count, replacement=True).reshape(tuple(size))


def ranked_labels(scores: Tensor, labels: Tensor, seen: Tensor, top: int) -> Tensor:
    """Labels int64 (B, h, w), and where they are negative the best unseen class among the `top` of scores (B, K, h, w).

    `seen` bool (C,), C <= K. Where no unseen class is among them the label is `IGNORE`; with `top` 1, one must win outright.
    """
    ranked = scores.topk(min(top, scores.shape[1]), dim=1).indices
    unseen = torch.cat([~seen, seen.new_zeros(scores.shape[1] - len(seen))])[ranked]
    first = unseen.int().argmax(1, keepdim=True)  # of equal values the first
    named = torch.where(unseen.any(1), ranked.gather(1, first)[:, 0], IGNORE)
    return torch.where(labels >= 0, labels, named)
