"""Training augmentation after mmsegmentation 0.24: random scale, crop with a category limit, flip, photometric distortion.

Each function takes its randomness from a NumPy generator, so that a training sample is a function of (seed, sample number)
alone, however many processes read.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from zsbench.dataset import IGNORE, Sample
from zsbench.recipe import Recipe

CROP_ATTEMPTS = 10
"""Crops that are looked at; after as many the next is taken as it is, as in mmsegmentation."""
BLUR_SIDE = 7
"""Of the kernel: three deviations of a pixel to each side."""


def augment(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """`(image, label)`: float32 (3, *crop_size) in 0..1 and int64 `crop_size`; padding has its colour and is `IGNORE`."""
    image = torch.from_numpy(sample.image).permute(2, 0, 1)
    label = torch.from_numpy(sample.label)
    image, label = random_scale(image, label, recipe, rng)
    if recipe.pad == "centre" and recipe.short_side is not None:  # as releases that warp: a crop may lie in the padding
        image, label = pad(as_floats(image), label, (recipe.short_side, recipe.short_side), recipe)
    image, label = random_crop(image, label, recipe, rng)
    if rng.random() < recipe.flip:
        image, label = image.flip(-1), label.flip(-1)
    floats = as_floats(image)
    if recipe.photometric:
        floats = photometric_distortion(floats, rng)
    if recipe.blur and rng.random() < recipe.blur:
        floats = V.gaussian_blur(floats, [BLUR_SIDE, BLUR_SIDE], [rng.uniform(1e-3, 1)])
    return pad(floats, label.long(), recipe.crop_size, recipe)


def as_floats(image: Tensor) -> Tensor:
    """float32 in 0..1 of uint8; what is float already stays."""
    return image if image.is_floating_point() else image.float() / 255


def random_scale(image: Tensor, label: Tensor, recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Resize so that the short side is `short_side` times a random factor, the long side bounded likewise; or both are."""
    height, width = image.shape[-2:]
    factor, side = rng.uniform(*recipe.scale), recipe.short_side
    if recipe.stretch and side is not None:
        height = width = side
    elif side is not None:
        factor *= min(side / min(height, width), recipe.long_side / max(height, width))
    size = [max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))]
    if size == list(image.shape[-2:]):
        return image, label
    resized = V.resize(image, size, antialias=False)
    nearest = F.interpolate(label[None, None].float(), size, mode="nearest")[0, 0]
    return resized, nearest.to(label.dtype)


def random_crop(image: Tensor, label: Tensor, recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A random window of `crop_size`, redrawn while a class covers more than `category_limit` of what is labelled in it."""
    height, width = label.shape
    side_h, side_w = map(min, recipe.crop_size, (height, width))
    for _ in range(CROP_ATTEMPTS + 1):
        top, left = int(rng.integers(height - side_h + 1)), int(rng.integers(width - side_w + 1))
        window = label[top : top + side_h, left : left + side_w]
        if recipe.category_limit == 1 or _largest_share(window.numpy()) < recipe.category_limit:
            break
    return image[:, top : top + side_h, left : left + side_w], window


def _largest_share(label: NDArray[np.int32]) -> float:
    """Share of the commonest class among labelled pixels; 1 where there is at most one class."""
    _, counts = np.unique(label[label != IGNORE], return_counts=True)
    return float(counts.max() / counts.sum()) if len(counts) > 1 else 1.0


def photometric_distortion(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness +-32/255, contrast and saturation 0.5..1.5, hue +-0.1 turns, each with probability one half.

    Contrast here is a plain factor (as in mmsegmentation), drawn before or after the colour changes.
    """

    def chance() -> bool:
        return bool(rng.random() < 0.5)

    if chance():
        image = (image + rng.uniform(-32, 32) / 255).clamp(0, 1)
    contrast_first = chance()
    if contrast_first and chance():
        image = (image * rng.uniform(0.5, 1.5)).clamp(0, 1)
    if chance():
        image = V.adjust_saturation(image, rng.uniform(0.5, 1.5))
    if chance():
        image = V.adjust_hue(image, rng.uniform(-0.1, 0.1))
    if not contrast_first and chance():
        image = (image * rng.uniform(0.5, 1.5)).clamp(0, 1)
    return image


def pad(image: Tensor, label: Tensor, size: tuple[int, int], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Fill up to that height and width, where it is larger: at the right and the bottom, or all around. Images are float."""
    free_h, free_w = (max(0, side - length) for side, length in zip(size, label.shape, strict=True))
    if not free_h and not free_w:
        return image, label
    top, left = (free_h // 2, free_w // 2) if recipe.pad == "centre" else (0, 0)
    around = (left, free_w - left, top, free_h - top)
    label = F.pad(label, around, value=IGNORE)
    canvas = torch.tensor(recipe.pad_colour)[:, None, None].repeat(1, *label.shape)
    canvas[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return canvas, label
