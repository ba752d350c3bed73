"""Table 3 of the paper to four digits, counted as its own tool counts: operations traced by fvcore, attention included."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions

flop_count = pytest.importorskip("fvcore.nn")


class EncodeDecode(nn.Module):
    """The released test pass: masks resized to the image size it was trained for, and the scores to that of the window."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, images):
        size = images.shape[-2:]
        masks = F.interpolate(self.method.predict(images), size, mode="bilinear", align_corners=False)
        return F.interpolate(masks.sigmoid(), size, mode="bilinear", align_corners=False)


def attention(inputs, outputs):
    """Multiply-adds of fused attention, which fvcore has no rule for: scores and sums, for each head."""
    query, key = (value.type().sizes() for value in inputs[:2])
    return 2 * math.prod(query) * key[-2]


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "classes", "gmacs"), [("pascal-voc", 20, 110.40), ("coco-stuff", 171, 123.94)])
def test_table_3(meta_clip, monkeypatch, record_property, dataset, classes, gmacs):
    with torch.device("meta"):
        method = ZegClip(meta_clip, ZegClipOptions(**ZegClipOptions.presets[dataset].options)).eval()
    method = method.to_empty(device="cpu")  # tracing needs tensors; whatever is in them
    method.vocabulary = SimpleNamespace(embeddings=torch.zeros(classes, 512))
    monkeypatch.setattr(
        "zsbench.clip.vit.resize_positions", lambda positions, *_: positions
    )  # 512 px is their own size
    analysis = flop_count.FlopCountAnalysis(EncodeDecode(method), torch.zeros(1, 3, 512, 512))
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    total = analysis.total() / 1e9
    record_property("gmacs", total)
    assert total == pytest.approx(gmacs, rel=1e-3)
