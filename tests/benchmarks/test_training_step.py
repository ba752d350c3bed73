"""One training step of ZegCLIP as released, 512 x 512: seconds, and the memory that it takes.

    python tests/benchmarks training_step

Batch 1 on a CPU; on CUDA the recipe's batch of 16, in float32 and bfloat16.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture

from zsbench.clip import load_clip
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.methods.zegclip.presets import PRESETS
from zsbench.recipe import Recipe
from zsbench.vocabulary import Vocabulary

VIT_B_16 = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1},  # not a part of it
}
SEEN = {"pascal-voc": 15, "coco-stuff": 156}
CASES = [("cpu", 1, "float32")]
if torch.cuda.is_available():
    CASES += [("cuda", 16, "float32"), ("cuda", 16, "bfloat16")]


@pytest.mark.parametrize("dataset", SEEN)
@pytest.mark.parametrize(("device", "batch", "way"), CASES)
def test_training_step(
    benchmark: BenchmarkFixture, device: str, batch: int, way: str, dataset: str, tmp_path: Path
) -> None:
    benchmark.group = f"ZegCLIP training step, {dataset}, 512 x 512, batch {batch}, {device}"
    path = tmp_path / "vit-b-16.json"
    path.write_text(json.dumps(VIT_B_16))
    method = ZegClip(load_clip(str(path), "random"), ZegClipOptions(**PRESETS[dataset].options)).train().to(device)
    count = SEEN[dataset]
    texts = F.normalize(torch.randn(count, 512), dim=-1).to(device)
    method.set_vocabulary(Vocabulary(tuple(map(str, range(count))), texts, torch.ones(count, dtype=torch.bool)))
    optimiser = torch.optim.AdamW(method.parameter_groups(Recipe()))
    images = torch.rand(batch, 3, 512, 512, device=device)
    labels = torch.randint(count, (batch, 512, 512), device=device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, getattr(torch, way), enabled=way != "float32"):
            loss = torch.stack(list(method.losses(images, labels).values())).sum()
        loss.backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(step, rounds=3 if device == "cpu" else 20, warmup_rounds=1)
    if device == "cuda":
        benchmark.extra_info["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    else:
        benchmark.extra_info["peak GB of the process so far"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
