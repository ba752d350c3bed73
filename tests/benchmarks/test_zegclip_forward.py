"""ZegCLIP's forward pass beside a plain eager statement of the released computation, with the same weights.

    python tests/benchmarks zegclip

On CUDA also in bfloat16 and compiled, with the share of pixels whose best class is that of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from zsbench.methods.zegclip.method import ZegClip

CLASSES = {"pascal-voc": 20, "coco-stuff": 171}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
Forward = Callable[[Tensor], Tensor]
Build = Callable[[str, int, str], ZegClip]


class ReleasedCheckpoint:
    """The released computation with plain modules of torch, all of it: also what no output depends on."""

    def __init__(self, method: ZegClip) -> None:
        self.encoder, self.decoder, self.project = method.encoder, method.decoder, method.descriptor.projection
        self.texts = method.vocabulary.embeddings

    def __call__(self, images: Tensor) -> Tensor:
        """Mask logits (B, C, h, w)."""
        image, patches = self.encode(images)
        queries = torch.cat([self.texts * image[:, None], self.texts.expand(len(images), -1, -1)], -1)
        masks = self.decode(self.project(queries), patches)
        side = images.shape[-1] // 16
        return masks.unflatten(-1, (side, side))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        encoder, prompts = self.encoder, self.encoder.prompts
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (encoder.mean, encoder.std))
        x = encoder.conv1((images - mean) / std).flatten(2).transpose(1, 2)
        first = (2 * encoder.class_embedding).expand(len(x), 1, -1)
        x = encoder.ln_pre(torch.cat([first, x], 1) + encoder.positional_embedding)
        count, patches = prompts.embeddings.shape[1], x.shape[1] - 1
        for index, block in enumerate(encoder.blocks):
            prompt = prompts.projection(prompts.embeddings[index]).expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], prompt, x[:, -patches:]], 1)
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False)[0]
            hidden = block.mlp.c_fc(block.ln_2(x))
            x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        assert x.shape[1] == 1 + count + patches
        x = encoder.ln_post(prompts.norm(x)) @ encoder.proj
        x = x / x.norm(dim=-1, keepdim=True)
        return x[:, 0], x[:, -patches:]

    def decode(self, queries: Tensor, patches: Tensor) -> Tensor:
        layers = list(self.decoder.layers)
        for number, layer in enumerate(layers):
            attention = layer.attention
            heads, size = attention.heads, queries.shape[-1] // attention.heads
            q = attention.q(queries).unflatten(-1, (heads, size)).transpose(1, 2)
            k = attention.k(patches).unflatten(-1, (heads, size)).transpose(1, 2)
            scores = q @ k.transpose(-2, -1) * size**-0.5
            masks = scores.mean(1)
            # the released last layer goes on like the others; ours has no parameters for it, those of the first stand in
            rest = layers[0] if number == len(layers) - 1 else layer
            v = rest.attention.v(patches).unflatten(-1, (heads, size)).transpose(1, 2)
            gathered = rest.attention.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            queries = rest.norm2(queries + gathered)
            queries = rest.norm3(queries + rest.linear2(F.relu(rest.linear1(queries))))
        return masks


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def finished(forward: Forward, device: str) -> Forward:
    """`forward`, waiting for the device."""

    def call(images: Tensor) -> Tensor:
        masks = forward(images)
        if device == "cuda":
            torch.cuda.synchronize()
        return masks

    return call


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch", [1, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dataset", CLASSES)
@pytest.mark.parametrize("way", ["plain", "zsbench"])
def test_forward(benchmark: BenchmarkFixture, way: str, dataset: str, batch: int, device: str, zegclip: Build) -> None:
    benchmark.group = f"ZegCLIP forward, {dataset}, 512 x 512, batch {batch}, {device} float32"
    method = zegclip(dataset, CLASSES[dataset], device).eval()
    images = torch.rand(batch, 3, 512, 512, device=device)
    plain = ReleasedCheckpoint(method)
    masks = benchmark(finished(plain if way == "plain" else method.predict, device), images)
    torch.testing.assert_close(masks, plain(images), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dataset", CLASSES)
@pytest.mark.parametrize("way", ["plain", "zsbench bfloat16", "zsbench bfloat16 compiled"])
def test_throughput(benchmark: BenchmarkFixture, way: str, dataset: str, zegclip: Build) -> None:
    """Batch 16; `agreement` is the share of patches with the class of float32."""
    benchmark.group = f"ZegCLIP throughput, {dataset}, 512 x 512, batch 16, cuda"
    method = zegclip(dataset, CLASSES[dataset], "cuda").eval()
    images = torch.rand(16, 3, 512, 512, device="cuda")
    plain = ReleasedCheckpoint(method)
    forward: Forward = plain if way == "plain" else method.predict
    if way.endswith("compiled"):
        forward = torch.compile(forward, mode="max-autotune-no-cudagraphs")
    with torch.autocast("cuda", torch.bfloat16, enabled=way != "plain"):
        masks = benchmark.pedantic(finished(forward, "cuda"), (images,), rounds=20, warmup_rounds=5)
    benchmark.extra_info["agreement"] = float((masks.argmax(1) == plain(images).argmax(1)).float().mean())
