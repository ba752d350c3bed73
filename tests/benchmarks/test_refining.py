"""Pixel-adaptive refinement of one image's scores, by themselves and as they lie in a batch, whose classes may be innermost.

python tests/benchmarks refining
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from zsbench.refining import Pamr

CLASSES, SIDE = 60, 96


@pytest.mark.parametrize("way", ["plain", "of a batch"])
def test_refining(benchmark: BenchmarkFixture, way: str) -> None:
    benchmark.group = f"PAMR, {CLASSES} classes, {SIDE} x {SIDE}, 10 iterations, float32"
    torch.manual_seed(0)
    pamr, image, maps = Pamr(), torch.rand(3, SIDE, SIDE), torch.rand(CLASSES, SIDE, SIDE)
    strided = maps.movedim(0, -1).contiguous().movedim(-1, 0)
    affinities = pamr.affinities(image)
    refined = benchmark(pamr.refine, maps if way == "plain" else strided, affinities)
    torch.testing.assert_close(refined, pamr.refine(maps, affinities), atol=0, rtol=0)
