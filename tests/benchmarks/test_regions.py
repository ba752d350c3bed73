"""CLIP's features of 100 proposals: cut and encoded in chunks on the device, beside one proposal after the other.

    python tests/benchmarks regions
    python -m pytest tests/benchmarks/test_regions.py -m slow     # ViT-B/16 on the CPU: twelve minutes of one core

The small CLIP is that of the miniature world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torchvision.ops import roi_align

import zsbench
from zsbench.clip.model import Clip, load_clip
from zsbench.methods.two_stage.regions import RegionEncoder, zegformer_crops, zsseg_crops

PROPOSALS, SIZE = 100, (480, 640)
CASES = [("small CLIP", "cpu"), pytest.param("ViT-B/16", "cpu", marks=pytest.mark.slow)]
if torch.cuda.is_available():
    CASES.append(("ViT-B/16", "cuda"))


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def made_up() -> tuple[Tensor, Tensor]:
    """An image (3, H, W), and blobs that overlap, bool (Q, H, W): 1 to 24 % of it each, most of them about 6 %."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, *SIZE, generator=generator)
    fine = F.interpolate(torch.randn(1, PROPOSALS, 6, 8, generator=generator), SIZE, mode="bilinear")[0]
    return image, fine > 0.5 * fine.amax((1, 2), keepdim=True)


def cut_zegformer(pixels: Tensor, mask: Tensor, side: int) -> Tensor:
    top, left, bottom, right = box(mask)
    edges = pixels.new_tensor([[0, left, top, right, bottom]])
    return roi_align((pixels * mask)[None], edges, side, sampling_ratio=-1, aligned=True)


def cut_zsseg(pixels: Tensor, mask: Tensor, side: int) -> Tensor:
    top, left, bottom, right = box(mask)
    part = (pixels * mask)[None, :, top : bottom + 1, left : right + 1]
    return F.interpolate(part, (side, side), mode="bicubic", align_corners=False)


def box(mask: Tensor) -> tuple[int, int, int, int]:
    """First and last row and column of a mask (H, W): top, left, bottom, right."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


STYLES = {"ZegFormer": (zegformer_crops, cut_zegformer), "zsseg": (zsseg_crops, cut_zsseg)}


def plain(clip: Clip, cut: Callable[[Tensor, Tensor, int], Tensor], image: Tensor, masks: Tensor) -> Tensor:
    """Each proposal masked, cut out, resized and encoded by itself: unit-norm features (Q, D)."""
    mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (clip.mean, clip.std))
    pixels = (image - mean) / std
    features = [clip.model.encode_image(cut(pixels, mask, clip.image_size)) for mask in masks]
    return F.normalize(torch.cat(features), dim=-1)


@pytest.mark.parametrize(("size", "device"), CASES)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("way", ["plain", "zsbench"])
def test_regions(
    benchmark: BenchmarkFixture, way: str, style: str, size: str, device: str, vit_b_16: Callable[[], Clip]
) -> None:
    benchmark.group = f"{PROPOSALS} proposals of {SIZE[0]} x {SIZE[1]}, {size}, as {style} cuts, {device}"
    home = zsbench.load_dataset("miniworld").defaults
    clip = vit_b_16() if size == "ViT-B/16" else load_clip(home.clip, home.weights)
    crop, cut = STYLES[style]
    encoder = RegionEncoder(clip, crop, None).to(device)  # and with it CLIP's image encoder
    image, masks = (each.to(device) for each in made_up())
    ways = {"plain": lambda: plain(clip, cut, image, masks), "zsbench": lambda: encoder(image, masks)}

    def call(chosen: str) -> Tensor:
        features = ways[chosen]()
        if device == "cuda":
            torch.cuda.synchronize()
        return features

    features = benchmark.pedantic(call, (way,), rounds=20 if device == "cuda" else 3)
    (other,) = ways.keys() - {way}
    torch.testing.assert_close(features, call(other), atol=1e-4, rtol=0)
