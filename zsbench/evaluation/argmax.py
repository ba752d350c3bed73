"""Argmax over classes of upsampled scores without ever holding them all: bit-identical, in bounded memory.

The plain way, `F.interpolate(logits, size).argmax(0)`, needs 4.5 GiB for 847 classes at 1024 x 1376, and spends most
of its time moving memory. Bilinear interpolation works on each class alone, so classes can come in chunks, with a
running maximum. A strict comparison gives ties to the lowest class, as `torch.argmax` and `numpy.argmax` do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.errors import UserError
from zsbench.evaluation.tiling import Place, Tiling
from zsbench.method import described

CHUNK_BYTES = 16 * 2**20
"""Size of one float32 buffer of a chunk: small enough for the allocator to reuse it and for caches to help."""
VECTOR = 16
"""Chunks begin at multiples of the widest vector of float32: for small outputs `F.interpolate` takes channels in
vectors, and rounds those left over differently. For up to three channels it may take yet another kernel."""
STRIP_BYTES = 2 * 2**20
"""Size of the scores of a strip of rows in `by_rows`, about a core's cache."""
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
        score, index = first_max(scores.flatten(1))
        self.take(score, index.add_(first))

    def take(self, score: Tensor, label: Tensor) -> None:
        """Take in the highest score of some later classes, float32 (H * W,), and its class. Overwrites `score`."""
        before, score = self.score, score.view_as(self.score)
        self.score = torch.maximum(before, score)
        # A later class has a higher index, so a maximum selects it; unlike `torch.where` it is vectorised.
        self.label = torch.maximum(self.label, score.gt_(before).mul_(label.view_as(self.label)))


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
    large = min(size) >= ROWS_SIDE and min(rows, columns) > 1 and 2 * rows <= size[0]
    if logits.device.type == "cpu" and large:
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

    Rows are stretched along the width; between two of them the scores are linear, and a strip of them stays in the
    cache. Those sums may be rounded unlike the ones in `F.interpolate` in two dimensions: pixels where a second class
    comes that near to the best are computed again.
    """
    classes, rows = logits.shape[:2]
    by_row = logits.transpose(0, 1).contiguous()
    margin = ROUNDING * float(logits.abs().max())
    found = torch.empty(size)
    step = max(1, STRIP_BYTES // (4 * classes * size[1]))
    lower, at = stretched(by_row[0], size[1]), 0
    for above, begin, end, fraction in row_pairs(rows, size[0]):
        upper = lower if above == at else stretched(by_row[above], size[1])
        at = min(above + 1, rows - 1)
        lower = stretched(by_row[at], size[1])
        rise = lower - upper
        for start in range(begin, end, step):
            part = fraction[start - begin : start - begin + step, None]
            scores = torch.addcmul(upper[:, None], rise[:, None], part).flatten(1)
            found[start : start + len(part)] = matching(scores, scores.amax(0) - margin).view(-1, size[1])
    label = found.sub_(base(classes))
    unclear = ((label < 0) | (label >= base(classes))).nonzero()  # < 0: the difference of two rows overflowed
    if len(unclear) > size[1] // 2:
        return by_chunks(logits, size, chunk)
    if len(unclear):
        label[unclear[:, 0], unclear[:, 1]] = at_pixels(by_row, size, unclear)
    return label


def stretched(row: Tensor, width: int) -> Tensor:
    """A row float32 (C, w), interpolated to (C, W): as `widened` up to rounding, in half the time."""
    return F.interpolate(row[None], size=width, mode="linear")[0]


def widened(by_row: Tensor, width: int) -> Tensor:
    """Rows float32 (n, C, w), interpolated along the width alone: (n, C, W)."""
    return F.interpolate(by_row[:, :, None], size=(1, width), mode="bilinear")[:, :, 0]


def at_pixels(by_row: Tensor, size: Place, pixels: Tensor) -> Tensor:
    """`upsampled_argmax` at `pixels`, int64 (n, 2) of row and column: float32 (n,). `by_row`: logits (h, C, w).

    Each pixel becomes a column of its own, of the widened logits above and below it, for `F.interpolate` to heighten.
    """
    rows, classes = by_row.shape[:2]
    y, x = pixels.unbind(1)
    above = row_weights(rows, size[0])[0][y]
    number = torch.arange(len(pixels))
    columns = by_row.new_zeros(classes, rows, len(pixels))
    for row in (above, (above + 1).clamp_(max=rows - 1)):
        kept, place = torch.unique(row, return_inverse=True)
        columns[:, row, number] = widened(by_row[kept], size[1])[place, :, x].t()
    return by_chunks(columns, (size[0], len(pixels)))[y, number]


def row_weights(rows: int, height: int) -> tuple[Tensor, Tensor]:
    """How `F.interpolate` makes `height` rows of `rows`: the row above, int64, and the weight of the one below, float32.

    Read off the interpolation of unit vectors, because a formula may round the positions differently.
    """
    weights = F.interpolate(torch.eye(rows)[None, :, :, None], size=(height, 1), mode="bilinear")[0, :, :, 0]
    above = (weights != 0).float().argmax(0)
    below = (above + 1).clamp_(max=rows - 1)
    return above, weights[below, torch.arange(height)] * (below > above)


def row_pairs(rows: int, height: int) -> list[tuple[int, int, int, Tensor]]:
    """Output rows by the pair of rows they lie between: (row above, first of them, one past the last, weights)."""
    above, fraction = row_weights(rows, height)
    pairs, counts = torch.unique_consecutive(above, return_counts=True)
    ends = counts.cumsum(0).tolist()
    spans = zip(pairs.tolist(), [0, *ends[:-1]], ends, strict=True)
    return [(row, begin, end, fraction[begin:end]) for row, begin, end in spans]


Score = Callable[[Tensor, slice], Tensor]
"""A pointwise function of logits (..., c, H, W) of some classes, as `Method.score`."""


def feed(
    best: RunningMax,
    score: Score | None,
    logits: Tensor,
    tiling: Tiling,
    chunk: int | None = None,
    refine: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Show `best` the scores of all classes at its size, from the logits float32 (n, C, h, w) of an image's windows.

    `score` None: logits are the scores, and those of one window go straight to the size of `best`. `chunk`: classes at a
    time, by default from a byte budget. `refine`: of scores (c, H, W) at that size, class by class.
    """
    size = (best.score.shape[0], best.score.shape[1])
    direct = score is None and len(tiling.places) == 1
    counts = tiling.counts(logits.device)
    pixels = max(tiling.shape[0] * tiling.shape[1], size[0] * size[1])
    for part in class_chunks(logits.shape[1], pixels, chunk):
        scores = logits[:, part].contiguous() if direct else window_scores(score, logits, part, tiling, counts)
        if direct or size != tiling.shape:
            scores = F.interpolate(scores, size=size, mode="bilinear")
        best.update(scores[0] if refine is None else refine(scores[0]), part.start)


