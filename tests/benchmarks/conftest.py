"""What several benchmarks build: ZegCLIP at its real size, with random weights, which cost the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from zsbench.clip import load_clip
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.methods.zegclip.presets import PRESETS
from zsbench.vocabulary import Vocabulary

VIT_B_16 = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1},  # not a part of it
}


@pytest.fixture
def zegclip(tmp_path: Path) -> Callable[[str, int, str], ZegClip]:
    """Builds ZegCLIP on ViT-B/16 with a dataset's preset and so many classes, on a device."""

    def build(dataset: str, classes: int, device: str) -> ZegClip:
        path = tmp_path / "vit-b-16.json"
        path.write_text(json.dumps(VIT_B_16))
        torch.manual_seed(0)
        method = ZegClip(load_clip(str(path), "random"), ZegClipOptions(**PRESETS[dataset].options)).to(device)
        texts = F.normalize(torch.randn(classes, 512), dim=-1).to(device)
        seen = torch.ones(classes, dtype=torch.bool)
        method.set_vocabulary(Vocabulary(tuple(map(str, range(classes))), texts, seen))
        return method

    return build
