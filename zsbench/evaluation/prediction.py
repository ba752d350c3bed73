"""From images to label maps: windows, the method's logits, its scores, and the argmax at the label's size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.argmax import RunningMax, RunningProbability, feed, upsampled_argmax
from zsbench.evaluation.refine import Scores, refined_labels
from zsbench.evaluation.tiling import Place, Tiling, resize, resized_shape, windows
from zsbench.evaluation.watch import Watch
from zsbench.method import (
    ImageBatch,
    Method,
    Prediction,
    Scoring,
    Statistics,
    checked_prediction,
    checked_scoring,
    named,
)

__all__ = ["predict_labels", "resize", "resized_shape", "windows"]

NOT_FINITE = "Training may have diverged (lower the learning rate), or a low precision overflowed (--dtype float32)."

Look = Callable[[int, Tensor, Scores], None]
"""Is shown images of a batch by their index: words int32 (H', W'), and the scores that they follow from."""


@dataclass(frozen=True)
class AtOnce:
    """How much is held at a time. `windows`: of any of the images, that go through the method together. `classes`: whose
    scores are held, rounded up to a multiple of 16; by default from a byte budget."""

    windows: int = 16
    classes: int | None = None


@torch.no_grad()
def predict_labels(
    method: Method,
    batch: ImageBatch,
    sizes: Sequence[tuple[int, ...]],
    protocol: EvalProtocol,
    watch: Watch | None = None,
    word_to_class: Sequence[int] | None = None,
    look: Look | None = None,
    at_once: AtOnce = AtOnce(),  # frozen
) -> list[Tensor]:
    """Label maps of whole images, int32 (H', W') each, on their device.

    `batch`: images as `resize` gives them; if it has labels, they reach an oracle only. `sizes`: (H', W') of each label.
    `watch`: times the stages `model` and `post`, and notes what the method counts. `word_to_class`: as in `refined_labels`,
    for methods that declare `refining`. `look`: is shown what is recorded beside labels, in the stage `metrics`.

    Each window's logits are upsampled to the window, `method.score` is applied, windows are averaged where they
    overlap, and the result is resized to the label: all bilinear with `align_corners=False`, in float32. With one
    window and no score function, logits go straight to the label's size. The highest class wins; the lowest of equals.
    With `protocol.background_threshold`, pixels that are background by it (`RunningProbability`) are C, one past the last
    class; all others are what they are without it.
    Raises `UserError` for logits that are not finite, and for a method that returns another shape than it should.
    """
    watch = watch or Watch()
    tiling = Tiling.of((batch.images.shape[-2], batch.images.shape[-1]), protocol)
    with watch.stage("model"):
        logits, statistics = window_logits(method, batch, tiling, at_once.windows)
    checked_scoring(method)
    for numbers in statistics:
        watch.note(numbers)

    def scores_of(index: int) -> Scores:
        image, size = batch.images[index], (sizes[index][0], sizes[index][1])
        score, counts = plain_score(method), word_counts(method)
        return Scores(score, logits[index], tiling, image, size, method.logit_scale, counts, at_once.classes)

    decide = as_declared(method, protocol.background_threshold, word_to_class)
    with watch.stage("refine" if method.refining else "post"), torch.autocast(logits.device.type, enabled=False):
        finite = torch.isfinite(logits).flatten(1).all(1).tolist()
        labels = []
        for index in range(len(sizes)):
            with naming_image(method, batch, index):
                if not finite[index]:
                    raise FloatingPointError("logits are NaN or infinite")
                labels.append(decide(scores_of(index)))
    if look is not None:
        with watch.stage("metrics"), torch.autocast(logits.device.type, enabled=False):
            for index, label in enumerate(labels):
                look(index, label, scores_of(index))
    return labels


def as_declared(
    method: Method, threshold: float | None, word_to_class: Sequence[int] | None
) -> Callable[[Scores], Tensor]:
    """From the scores of an image to its label map, refined where the method declares it."""
    refining = method.refining
    if refining is not None:
        return lambda scores: refined_labels(scores, refining, threshold, word_to_class)
    return lambda scores: label_map(method, scores.logits, scores.tiling, scores.size, scores.chunk, threshold)


@contextmanager
def naming_image(method: Method, batch: ImageBatch, index: int) -> Iterator[None]:
    """Within, numbers that are not finite are a `UserError` that names the image of that index."""
    try:
        yield
    except FloatingPointError as error:
        name = batch.ids[index] if batch.ids else f"{index} of the batch"
        raise UserError(f"{named(method)}: {error} for image {name}. {NOT_FINITE}") from None


def window_logits(method: Method, batch: ImageBatch, tiling: Tiling, at_once: int) -> tuple[Tensor, list[Statistics]]:
    """Logits of all windows of all images, float32 (B, n, C, h, w), and what the method counted in each of its batches."""
    given, statistics = [], []
    for part in window_batches(batch, tiling, at_once):
        found = predict_permitted(method, part)
        given.append(found.logits.clone())  # an exported network may write the next ones into the same memory
        statistics.append(found.statistics)
    shapes = {tuple(logits.shape[2:]) for logits in given}
    if len(shapes) > 1:
        raise UserError(f"{named(method)} gave logits of several sizes for windows of one: {sorted(shapes)}.")
    logits = torch.cat(given).float()
    return logits.view(len(batch.images), len(tiling.places), *logits.shape[1:]), statistics


def window_batches(batch: ImageBatch, tiling: Tiling, at_once: int) -> Iterator[ImageBatch]:
    """All windows of all images, `at_once` together; each keeps the id and the label of its image."""
    windows = [(index, place) for index in range(len(batch.images)) for place in tiling.places]
    for at in range(0, len(windows), at_once):
        part = windows[at : at + at_once]
        yield ImageBatch(
            torch.stack([tiling.cut(batch.images[index], place) for index, place in part]),
            batch.ids and [batch.ids[index] for index, _ in part],
            batch.labels and [batch.labels[index] for index, _ in part],
            whole=len(tiling.places) == 1,
        )


def predict_permitted(method: Method, batch: ImageBatch) -> Prediction:
    """The only way from the harness into `Method.predict_batch`: labels reach an oracle, and no other method."""
    return checked_prediction(method, method.predict_batch(permitted(method, batch)), batch)


def permitted(method: Method, batch: ImageBatch) -> ImageBatch:
    """What `method` may know of a batch: the labels only where it is a declared oracle."""
    return batch if method.oracle else replace(batch, labels=None)


def label_map(
    method: Method,
    logits: Tensor,
    tiling: Tiling,
    size: Place,
    chunk: int | None = None,
    threshold: float | None = None,
) -> Tensor:
    """The label map int32 `size` of one image from the logits float32 (n, C, h, w) of its windows, finite; C is
    background by `threshold`.

    Raises `FloatingPointError` where scores are NaN.
    """
    device = logits.device
    declared = type(method).score is Method.score
    if declared and threshold is None and (fused := fused_labels_on(device)) is not None:
        return fused(logits, tiling, size, method.scoring)
    score = plain_score(method)
    if threshold is None:
        if score is None and len(tiling.places) == 1:
            return upsampled_argmax(logits[0], size, chunk).int()
        best = RunningMax(size, device)
        feed(best, score, logits, tiling, chunk)
        return checked(best).int()
    likely = RunningProbability(size, device, method.logit_scale, word_counts(method))
    feed(likely, score, logits, tiling, chunk)
    return checked(likely).int().masked_fill_(likely.below(threshold), logits.shape[1])


def word_counts(method: Method) -> Tensor | None:
    """`Vocabulary.counts` of a method that was told a vocabulary; a plugin may need none."""
    counts: Tensor | None = getattr(getattr(method, "vocabulary", None), "counts", None)
    return counts


def plain_score(method: Method) -> Callable[[Tensor, slice], Tensor] | None:
    """`Method.score`, or None where scores are the logits."""
    return None if type(method).score is Method.score and method.scoring.plain else method.score


def checked(best: RunningMax) -> Tensor:
    """The labels of the highest scores; raises `FloatingPointError` where scores are NaN."""
    if best.score.isnan().any():
        raise FloatingPointError("scores are NaN")
    return best.label


@lru_cache
def fused_labels_on(device: torch.device) -> Callable[[Tensor, Tiling, Place, Scoring], Tensor] | None:
    """`fused_labels` if it can be used on `device`, which is tried once; otherwise None."""
    if device.type != "cuda":
        return None
    try:
        from zsbench.evaluation.triton_argmax import fused_labels, try_on

        try_on(device)
    except Exception as error:  # no Triton, no compiler for it, or a device that it does not know
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"labels are computed in chunks of classes, which takes longer: {reason}", stacklevel=2)
        return None
    return fused_labels