def window_scores(score: Score | None, logits: Tensor, part: slice, tiling: Tiling, counts: Tensor) -> Tensor:
    """Scores of the classes `part`, averaged over windows: float32 (1, c, H, W) of the resized image."""
    windows = [window.contiguous() for window in logits[:, None, part]]
    upsampled = (F.interpolate(window, size=tiling.window, mode="bilinear") for window in windows)
    if len(windows) == 1:
        return scored(score, next(upsampled), part)
    total = torch.zeros((1, part.stop - part.start, *tiling.shape), device=logits.device)
    for window, place in zip(upsampled, tiling.places, strict=True):
        tiling.cut(total, place).add_(scored(score, window, part))
    return total.div_(counts)


def scored(score: Score | None, upsampled: Tensor, part: slice) -> Tensor:
    """The scores of upsampled logits: float32, of the same shape."""
    if score is None:
        return upsampled
    scores, shape = score(upsampled, part), tuple(upsampled.shape)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape or scores.is_complex():
        name = getattr(score, "__qualname__", type(score).__name__)
        raise UserError(f"{name} gave {described(scores)} for {shape}: it must be pointwise and keep the shape.")
    return scores.float()


class RunningProbability(RunningMax):
    """A running maximum that also knows its probability: a softmax in float32, a chunk of classes at a time.

    The probability of the highest score is one over the sum of exp(scale (score - highest)), a sum that is scaled down
    whenever a higher score comes. `scale` None: scores are probabilities themselves (sigmoids). `counts`: float (W,), how
    often the sum has each word; None: once.
    """

    def __init__(self, shape: Place, device: torch.device, scale: float | None, counts: Tensor | None = None) -> None:
        super().__init__(shape, device)
        self.scale, self.counts = scale, counts
        self.total = torch.zeros(shape, device=device)

    def update(self, scores: Tensor, first: int) -> None:
        if self.scale is not None:
            best = torch.maximum(self.score, scores.amax(0))
            self.total.mul_((self.score - best).mul_(self.scale).exp_())
            terms = (scores - best).mul_(self.scale).exp_()
            if self.counts is not None:
                terms.mul_(self.counts[first : first + len(scores), None, None])
            self.total.add_(terms.sum(0))
        super().update(scores, first)

    def below(self, threshold: float) -> Tensor:
        """bool (H, W): True where the best class is less probable than `threshold`."""
        return self.probability() < threshold

    def probability(self) -> Tensor:
        """Of the best class, float32 (H, W)."""
        return self.score if self.scale is None else self.total.reciprocal()
