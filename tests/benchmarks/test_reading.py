"""Reading: images a second on one processor, beside the plainest PIL and NumPy loader, in one run.

pytest tests/benchmarks/test_reading.py --benchmark-only --benchmark-timer=time.process_time --benchmark-min-rounds=150

counts time on the processor, which other programs do not disturb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zsbench.data import Files, FolderDataset, LabelMap, Masks
from zsbench.dataset import IGNORE, EvalProtocol
from zsbench.evaluation.prediction import resize
from zsbench.utils.colours import voc_palette

SIZES = {"voc": (375, 500), "coco": (480, 640)}
COUNT = 16


class Photos(FolderDataset):
    """Smooth coloured noise as JPEGs of about 90 kB, blobs as palette PNGs."""

    name = "photos"
    classes = tuple(f"class {i}" for i in range(20))
    palette = voc_palette(20, first=1)
    splits = {
        "val": (
            Masks(
                files=(Files("images/{id}.jpg", "masks/{id}.png"),),
                labels=LabelMap.consecutive(20, first=1, ignored=(0, 255)),
            ),
        )
    }


@pytest.fixture(scope="module", params=SIZES)
def photos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    height, width = SIZES[request.param]
    root, rng = tmp_path_factory.mktemp(request.param), np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    colours = [channel for colour in voc_palette(256) for channel in colour]
    for number in range(COUNT):
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(root / f"images/{number}.jpg", quality=92)
        blobs = Image.fromarray(rng.integers(0, 21, (6, 8), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.NEAREST
        )
        blobs.putpalette(colours)
        blobs.save(root / f"masks/{number}.png")
    return Photos(root)


def plain_loader(root: Path, name: str) -> tuple[Any, Any]:
    """What a short script does."""
    table = np.full(256, IGNORE, np.int32)
    table[1:21] = np.arange(20)
    image = np.array(Image.open(root / f"images/{name}.jpg").convert("RGB"))
    return image, table[np.array(Image.open(root / f"masks/{name}.png"))]


def test_both_read_the_same(photos: Photos) -> None:
    for name in photos.ids("val"):
        sample, (image, label) = photos.read("val", name), plain_loader(photos.home, name)
        assert np.array_equal(sample.image, image) and np.array_equal(sample.label, label)


def each(read: Callable[[str], object], names: Iterator[str]) -> Callable[[], object]:
    return lambda: read(next(names))


@pytest.mark.parametrize("loader", ["zsbench", "plain PIL and NumPy"])
def test_images_a_second(photos: Photos, loader: str, benchmark: Any) -> None:
    names = cycle(photos.ids("val"))
    read = {"zsbench": lambda n: photos.read("val", n), "plain PIL and NumPy": lambda n: plain_loader(photos.home, n)}
    benchmark.group = f"one image with its label, {photos.home.name[:-1]} size"
    benchmark(each(read[loader], names))
    benchmark.extra_info["images per second"] = 1 / benchmark.stats.stats.median


@pytest.mark.parametrize("loader", ["zsbench", "plain PIL and NumPy"])
def test_masks_a_second(photos: Photos, loader: str, benchmark: Any) -> None:
    names = cycle(photos.ids("val"))
    table = np.full(256, IGNORE, np.int32)
    read: dict[str, Callable[[str], object]] = {
        "zsbench": lambda n: photos.label("val", n),
        "plain PIL and NumPy": lambda n: table[np.array(Image.open(photos.home / f"masks/{n}.png"))],
    }
    benchmark.group = f"one label, {photos.home.name[:-1]} size"
    benchmark(each(read[loader], names))


@pytest.mark.parametrize("loader", ["zsbench", "plain PIL and NumPy"])
def test_resized_images_a_second(photos: Photos, loader: str, benchmark: Any) -> None:
    """As a run reads them: the image at a short side of 512, in 0..1, channels first; the label as it is."""
    height, width = SIZES[photos.home.name[:-1]]
    size = (round(width * 512 / height), 512)

    def plain(name: str) -> object:
        image, label = plain_loader(photos.home, name)
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(resized, np.float32).transpose(2, 0, 1) / 255), label

    def ours(name: str) -> object:
        sample = photos.read("val", name)
        return resize(sample.image, EvalProtocol()), sample.label

    benchmark.group = f"one image at 512 px with its label, {photos.home.name[:-1]} size"
    benchmark(each(ours if loader == "zsbench" else plain, cycle(photos.ids("val"))))
