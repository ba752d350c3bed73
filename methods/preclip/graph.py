"""The graph context of ZS3: regions of a label map as nodes, their contact as edges, two graph convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class RegionGraph:
    """Connected regions (8 neighbours) of a label map, in the raster order of their first cells.

    `labels` int64 (N,) of the regions; `first` int64 (N, 2): row and column of each one's first cell; `edges` float32
    (N, N): 1 where two regions touch, symmetric, without loops.
    """

    labels: Tensor
    first: Tensor
    edges: Tensor


def region_graph(labels: Tensor) -> RegionGraph:
    """The graph of a label map int64 (h, w); unlabelled regions are nodes, too."""
    array = labels.cpu().numpy()
    regions = _regions(array)
    _, first = np.unique(regions, return_index=True)
    rows, columns = np.divmod(first, array.shape[1])
    edges = np.zeros((len(first), len(first)), np.float32)
    for one, other in _contacts(regions):
        edges[one, other] = edges[other, one] = 1
    np.fill_diagonal(edges, 0)
    return RegionGraph(
        torch.from_numpy(array[rows, columns]), torch.from_numpy(np.stack([rows, columns], 1)), torch.from_numpy(edges)
    )


def _regions(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number (h, w) of each cell's region, counted in raster order."""
    regions, count = np.zeros(labels.shape, np.int64), 0
    for label in np.unique(labels):
        parts, found = ndimage.label(labels == label, NEIGHBOURS)
        regions += np.where(parts > 0, parts + count, 0)
        count += found
    _, first, inverse = np.unique(regions, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse.reshape(labels.shape)]


def _contacts(regions: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Numbers of the regions on both sides of every border: to the right, below, and along both diagonals."""
    return [
        (regions[:, :-1], regions[:, 1:]),
        (regions[:-1], regions[1:]),
        (regions[:-1, :-1], regions[1:, 1:]),
        (regions[:-1, 1:], regions[1:, :-1]),
    ]


class GraphConvolution(nn.Module):
    """A (X W) + b (Kipf and Welling), where the edges A are not normalised."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, out))
        self.bias = nn.Parameter(torch.full((out,), 0.01))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return edges @ (nodes @ self.weight) + self.bias


class GraphGenerator(nn.Module):
    """Features (N, out) of the nodes of a graph, from their words and noise (N, words + noise), and edges (N, N)."""

    def __init__(self, words: int, noise: int, out: int) -> None:
        super().__init__()
        self.noise = noise
        self.gcn1 = GraphConvolution(words + noise, 256)
        self.hidden = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.5))
        self.gcn2 = GraphConvolution(256, out)

    def forward(self, words: Tensor, edges: Tensor) -> Tensor:
        nodes = torch.cat([words, torch.rand(len(words), self.noise, device=words.device)], 1)
        return self.gcn2(self.hidden(self.gcn1(nodes, edges)), edges)
