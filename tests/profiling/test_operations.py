"""Multiply-adds: the textbook numbers, with attention counted under every mode of torch, or an error."""

from __future__ import annotations

from dataclasses import replace

import open_clip
import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.method import Method, Options
from zsbench.profiling import count_macs, count_operations
from zsbench.profiling.cost import Workload
from zsbench.profiling.operations import REST
from zsbench.profiling.parameters import text_tower, total


@pytest.fixture(scope="module")
def vit():
    """CLIP ViT-B/16 without any numbers in it: enough to count."""
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config("ViT-B-16")).eval()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_the_image_tower_of_clip_has_35_13_gflops(vit, mode):
    images = torch.empty(1, 3, 224, 224, device="meta")
    with mode():
        counted = count_operations(lambda: vit.encode_image(images), vit)
    assert 2 * counted.gmacs == pytest.approx(35.13, abs=5e-3)
    assert counted.modules == {"visual": counted.gmacs} and not counted.uncounted


def test_parameters_of_clip_by_tower(vit):
    clip = Clip("ViT-B-16", vit, None, (0, 0, 0), (1, 1, 1), None, {})
    assert total(text_tower(clip)) == 63_428_096
    assert total(vit.visual.parameters()) == 86_192_640
    assert total([vit.proj for vit in [vit.visual, vit.visual]]) == 768 * 512  # each tensor once


TOKENS, WIDTH, HIDDEN = 10, 16, 32
ENCODER_MACS = TOKENS * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN) + 2 * TOKENS**2 * WIDTH


@pytest.fixture
def encoder():
    return nn.TransformerEncoderLayer(WIDTH, 2, HIDDEN, batch_first=True).eval()


def test_the_fast_path_of_transformers_is_counted(encoder):
    tokens = torch.rand(1, TOKENS, WIDTH)
    with torch.inference_mode():
        assert count_macs(lambda: encoder(tokens)) * 1e9 == ENCODER_MACS
    assert torch.backends.mha.get_fastpath_enabled()


def test_attention_without_a_formula_fails(encoder):
    def forced():
        torch.backends.mha.set_fastpath_enabled(True)
        return encoder(torch.rand(1, TOKENS, WIDTH))

    with pytest.raises(UserError, match="_transformer_encoder_layer_fwd, which has no formula"):
        count_macs(forced)


@torch.library.custom_op("zsbench_test::flash_fwd", mutates_args=())
def fast_kernel(tokens: torch.Tensor) -> torch.Tensor:
    return tokens @ tokens.mT


@torch.library.custom_op("zsbench_test::other", mutates_args=())
def other_kernel(tokens: torch.Tensor) -> torch.Tensor:
    return tokens + 1


def test_attention_of_other_libraries_fails_and_their_other_operations_are_named():
    with pytest.raises(UserError, match=r"zsbench_test\.flash_fwd"):
        count_macs(lambda: fast_kernel(torch.rand(4, 4)))
    boxes = [torch.tensor([[0.0, 0, 4, 4]])]
    counted = count_operations(lambda: roi_align(other_kernel(torch.rand(1, 3, 8, 8)), boxes, 4))
    assert counted.uncounted == ("torchvision.roi_align", "zsbench_test.other") and counted.gmacs == 0


class Layers(Method):
    """A layer called as it is, the inside of another, and a product outside of both."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.options = Options()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Sequential(nn.Conv2d(4, 5, 1))
        self.vocabulary = Vocabulary(("a", "b"), torch.rand(2, 5), torch.tensor([True, False]))

    def predict(self, images):
        return torch.einsum("bdhw,cd->bchw", self.second[0](self.first(images)), self.vocabulary.embeddings)


def test_a_matrix_times_a_vector_is_counted():
    matrix, vector, other = torch.rand(6, 5), torch.rand(5), torch.rand(6)
    counted = count_operations(lambda: (matrix @ vector, torch.addmv(other, matrix, vector), vector @ vector))
    assert counted.gmacs * 1e9 == pytest.approx(2 * 6 * 5 + 5)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: torch.nn.LSTM(4, 4)(torch.rand(3, 2, 4)), "rnn"),
        (lambda: torch.cdist(torch.rand(3, 4), torch.rand(3, 4)), "_cdist_forward"),
        (lambda: torch.nn.Bilinear(3, 3, 2)(torch.rand(1, 3), torch.rand(1, 3)), "_trilinear"),
        (lambda: torch.sparse.mm(torch.eye(3).to_sparse(), torch.rand(3, 2)), "_sparse_addmm"),
    ],
)
def test_what_multiplies_and_is_not_counted_is_named(call, name):
    (named,) = count_operations(call).uncounted
    assert name in named


def test_what_each_top_level_module_and_the_rest_computes():
    counted = count_operations(lambda: method.predict(torch.rand(1, 3, 10, 10)), method := Layers())
    macs = {name: round(count * 1e9) for name, count in counted.modules.items()}
    assert macs == {"first": 1200, "second": 2000, REST: 1000}
    assert sum(counted.modules.values()) == pytest.approx(counted.gmacs)


def test_all_windows_are_counted():
    protocol = EvalProtocol(short_side=None, crop=10, stride=8)
    work = Workload(Layers(), protocol, (10, 25), torch.device("cpu"))
    assert len(work.tiling.places) == 3
    assert count_macs(work.windows(1)) * 1e9 == 3 * 4200
    assert count_macs(work.whole(2)) * 1e9 == 2 * 3 * 4200
    thresholded = Workload(Layers(), replace(protocol, background_threshold=0.99), (10, 25), torch.device("cpu"))
    assert count_macs(thresholded.whole(1)) * 1e9 == 3 * 4200  # pixels of background are counted, too
