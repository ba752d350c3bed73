"""One training step of ZegCLIP as released, 512 x 512: seconds, and the memory that it takes.

    python tests/benchmarks training_step

Batch 1 on a CPU; on CUDA the recipe's batch of 16, in float32 and bfloat16.
"""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from zsbench.methods.zegclip.method import ZegClip
from zsbench.recipe import Recipe

SEEN = {"pascal-voc": 15, "coco-stuff": 156}
CASES = [("cpu", 1, "float32")]
if torch.cuda.is_available():
    CASES += [("cuda", 16, "float32"), ("cuda", 16, "bfloat16")]


@pytest.mark.parametrize("dataset", SEEN)
@pytest.mark.parametrize(("device", "batch", "way"), CASES)
def test_training_step(
    benchmark: BenchmarkFixture,
    device: str,
    batch: int,
    way: str,
    dataset: str,
    zegclip: Callable[[str, int, str], ZegClip],
) -> None:
    benchmark.group = f"ZegCLIP training step, {dataset}, 512 x 512, batch {batch}, {device}"
    count = SEEN[dataset]
    method = zegclip(dataset, count, device).train()
    optimiser = torch.optim.AdamW(method.parameter_groups(Recipe()))
    images = torch.rand(batch, 3, 512, 512, device=device)
    labels = torch.randint(count, (batch, 512, 512), device=device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, getattr(torch, way), enabled=way != "float32"):
            loss = method.losses(images, labels).total
        loss.backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(step, rounds=3 if device == "cpu" else 20, warmup_rounds=1)
    if device == "cuda":
        benchmark.extra_info["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        benchmark.extra_info["peak GB of the process so far"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
