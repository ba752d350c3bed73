"""CaGNet: features are generated from words and from codes of a pixel's context (Gu et al., ACM MM 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zsbench.dataset import IGNORE

from ..deeplab import SCALES, DeepLabV2, maximum, resized
from .contextual import Code, Context, contextual_feature
from .labels import cross_entropy, shrunk
from .mmd import discrepancy

VARIANCES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
WIDTHS, DROPOUTS = (1024, 960, 864, 784, 720), (0.1, 0.1, 0.3, 0.5, 0.5)
DIVERGENCE, CONTENT, BACKBONE = 100.0, 50.0, 0.5
"""Weights: of the code's divergence, of the discrepancy, and of the classifier's loss in the backbone's."""


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


@dataclass(frozen=True)
class Encoded:
    """Of one image size: features (B, D, h, w), the code they were made with, and its distribution."""

    features: Tensor
    code: Tensor
    context: Code


class Network(nn.Module):
    """DeepLab v2 whose features the contextual module strengthens. A code is drawn in training, else it is its mean.

    `spatial`: what SIGN puts between the two, a map to a map of the same shape.
    """

    def __init__(self, backbone: DeepLabV2, context: Context, spatial: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.context, self.spatial = backbone, context, spatial

    def forward(self, pixels: Tensor) -> Encoded:
        maps = self.backbone(pixels)
        maps = maps if self.spatial is None else self.spatial(maps)
        context = self.context(maps)
        code = context.drawn() if self.training else context.mean
        return Encoded(contextual_feature(maps, code), code, context)

    def scales(self, pixels: Tensor, scales: Sequence[float] = SCALES) -> list[Encoded]:
        """At each scale of the image (sides rounded down), each with a draw of its own."""
        height, width = pixels.shape[-2:]
        sizes = [(int(height * scale), int(width * scale)) for scale in scales]
        return [self(pixels if size == (height, width) else resized(pixels, size)) for size in sizes]


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
    """Of the classifier's losses in each part's: on real and on generated features, and on the latter in the generator's."""

    real: float = 1.0
    fake: float = 0.0
    generator: float = 0.0


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

    def judge(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's answer, for those who learn from it without teaching it."""
        constants = {name: tensor.detach() for name, tensor in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, constants, (features,))


@dataclass(frozen=True)
class Batch:
    """What one forward pass made of images: their features at each scale, what was generated, and labels of the cells.

    labels int64 (B, H, W) and `cells` int64 (B, h, w) at the features' size: an index into the words shown, or negative.
    """

    encoded: Sequence[Encoded]
    fake: Tensor
    labels: Tensor
    cells: Tensor

    @property
    def every(self) -> list[Tensor]:
        """Features at each scale, and their maximum."""
        maps = [each.features for each in self.encoded]
        return [*maps, maximum(maps)]

    @property
    def real(self) -> Tensor:
        """Features at the first scale, for those who do not teach the backbone."""
        return self.encoded[0].features.detach()


def batch_of(encoded: Sequence[Encoded], labels: Tensor, words: Tensor, generator: Generator) -> Batch:
    """`words` (C, D) of the labels int64 (B, H, W); a pixel without a label is given a vector of zeros."""
    first = encoded[0]
    cells = shrunk(labels, first.features.shape[-2:])
    return Batch(encoded, generator(looked_up(words, cells), first.code.detach()), labels, cells)


def backbone_losses(batch: Batch, parts: Adversaries) -> dict[str, Tensor]:
    """Of the backbone, the head and the contextual module."""
    classes = [parts.classify(parts.judge(maps)[1], batch.labels) for maps in batch.every]
    return {
        "divergence": DIVERGENCE * batch.encoded[0].context.divergence(batch.cells >= 0),
        "class": BACKBONE * parts.weights.real * torch.stack(classes).mean(),
    }


def generator_losses(batch: Batch, parts: Adversaries) -> dict[str, Tensor]:
    """Of the generator."""
    is_real, classes = parts.judge(batch.fake)
    return {
        "generator real": real_loss(is_real, True, batch.cells),
        "discrepancy": CONTENT * run_discrepancy(batch.fake, batch.real, batch.cells),
        "generator class": parts.weights.generator * parts.classify(classes, batch.cells),
    }


def discriminator_losses(batch: Batch, parts: Adversaries) -> dict[str, Tensor]:
    """Of the discriminator, which is the classifier."""
    classes = [parts.classify(parts.discriminator(maps.detach())[1], batch.labels) for maps in batch.every]
    is_fake, fake_classes = parts.discriminator(batch.fake.detach())
    return {
        "real": real_loss(parts.discriminator(batch.real)[0], True, batch.cells),
        "fake": real_loss(is_fake, False, batch.cells),
        "class real": parts.weights.real * torch.stack(classes).mean(),
        "class fake": parts.weights.fake * parts.classify(fake_classes, batch.cells),
    }


def transfer_losses(labels: Tensor, words: Tensor, parts: Adversaries) -> tuple[Tensor, Tensor]:
    """Cross-entropy of generated features without any image: of the discriminator, and of the generator.

    labels int64 (B, h, w), drawn (`drawn_labels`); `words` (C, D) of all classes. Noise stands for the contextual code.
    """
    vectors = looked_up(words, labels)
    fake = parts.generator(vectors, torch.randn(vectors.shape, device=vectors.device).to(vectors.dtype))
    return parts.classify(parts.discriminator(fake.detach())[1], labels), parts.classify(parts.judge(fake)[1], labels)


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
