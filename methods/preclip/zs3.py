"""ZS3: features of unseen classes are generated from their words (Bucher et al., NeurIPS 2019; valeoai/ZS3, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zsbench.dataset import IGNORE

from .graph import GraphGenerator, RegionGraph, region_graph
from .mmd import discrepancy

VARIANCES = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
SAMPLES = 128
"""Pixels of a class in an image whose generated and real features are compared, drawn with replacement."""
NODE_WEIGHT = 0.1
"""Of the classifier's loss on the nodes of the graphs."""


class Generator(nn.Module):
    """Features (N, out) of pixels, from their words and noise (N, words + noise). Its dropout is always on."""

    def __init__(self, words: int, noise: int, out: int, hidden: int = 256) -> None:
        super().__init__()
        self.noise = noise
        self.model = nn.Sequential(
            nn.Linear(words + noise, hidden), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(hidden, out)
        )
        for layer in self.model:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.constant_(layer.bias, 0.01)

    def forward(self, words: Tensor) -> Tensor:
        """For words (N, words); the noise is uniform in 0..1, drawn anew for each row."""
        return self.model(torch.cat([words, torch.rand(len(words), self.noise, device=words.device)], 1))


Update = Callable[[str, Tensor], None]
"""Takes a step of the named optimiser by the gradient of a loss."""


def generate(
    generator: Generator, real: Tensor, labels: Tensor, words: Tensor, learn: Callable[[int], bool], update: Update
) -> Tensor:
    """Generated features (D, h, w) of an image whose real ones are `real` (D, h, w); zero where there is no label.

    Labels int64 (h, w); `words` (C, W). The generator takes a step, `update("generator", loss)`, for each class of which
    `learn` says so, after its features were made.
    """
    fake = torch.zeros_like(real)
    for label in torch.unique(labels[labels >= 0]).tolist():
        inside = labels == label
        made = generator(words[label].expand(int(inside.sum()), -1))
        if learn(label):
            pick = torch.randint(0, len(made), (SAMPLES,), device=made.device)
            update("generator", discrepancy(made[pick], real[:, inside].T[pick], VARIANCES))
        fake[:, inside] = made.detach().T.to(fake.dtype)
    return fake


def generate_nodes(
    generator: GraphGenerator, real: Tensor, labels: Tensor, words: Tensor, learn: bool, update: Update
) -> tuple[Tensor, RegionGraph] | None:
    """Generated features (N, D) of the regions of an image, with their graph; None for an image of one region.

    A region's real feature is that of its first cell. An unlabelled region is a node with the word of class 0.
    """
    graph = region_graph(labels)
    if len(graph.labels) < 2:
        return None
    device = real.device
    made = generator(words[graph.labels.clamp(min=0).to(device)], graph.edges.to(device))
    if learn:
        update("graph", discrepancy(made, first_cells(real, graph), VARIANCES))
    return made.detach(), graph


def first_cells(features: Tensor, graph: RegionGraph) -> Tensor:
    """Features (N, D) of the regions' first cells, of (D, h, w)."""
    rows, columns = graph.first.to(features.device).unbind(1)
    return features[:, rows, columns].T


def class_weights(seen: Tensor, unseen_weight: float) -> Tensor:
    """Of the classifier's cross-entropy, float (C,): 1 for the `seen`, bool (C,)."""
    return torch.where(seen, 1.0, unseen_weight)


def confident(probabilities: Tensor, labels: Tensor, share: float) -> Tensor:
    """Labels int64 (H, W) where the best of probabilities (C, H, W) is among the top `share` of the unlabelled pixels.

    ZS5's rule per image; already labelled pixels keep their label, all others get `IGNORE`. Which of the classes may be
    chosen is said by giving the others probability 0.
    """
    best, choice = probabilities.max(0)
    open_ = labels < 0
    if not open_.any():
        return labels
    count = max(1, round(share * int(open_.sum())))
    bound = best[open_].topk(count).values[-1]
    return torch.where(open_ & (best >= bound), choice, torch.where(open_, IGNORE, labels))
