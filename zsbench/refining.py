"""Refining scores by the image itself: what a method may declare and the harness carries out, class by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


@dataclass(frozen=True)
class Pamr:
    """Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, section 3.3).

    Every pixel takes the mean of its neighbours' scores, those of like colour first, `iterations` times. Neighbours are
    the 8 pixels around it at each of the distances `dilations`. Classes do not mix, so they can come in chunks.
    """

    iterations: int = 10
    dilations: tuple[int, ...] = (8, 16)

    def affinities(self, image: Tensor) -> Tensor:
        """How much of each neighbour a pixel takes: float32 (8 x dilations, H, W), adding up to 1.

        `image`: float (3, H, W), of any scale and offset in each channel: differences are measured in deviations of the
        neighbourhood.
        """
        image = image.float()
        around = torch.stack(list(shifted(image, self.dilations)))
        deviation = torch.cat([around, image.expand(len(self.dilations), -1, -1, -1)]).std(0)
        likeness = -(image - around).abs() / (1e-8 + 0.1 * deviation)
        return likeness.mean(1).softmax(0)

    def refine(self, scores: Tensor, affinities: Tensor) -> Tensor:
        """Scores float32 (c, H, W) of some classes, refined by the `affinities` of an image of that size."""
        scores = scores.contiguous()  # those of one image in a batch may not be, and every step would stride
        for _ in range(self.iterations):
            total = torch.zeros_like(scores)
            for weight, neighbour in zip(affinities, shifted(scores, self.dilations), strict=True):
                total.addcmul_(weight, neighbour)
            scores = total
        return scores


@dataclass(frozen=True)
class Refining:
    """What happens to a method's scores at the label's size before they become labels.

    `pamr`: propagation by the image's colours. `area_threshold`: classes with no more than this share of the pixels of all
    classes but background are dropped, and the best of the others takes their place.
    """

    pamr: Pamr | None = None
    area_threshold: float | None = None


def shifted(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Each pixel's neighbours in turn, for maps (c, H, W); beyond the border, the border goes on."""
    reach, (height, width) = max(dilations), maps.shape[-2:]
    padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    for distance in dilations:
        for y, x in AROUND:
            top, left = reach + y * distance, reach + x * distance
            yield padded[:, top : top + height, left : left + width]
