"""Labels of an image in one kernel: windows, scores, their mean, resizing and argmax; nothing but logits and labels exists.

The chunks of `zsbench.evaluation.argmax` write and read every score many times; here each lives in a register. Numbers are
those of the chunks up to rounding, so labels differ only where two classes come that near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from zsbench.evaluation.argmax import RunningMax, feed, row_weights
from zsbench.evaluation.tiling import Place, Tiling
from zsbench.method import Scoring


@dataclass(frozen=True)
class Axis:
    """The taps of each label position along an axis: T columns, those of a position first that count.

    `window`, `cell`, `after`: int64 (P, T), a window's number along the axis, a cell of its logits and the next one.
    `fraction`: float32 (P, T), the weight of `after` against `cell`. `share`: float32 (P, T), the weight of the tap's score
    in the position's; each row sums to 1.
    """

    window: Tensor
    cell: Tensor
    after: Tensor
    fraction: Tensor
    share: Tensor


def axis_taps(cells: int, window: int, starts: tuple[int, ...], length: int, positions: int) -> Axis:
    """Taps of `positions` of a label along an axis of a resized image.

    The image is `length` long; windows of `window` pixels and `cells` logits begin at `starts`, and cover it.
    """
    above, fraction = interpolation(length, positions)
    pixels = torch.stack([above, (above + 1).clamp_(max=length - 1)], dim=1)
    shares = torch.stack([1 - fraction, fraction], dim=1)
    inner_cell, inner_fraction = interpolation(cells, window)
    local = pixels[:, :, None] - torch.tensor(starts)
    inside = (local >= 0) & (local < window)
    share = (shares[:, :, None] * inside / inside.sum(2, keepdim=True)).flatten(1)
    order = share.sort(dim=1, descending=True, stable=True).indices[:, : int((share > 0).sum(1).max())]
    number = torch.arange(len(starts)).expand_as(local).flatten(1).gather(1, order)
    local = local.flatten(1).gather(1, order).clamp_(0, window - 1)
    cell = inner_cell[local]
    after = (cell + 1).clamp_(max=cells - 1)
    return Axis(number, cell, after, inner_fraction[local], share.gather(1, order))


def interpolation(length: int, positions: int) -> tuple[Tensor, Tensor]:
    """The place before each of `positions` of a bilinear interpolation, int64, and the weight of the next, float32."""
    if length == positions:
        return torch.arange(length), torch.zeros(length)
    return row_weights(length, positions)


def starts_of(places: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where windows begin along both axes: every one of the first with every one of the second, row by row."""
    return tuple(sorted({top for top, _ in places})), tuple(sorted({left for _, left in places}))


PIXELS = 128
"""Of a row, labelled by one program."""
CLASSES = 8
"""Scored together: addresses and weights of taps are looked up once for all of them."""


