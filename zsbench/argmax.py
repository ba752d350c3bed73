"""Argmax over classes of upsampled scores without ever holding them all: bit-identical, in bounded memory.

The plain way, `F.interpolate(logits, size).argmax(0)`, needs 4.5 GiB for 847 classes at 1024 x 1376, and spends most
of its time moving memory. Bilinear interpolation works on each class alone, so classes can come in chunks, with a
running maximum. A strict comparison gives ties to the lowest class, as `torch.argmax` and `numpy.argmax` do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.windows import Place

CHUNK_BYTES = 16 * 2**20
"""Size of one float32 buffer of a chunk: small enough for the allocator to reuse it and for caches to help."""
VECTOR = 16
"""Chunks begin at multiples of the widest vector of float32: for small outputs `F.interpolate` takes channels in
vectors, and rounds those left over differently. For up to three channels it may take yet another kernel."""
STRIP_BYTES = 2 * 2**20
"""Size of the scores of a strip of rows in `by_rows`, about a core's cache."""
ROWS_BYTES = 384 * 2**20
"""Most memory that `by_rows` may use; beyond, classes are taken in chunks."""
ROWS_SIDE = 256
"""Least height and width for `by_rows`: small outputs (up to 128 for both together) have a kernel of their own."""
ROUNDING = 32 * 2.0**-24
"""Bound on the difference of two computations of one bilinear score, relative to the largest logit: each of them
rounds less than ten times, and a comparison has two sides."""


class RunningMax:
    """Highest score and its class so far, for every pixel; feed chunks of classes in ascending order."""

    def __init__(self, shape: Place, device: torch.device) -> None:
        self.score = torch.full(shape, -torch.inf, device=device)
        self.label = torch.zeros(shape, device=device)  # float32 holds class indices exactly, and is fast

    def update(self, scores: Tensor, first: int) -> None:
        """Take in scores, float32 (k, H, W), of the classes from `first` on. Overwrites `scores`."""
        score, index = (flat.view_as(self.score) for flat in first_max(scores.flatten(1)))
        before = self.score
        self.score = torch.maximum(before, score)
        # A later class has a higher index, so a maximum selects it; unlike `torch.where` it is vectorised.
        self.label = torch.maximum(self.label, score.gt_(before).mul_(index.add_(first)))


