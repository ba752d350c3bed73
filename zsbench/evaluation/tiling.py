"""The geometry of test images: their size, and the windows that slide over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zsbench.dataset import EvalProtocol

Place = tuple[int, int]
"""Top and left of a window, or height and width of an image."""


def resized_shape(height: int, width: int, protocol: EvalProtocol) -> Place:
    """Height and width after the protocol's resize: a square, or sides times one scale, rounded half up as mmcv does."""
    if protocol.stretch is not None:
        return protocol.stretch, protocol.stretch
    scale = 1.0 if protocol.short_side is None else protocol.short_side / min(height, width)
    if protocol.max_long_side is not None:
        scale = min(scale, protocol.max_long_side / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(image: NDArray[np.uint8], protocol: EvalProtocol) -> Tensor:
    """An image, uint8 (H, W, 3), at the protocol's size: float32 (3, H', W') in 0..1.

    Bilinear without antialiasing and with pixel centres aligned, which is the geometry of OpenCV's INTER_LINEAR.
    Two things differ from `cv2.resize` on uint8: OpenCV quantises its weights to 1/2048 and rounds the result to
    whole grey levels, here neither is rounded. Values differ by about half a grey level (0.002), seldom by more.
    """
    pixels = torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2).float().div_(255)
    shape = resized_shape(image.shape[0], image.shape[1], protocol)
    if shape != image.shape[:2]:  # with channels last, as here, it takes half the time
        pixels = F.interpolate(pixels, size=shape, mode="bilinear").clamp_(0, 1)
    return pixels[0].contiguous()


def scored_label(label: NDArray[np.int32], protocol: EvalProtocol) -> Tensor:
    """The label int32 (H, W) where it is scored: as it is, or on the protocol's grid."""
    if protocol.grid is None:
        return torch.tensor(label)
    height, width = label.shape[:2]
    size = resized_shape(height, width, protocol) if protocol.grid == "image" else (protocol.grid, protocol.grid)
    # exact in float64, where each cell has the pixel that floor(cell x side / cells) names, as cv2's and torch's nearest
    return F.interpolate(torch.tensor(label)[None, None].double(), size=size, mode="nearest")[0, 0].int()


@dataclass(frozen=True)
class Tiling:
    """An image covered by equal windows. `shape`, `window`: (height, width); `places`: (top, left) of each window."""

    shape: Place
    window: Place
    places: tuple[Place, ...]

    @classmethod
    def of(cls, shape: Place, protocol: EvalProtocol) -> Tiling:
        """The windows that a protocol slides over a resized image."""
        places = tuple(windows(*shape, protocol.crop, protocol.stride))
        bound = max(shape) if protocol.crop is None else protocol.crop
        return cls(shape, (min(bound, shape[0]), min(bound, shape[1])), places)

    def cut(self, image: Tensor, place: Place) -> Tensor:
        """A window's part of a tensor (..., H, W), as a view."""
        top, left = place
        return image[..., top : top + self.window[0], left : left + self.window[1]]

    def counts(self, device: torch.device) -> Tensor:
        """How many windows cover each pixel: float32 (H, W)."""
        counts = torch.zeros(self.shape, device=device)
        for place in self.places:
            self.cut(counts, place).add_(1)
        return counts


def windows(height: int, width: int, crop: int | None, stride: int | None) -> list[Place]:
    """Top-left corners of the windows over an image, row by row, as mmsegmentation slides them.

    Windows are `crop` high and wide, or as high or wide as the image where that is smaller (nothing is padded). The
    last of a row or column is shifted back inside. Without `crop` the image is one window.
    """
    if crop is None or stride is None:
        return [(0, 0)]
    return [(top, left) for top in starts(height, crop, stride) for left in starts(width, crop, stride)]


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Where the windows along one side begin."""
    last = max(length - crop, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]
