"""What several benchmarks build: CLIP and ZegCLIP at their real size, with random weights, which cost the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.methods.zegclip.presets import PRESETS

VIT_B_16 = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1},  # not a part of it
}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A benchmark has the machine to itself, whatever the tests do."""
    config.option.numprocesses = 0


@pytest.fixture
def vit_b_16(tmp_path: Path) -> Callable[[], Clip]:
    """Builds CLIP with the image encoder ViT-B/16."""

    def build() -> Clip:
        path = tmp_path / "vit-b-16.json"
        path.write_text(json.dumps(VIT_B_16))
        return load_clip(str(path), "random")

    return build


@pytest.fixture
def zegclip(vit_b_16: Callable[[], Clip]) -> Callable[[str, int, str], ZegClip]:
    """Builds ZegCLIP on ViT-B/16 with a dataset's preset and so many classes, on a device."""

    def build(dataset: str, classes: int, device: str) -> ZegClip:
        torch.manual_seed(0)
        method = ZegClip(vit_b_16(), ZegClipOptions(**PRESETS[dataset].options)).to(device)
        texts = F.normalize(torch.randn(classes, 512), dim=-1).to(device)
        seen = torch.ones(classes, dtype=torch.bool)
        method.set_vocabulary(Vocabulary(tuple(map(str, range(classes))), texts, seen))
        return method

    return build