def first_max(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over dimension 0 of float32 (k, n), and the lowest index that has it, as float32. Overwrites `scores`.

    The same as `scores.max(0)`, which on a CPU takes about ten times as long: its reduction over a leading
    dimension is not vectorised.
    """
    if scores.device.type != "cpu":
        score, index = scores.max(0)
        return score, index.float()
    score = scores.amax(0)
    ranks = torch.arange(len(scores), 0, -1, dtype=torch.float32)
    return score, len(scores) - scores.ge_(score).mul_(ranks[:, None]).amax(0)


def matching(scores: Tensor, threshold: Tensor) -> Tensor:
    """Which class of float32 (k, n) reaches `threshold` (n,): float32 (n,), `base(k) + class`.

    `2 * base(k)` or more where several do. `scores` becomes 1 where the threshold is reached, else 0.
    """
    codes = torch.arange(len(scores), dtype=torch.float32) + base(len(scores))
    return torch.mv(scores.ge_(threshold).t(), codes)


def base(classes: int) -> int:
    """A power of two above all class indices."""
    return 1 << classes.bit_length()


def class_chunks(classes: int, pixels: int, chunk: int | None = None) -> list[slice]:
    """Consecutive slices of `classes`, of `chunk` each or of as many as `CHUNK_BYTES` holds for so many pixels.

    They begin at multiples of `VECTOR`, and none has less than four classes if there are as many.
    """
    size = -(-(chunk or CHUNK_BYTES // (4 * pixels)) // VECTOR) * VECTOR
    begins = [0, *range(max(size, VECTOR), classes - 3, max(size, VECTOR))]
    return [slice(begin, end) for begin, end in zip(begins, [*begins[1:], classes], strict=True)]


def upsampled_argmax(logits: Tensor, size: Place, chunk: int | None = None) -> Tensor:
    """`F.interpolate(logits, size, mode="bilinear").argmax(0)`, bit-identical: float32 (H, W).

    `logits`: float32 (C, h, w), finite. `chunk`: classes at a time, by default from a byte budget.
    """
    rows, columns = logits.shape[1:]
    bounded = 4 * len(logits) * rows * size[1] <= ROWS_BYTES
    large = min(size) >= ROWS_SIDE and min(rows, columns) > 1 and 2 * rows <= size[0]
    if logits.device.type == "cpu" and bounded and large:
        return by_rows(logits, size, chunk)
    return by_chunks(logits, size, chunk)


def by_chunks(logits: Tensor, size: Place, chunk: int | None = None) -> Tensor:
    """`upsampled_argmax`, a chunk of classes at a time."""
    best = RunningMax(size, logits.device)
    for part in class_chunks(len(logits), size[0] * size[1], chunk):
        best.update(F.interpolate(logits[None, part].contiguous(), size=size, mode="bilinear")[0], part.start)
    return best.label


def by_rows(logits: Tensor, size: Place, chunk: int | None = None) -> Tensor:
    """`upsampled_argmax`, a strip of rows at a time.

    Rows are widened by `F.interpolate`; between two of them the scores are linear, and a strip of them stays in the
    cache. That sum may be rounded unlike the one in `F.interpolate`. Where a second class comes that near to the best
    (a few pixels of an image), the columns of those pixels are computed again, by `F.interpolate` alone.
    """
    classes, rows, _ = logits.shape
    wide = F.interpolate(logits.transpose(0, 1)[:, :, None].contiguous(), size=(1, size[1]), mode="bilinear")
    wide = wide[:, :, 0]  # (h, C, W): a row of all classes is contiguous
    margin = ROUNDING * float(logits.abs().max())
    found = torch.empty(size)
    step = max(1, STRIP_BYTES // (4 * classes * size[1]))
    for above, begin, end, fraction in row_pairs(rows, size[0]):
        top, rise = wide[above, :, None], (wide[min(above + 1, rows - 1)] - wide[above])[:, None]
        for start in range(begin, end, step):
            part = fraction[start - begin : start - begin + step, None]
            scores = torch.addcmul(top, rise, part).flatten(1)
            found[start : start + len(part)] = matching(scores, scores.amax(0) - margin).view(-1, size[1])
    label = found.sub_(base(classes))
    unclear = ((label < 0) | (label >= base(classes))).any(0).nonzero()[:, 0]  # < 0: the difference overflowed
    if len(unclear):
        columns = wide[:, :, unclear].transpose(0, 1)
        label[:, unclear] = by_chunks(columns, (size[0], len(unclear)), chunk)
    return label


def row_pairs(rows: int, height: int) -> list[tuple[int, int, int, Tensor]]:
    """How `F.interpolate` makes `height` rows of `rows`: (row above, first row made, one past the last, fractions).

    `fractions`: float32, the weight of the row below in each row made. Read off the interpolation of unit vectors,
    because a formula may round the positions differently.
    """
    weights = F.interpolate(torch.eye(rows)[None, :, :, None], size=(height, 1), mode="bilinear")[0, :, :, 0]
    above = (weights != 0).float().argmax(0)
    below = (above + 1).clamp_(max=rows - 1)
    fraction = weights[below, torch.arange(height)] * (below > above)
    pairs, counts = torch.unique_consecutive(above, return_counts=True)
    ends = counts.cumsum(0).tolist()
    begins = [0, *ends[:-1]]
    return [
        (row, begin, end, fraction[begin:end]) for row, begin, end in zip(pairs.tolist(), begins, ends, strict=True)
    ]
