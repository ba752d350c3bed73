"""Sums over the pixels of full-size mask logits, of which only a few classes are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Kind = Literal["focal", "bce"]
CHUNK = {"cpu": 2**20}
CHUNK_ELSEWHERE = 2**26
"""Full-size logits held at once (at least one class of the whole batch): what a cache holds, or enough to fill a GPU."""


class Sums(NamedTuple):
    """Float (B, C) each. With z the logit of a class, its sign turned where the class is the label, and q = sigmoid(z):

    `loss`, `label_loss`: of the unweighted pixelwise loss, q^2 softplus(z) (focal, gamma 2) or softplus(z) (bce), over all
    pixels and over those labelled so. `wrong`, `label_wrong`: of q, the probability given to the wrong side.
    """

    loss: Tensor
    label_loss: Tensor
    wrong: Tensor
    label_wrong: Tensor


def upsample(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (B, C, h, w) to `size`, as everywhere in zsbench."""
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def softplus(logits: Tensor) -> Tensor:
    """log(1 + exp(z)). On CPUs in a quarter of the time of `F.softplus`: its `log1p` is slow there, `log` is not."""
    if logits.device.type != "cpu":
        return F.softplus(logits)
    return logits.relu().sub_(logits.abs().sigmoid_().log_())


def pixel_sums(masks: Tensor, labels: Tensor, valid: Tensor | None, kind: Kind) -> Sums:
    """`Sums` of logits (B, C, h, w) upsampled to the size of `labels` int64 (B, H, W), negative where there is no label.

    `valid`: bool (B, H, W), the pixels that count; None for all.
    """
    return Sums(*cast(tuple[Tensor, ...], PixelSums.apply(masks, labels, valid, kind)))


class PixelSums(torch.autograd.Function):
    """Forward and backward each go over the classes chunk by chunk, upsampling anew: nothing of full size is kept."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, labels: Tensor, valid: Tensor | None, kind: Kind) -> tuple[Tensor, ...]:
        ctx.save_for_backward(masks, labels, valid)
        ctx.kind = kind
        parts = []
        for chunk in chunks(masks, labels):
            q, loss = chunk.logits.sigmoid(), softplus(chunk.logits)
            if kind == "focal":
                loss.mul_(q).mul_(q)
            if valid is not None:
                loss, q = loss * valid[:, None], q * valid[:, None]
            parts.append((loss.sum((2, 3)), chunk.label_sum(loss), q.sum((2, 3)), chunk.label_sum(q)))
        return tuple(torch.cat(sums, 1) for sums in zip(*parts, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        masks, labels, valid = ctx.saved_tensors
        results = []
        for chunk in chunks(masks, labels):
            of_loss, of_label_loss, of_wrong, of_label_wrong = (
                gradient[:, chunk.first : chunk.first + chunk.logits.shape[1], None, None] for gradient in gradients
            )
            q = chunk.logits.sigmoid()
            rest = 1 - q
            slope = q
            if ctx.kind == "focal":
                slope = softplus(chunk.logits).mul_(rest).mul_(2).add_(q).mul_(q).mul_(q)
            bend = rest.mul_(q)
            total = slope * of_loss + bend * of_wrong
            at_label = (
                total.gather(1, chunk.index)
                + chunk.at_label(slope, of_label_loss)
                + chunk.at_label(bend, of_label_wrong)
            )
            chunk.turn(total, at_label)
            if valid is not None:
                total *= valid[:, None]
            results.append(downsample(total, masks[:, : total.shape[1]].shape))
        return torch.cat(results, 1), None, None, None


@dataclass(frozen=True, eq=False)
class Chunk:
    """Classes `first`.. of a batch at full size.

    `logits`: (B, c, H, W), their sign turned where the class is the label. `index`: int64 (B, 1, H, W), the label's place
    among them, 0 where it is not one of them. `inside`: bool (B, 1, H, W), where it is.
    """

    first: int
    logits: Tensor
    index: Tensor
    inside: Tensor

    def turn(self, values: Tensor, at_label: Tensor) -> None:
        """In place, put `-at_label` (B, 1, H, W) at the labels of values (B, c, H, W)."""
        values.scatter_(1, self.index, torch.where(self.inside, -at_label, values.gather(1, self.index)))

    def label_sum(self, values: Tensor) -> Tensor:
        """Sum of values (B, c, H, W) over the pixels labelled so: (B, c)."""
        picked = (values.gather(1, self.index) * self.inside).flatten(1)
        return values.new_zeros(values.shape[:2]).scatter_add_(1, self.index.flatten(1), picked)

    def at_label(self, values: Tensor, factors: Tensor) -> Tensor:
        """Values (B, c, H, W) times factors (B, c, 1, 1), at the labels: (B, 1, H, W)."""
        factor = factors.flatten(1).gather(1, self.index.flatten(1)).view_as(self.index)
        return values.gather(1, self.index) * factor


def chunks(masks: Tensor, labels: Tensor) -> Iterator[Chunk]:
    """The classes of logits (B, C, h, w) at the size of `labels` (B, H, W), some at a time."""
    step = max(1, CHUNK.get(masks.device.type, CHUNK_ELSEWHERE) // labels.numel())
    size = (labels.shape[-2], labels.shape[-1])
    for first in range(0, masks.shape[1], step):
        logits = upsample(masks[:, first : first + step], size)
        if logits.shape[-2:] == masks.shape[-2:]:
            logits = logits.clone()  # at its own size, interpolation gives back the very tensor
        index = labels[:, None] - first
        inside = (index >= 0) & (index < logits.shape[1]) & (labels[:, None] >= 0)
        chunk = Chunk(first, logits, torch.where(inside, index, 0), inside)
        chunk.turn(logits, logits.gather(1, chunk.index))
        yield chunk


def downsample(gradient: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of `upsample`: from (B, c, H, W) to `shape` (B, c, h, w)."""
    size = [gradient.shape[-2], gradient.shape[-1]]
    result: Tensor = torch.ops.aten.upsample_bilinear2d_backward(gradient, size, list(shape), False, None, None)
    return result
