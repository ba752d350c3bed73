"""What training-free methods share, beside open_clip's own forward of the tower: the same computation, attention as trained.

    python tests/benchmarks dense

A method of the family costs this and what it does otherwise; with all blocks as trained nothing is otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.clip.tower import Tokens
from zsbench.methods.training_free.base import DenseClip, attended
from zsbench.methods.training_free.options import DenseOptions

CLASSES, SIDE = 20, 448


class AsTrained(DenseClip):
    """The last block attends as the others do, and keeps its residual and its feed-forward network."""

    residual = True

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tokens) -> Tensor:
        return attended(q, k, v)


def plain(visual: Any, texts: Tensor, mean: Tensor, std: Tensor) -> Callable[[Tensor], Tensor]:
    """The tower by open_clip's own modules, positions resized, and cosines of every patch (B, C, h, w)."""

    def forward(images: Tensor) -> Tensor:
        x = visual.conv1((images - mean) / std)
        height, width = x.shape[-2:]
        first, grid = visual.positional_embedding[:1], visual.positional_embedding[1:]
        side = round(len(grid) ** 0.5)
        grid = F.interpolate(grid.T.view(1, -1, side, side), (height, width), mode="bilinear", align_corners=False)
        positions = torch.cat([first, grid.flatten(2)[0].T])
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x.flatten(2).mT], 1) + positions
        x = visual.ln_post(visual.transformer(visual.ln_pre(x)))[:, 1:] @ visual.proj
        return (F.normalize(x, dim=-1) @ texts.T).mT.unflatten(-1, (height, width))

    return forward


@pytest.mark.parametrize("way", ["plain", "zsbench"])
def test_dense_forward(benchmark: BenchmarkFixture, way: str, vit_b_16: Callable[[], Clip]) -> None:
    benchmark.group = f"shared code of training-free methods, ViT-B/16, {SIDE} x {SIDE}, batch 1, float32"
    torch.manual_seed(0)
    clip = vit_b_16()
    method = AsTrained(clip, DenseOptions(positions="bilinear", padding="cut")).eval()
    texts = F.normalize(torch.randn(CLASSES, 512), dim=-1)
    method.set_vocabulary(Vocabulary(tuple(map(str, range(CLASSES))), texts, torch.ones(CLASSES, dtype=torch.bool)))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (clip.mean, clip.std))
    reference = plain(clip.model.visual, texts, mean, std)
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        cosines = benchmark(reference if way == "plain" else method.predict, images)
        torch.testing.assert_close(cosines, reference(images), atol=1e-5, rtol=1e-5)
