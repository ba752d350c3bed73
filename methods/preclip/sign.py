"""SIGN: CaGNet that is told where a pixel lies, and that weighs its pseudo labels (Cheng et al., ICCV 2021)."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.dataset import UNLABELLED
from zsbench.registry import register_method
from zsbench.settings import Phase, TrainingView

from .adversaries import Classify
from .cagnet import SELF, CaGNet
from .contextual import Coder, Pyramid
from .labels import shrunk
from .options import SignOptions

SPAN = 511.0
"""The last position of an axis, however many cells it has: positions are relative to the image."""
SMALL = 1e-6

Spatial = Literal["1", "2", "2.1"]
"""The released `network_type`: 1 is its default, and which one the paper measured is not known. Types 3 to 8 (attention
between pixels) are not here: what the release calls their tensors is not known, so that they could not be compared."""


def positions(dim: int, height: int, width: int) -> Tensor:
    """Relative positional encoding float32 (dim, height, width): sines and cosines of x in the first half, of y after it."""
    half = dim // 2
    rates = torch.exp(torch.arange(0, half, 2, dtype=torch.float32) * -(math.log(10000.0) / half))
    columns, rows = (torch.linspace(0, SPAN, count, dtype=torch.float32)[:, None] * rates for count in (width, height))
    x, y = (torch.stack([axis.sin(), axis.cos()], -1).flatten(1).T for axis in (columns, rows))
    return torch.cat([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)])


class Residual(nn.Module):
    """h + r (type 1): the pyramid of CaGNet's contextual module once more, on where a pixel lies."""

    def __init__(self, dim: int, width: int = 256) -> None:
        super().__init__()
        self.pyramid = Pyramid(2 * dim, width, dim)

    def forward(self, maps: Tensor, placed: Tensor) -> Tensor:
        return maps + self.pyramid(placed)


class Gate(nn.Module):
    """h + h sigmoid(r) (types 2, 2.1): r is a code as CaGNet's, whose divergence nobody descends."""

    def __init__(self, dim: int, between: int, width: int = 256) -> None:
        super().__init__()
        self.coder = Coder(2 * dim, width, between, dim)

    def forward(self, maps: Tensor, placed: Tensor) -> Tensor:
        code = self.coder(placed)
        return maps + maps * (code.drawn() if self.training else code.mean).sigmoid()


class SpatialBranch(nn.Module):
    """What SIGN puts between DeepLab's map h (B, D, h, w) and the contextual module: a map of the same shape."""

    def __init__(self, dim: int, kind: Spatial = "1", width: int = 256) -> None:
        super().__init__()
        self.dim = dim
        between = dim if kind == "2.1" else width // 2
        self.branch: nn.Module = Residual(dim, width) if kind == "1" else Gate(dim, between, width)

    def forward(self, maps: Tensor) -> Tensor:
        place = positions(self.dim, *maps.shape[-2:]).to(maps)
        placed = torch.cat([maps.sigmoid(), place.expand(len(maps), -1, -1, -1)], 1)
        return self.branch(maps, placed)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights times cross-entropy over the sum of weights, at the size of the logits (B, C, h, w).

    labels int64 (B, H, W), negative where there is none; `weights` float (B, H, W).
    """
    size = logits.shape[-2:]
    labels, weights = shrunk(labels, size), shrunk(weights, size)
    weights = weights * (labels >= 0)
    each = F.cross_entropy(logits, labels.clamp(min=0), reduction="none")
    return (weights * each).sum() / (weights.sum() + SMALL)


def best_unseen(scores: Tensor, labels: Tensor, unseen: Tensor) -> Tensor:
    """Labels int64 (B, h, w); where `UNLABELLED` the best by `scores` (B, C, h, w) of the `unseen` classes, bool (C,)."""
    best = scores.masked_fill(~unseen[:, None, None], -torch.inf).argmax(1)
    return torch.where(labels == UNLABELLED, best, labels)


def annealed_weights(scores: Tensor, labels: Tensor, pseudo: Tensor, temperature: float) -> Tensor:
    """Weights float (B, h, w) of labels as described: 1 for real ones, for pseudo labels more where they are surer.

    softmax over an image's pixels of `temperature` times the probability of the pixel's pseudo label (over the channels of
    `scores`, (B, C, h, w); 0 where there is none), over its largest value. As released this is 0 for every pseudo label
    (`released_weights`).
    """
    sure = scores.softmax(1).gather(1, pseudo.clamp(min=0)[:, None])[:, 0]
    sure = torch.where((labels < 0) & (pseudo >= 0), sure, 0.0)
    soft = (temperature * sure).flatten(1).softmax(1).unflatten(1, sure.shape[1:])
    return torch.where(labels >= 0, 1.0, soft / (soft.amax((1, 2), keepdim=True) + SMALL))


def released_weights(labels: Tensor) -> Tensor:
    """Weights float (B, h, w) of labels as released: 1 where a label is real, 0 for every pseudo label.

    The code reads a pixel's confidence at its rank, then sets it to 0 on the pseudo-labelled pixels, and at last stores the
    weights as integers.
    """
    return (labels >= 0).float()


@register_method("sign")
class Sign(CaGNet):
    """CaGNet with positions, and annealed self-training; its hyper-parameters are CaGNet's (ICCV 2021).

    A re-implementation: the paper's configurations are not published. Annealed self-training does nothing as released, since
    every pseudo label gets weight 0; the variant `annealed` is what the paper describes. The teacher is a frozen copy.
    """

    Options = SignOptions
    options: SignOptions
    teacher: tuple[CaGNet, ...] = ()

    def spatial(self, width: int) -> nn.Module | None:
        options: SignOptions = self.options
        return None if options.spatial is None else SpatialBranch(options.dim, options.spatial, width)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        super().begin_phase(phase, view)
        self.teacher = (self.frozen_copy(),) if phase.name == SELF else ()

    def context_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All of the contextual module and of the spatial branch; weights of dilations learn at the backbone's rate."""
        parts = [each for each in (self.network.context, self.network.spatial) if each is not None]
        named = [found for part in parts for found in part.named_parameters()]
        slow = [each for name, each in named if "weigh." in name]
        return [each for name, each in named if "weigh." not in name], slow

    @torch.no_grad()
    def pseudo_labels(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Classify]:
        (teacher,) = self.teacher
        scores = teacher.scores(pixels)
        small = shrunk(labels, scores.shape[-2:])
        pseudo = best_unseen(scores, small, torch.cat([~self.seen, self.seen.new_zeros(1)]))
        if self.options.pseudo_weights == "released":
            weights = released_weights(small)
        else:
            weights = annealed_weights(scores, small, pseudo, self.options.temperature)
        return pseudo, partial(weighted_cross_entropy, weights=weights)