@triton.jit
def label_kernel(  # type: ignore[no-untyped-def]
    logits, class_bias, label, row_cells, row_weights, column_cells, column_weights, rows, columns, classes, plane, width,
    SIGMOID: tl.constexpr, BIASED: tl.constexpr, CLASSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Label a piece of one row. `*_cells`, `*_weights`: see `tables`; `rows`, `columns`: how many taps they have.

    `plane`: logits of a class in a window.
    """
    y = tl.program_id(1)
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    within = x < width
    best = tl.full((PIXELS,), float("-inf"), tl.float32)
    found = tl.zeros((PIXELS,), tl.int32)
    for first in range(0, classes, CLASSES):
        c = first + tl.arange(0, CLASSES)
        exists = (c < classes)[:, None]
        of_class = logits + (c.to(tl.int64) * plane)[:, None]
        score = tl.zeros((CLASSES, PIXELS), tl.float32)
        for j in range(columns):
            at = (x * columns + j) * 2
            share = tl.load(column_weights + at + 1, within, 0.0)
            if tl.max(share, 0) > 0:  # most pieces of a row lie under fewer windows than some do
                right = tl.load(column_weights + at, within, 0.0)[None, :]
                before = tl.load(column_cells + at, within, 0)[None, :]
                after = tl.load(column_cells + at + 1, within, 0)[None, :]
                for i in range(rows):
                    row = (y * rows + i) * 2
                    upper, lower = of_class + tl.load(row_cells + row), of_class + tl.load(row_cells + row + 1)
                    down = tl.load(row_weights + row)
                    top = tl.load(upper + before, exists) * (1 - right) + tl.load(upper + after, exists) * right
                    bottom = tl.load(lower + before, exists) * (1 - right) + tl.load(lower + after, exists) * right
                    value = top * (1 - down) + bottom * down
                    if SIGMOID:
                        value = 1 / (1 + tl.exp(-value))
                    score += value * (tl.load(row_weights + row + 1) * share)[None, :]
        if BIASED:
            score -= tl.load(class_bias + c, c < classes, 0.0)[:, None]
        highest, index = tl.max(tl.where(exists, score, float("-inf")), 0, return_indices=True)
        found = tl.where(highest > best, first + index, found)
        best = tl.maximum(best, highest)
    tl.store(label + y * width + x, found, within)


def try_on(device: torch.device) -> None:
    """Compile the kernel for `device` and compare its labels with those of the chunks.

    Raises `RuntimeError` where they differ, and whatever Triton does where it cannot be used.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 19, 4, 5, generator=generator).to(device)
    tiling, size, bias = Tiling((20, 30), (20, 20), ((0, 0), (0, 10))), (25, 35), torch.arange(19) % 2 * 0.1
    for scoring in (Scoring(), Scoring(sigmoid=True), Scoring(class_bias=bias), Scoring(True, bias)):
        best = RunningMax(size, device)
        feed(best, scoring, logits, tiling)
        agreement = float((fused_labels(logits, tiling, size, scoring) == best.label).float().mean())
        if agreement < 0.995:
            raise RuntimeError(
                f"the fused kernel agrees with the chunks on {agreement:.1%} of the pixels of a test image"
            )


def fused_labels(logits: Tensor, tiling: Tiling, size: Place, scoring: Scoring) -> Tensor:
    """The label map int32 `size` of one image, from the logits float32 (n, C, h, w) of its windows, finite.

    What `zsbench.evaluation.prediction.label_map` computes, on the device of `logits`, where a kernel of Triton can run.
    """
    if scoring.plain and len(tiling.places) == 1:
        tiling = Tiling(size, size, tiling.places)
    shape, device = tuple(logits.shape), logits.device
    rows, columns = tables(shape[2:], tiling, size, shape[1], device)
    class_bias = logits if scoring.class_bias is None else scoring.class_bias.to(logits)
    label = torch.empty(size, dtype=torch.int32, device=device)
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        label_kernel[(triton.cdiv(size[1], PIXELS), size[0])](
            logits.contiguous(), class_bias, label, *rows, *columns, rows[0].shape[1], columns[0].shape[1], shape[1],
            shape[2] * shape[3], size[1], scoring.sigmoid, scoring.class_bias is not None, CLASSES, PIXELS,
            enable_fp_fusion=True,
        )  # fmt: skip
    return label


@lru_cache(maxsize=256)
def tables(
    cells: Place, tiling: Tiling, size: Place, classes: int, device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For rows and for columns of a label: int64 (P, T, 2) and float32 (P, T, 2), of each tap of each position.

    The former are offsets into the logits of the tap's cell and of the next one, the latter the weight of the next one
    and the tap's share in the score.
    """
    tops, lefts = starts_of(tiling.places)
    window = classes * cells[0] * cells[1]
    steps = ((len(lefts) * window, cells[1]), (window, 1))  # from window to window, and from cell to cell
    found = []
    for side, (starts, (to_window, to_cell)) in enumerate(zip((tops, lefts), steps, strict=True)):
        axis = axis_taps(cells[side], tiling.window[side], starts, tiling.shape[side], size[side])
        offsets = axis.window * to_window + torch.stack([axis.cell, axis.after]) * to_cell
        weights = torch.stack([axis.fraction, axis.share], dim=2)
        found.append((offsets.permute(1, 2, 0).contiguous().to(device), weights.contiguous().to(device)))
    return found[0], found[1]
