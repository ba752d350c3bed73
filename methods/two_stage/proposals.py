"""Stage 1 without learning: segments from a file, from the ground truth, or from a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.data.coco_results import Segments
from zsbench.errors import UserError
from zsbench.method import ImageBatch

from .geometry import padded_size


@dataclass(frozen=True, eq=False)
class Proposals:
    """Candidate segments of one image.

    `masks`: float32 (Q, H, W), probabilities 0..1, at the size of the padded image. `queries`: float32 (Q, width), the
    embeddings of a network's queries, or None where segments come without an opinion.
    """

    masks: Tensor
    queries: Tensor | None = None


def grid(images: Tensor, cells: int) -> Iterator[Proposals]:
    """Each image (B, 3, H, W) cut into `cells` x `cells` rectangles."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) * cells // height
    columns = torch.arange(width, device=images.device) * cells // width
    cell = rows[:, None] * cells + columns
    masks = F.one_hot(cell, cells * cells).permute(2, 0, 1)
    for _ in images:
        yield Proposals(_fit(masks, height, width))


def oracle(batch: ImageBatch) -> Iterator[Proposals]:
    """The segments of the ground truth, one for each class that is there: the upper bound of the second stage.

    Raises `UserError` where it is not known, and for sliding windows.
    """
    if batch.labels is None:
        raise UserError("oracle proposals are ground truth, which is known in `zsbench eval` and `run` only.")
    _check_whole(batch)
    for image, label in zip(batch.images, batch.labels, strict=True):
        classes = label.unique()
        masks = label.to(image.device) == classes[classes >= 0].to(image.device)[:, None, None]
        yield Proposals(_fit(masks, *image.shape[-2:]))


def from_file(batch: ImageBatch, segments: Mapping[str, Segments], source: str) -> Iterator[Proposals]:
    """The segments that a file lists for images. Raises `UserError` where it lacks one, or has another shape."""
    if batch.ids is None:
        raise UserError("proposals from a file belong to images with an id, which `zsbench eval` and `run` give.")
    _check_whole(batch)
    for image, image_id in zip(batch.images, batch.ids, strict=True):
        if image_id not in segments:
            some = ", ".join(list(segments)[:3])
            raise UserError(
                f"{source} has no proposals for image {image_id}. It has {len(segments)} images, such as {some}."
            )
        masks = segments[image_id].masks()
        height, width = image.shape[-2:]
        if not same_shape(masks.shape[-2:], (height, width)):
            raise UserError(
                f"{source}: the proposals for {image_id} are {masks.shape[-2]}x{masks.shape[-1]} pixels, not the shape of "
                f"the image ({height}x{width} after resizing). Were they made for other images, or for cropped ones?"
            )
        yield Proposals(_fit(masks.to(image.device), height, width))


def same_shape(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two sizes (h, w) can be the same image at two scales, each side rounded to a pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= (sum(one) + sum(other)) / 2


def _check_whole(batch: ImageBatch) -> None:
    if not batch.whole:
        raise UserError("these proposals need whole images, and the protocol slides a window over them.")


def _fit(masks: Tensor, height: int, width: int) -> Tensor:
    """Binary masks (Q, h, w) as float32 at the padded size of an image of `height` x `width`; padding belongs to none."""
    masks = masks.float()
    if masks.shape[-2:] != (height, width) and len(masks):
        masks = F.interpolate(masks[None], (height, width), mode="nearest")[0]
    masks = masks.reshape(len(masks), height, width)
    below, right = (padded - side for padded, side in zip(padded_size(height, width), (height, width), strict=True))
    return F.pad(masks, (0, right, 0, below))
