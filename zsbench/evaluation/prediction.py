"""From images to label maps: windows, the method's logits, its scores, and the argmax at the label's size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Protocol as Interface

import torch
from torch import Tensor

from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation.argmax import RunningMax, RunningProbability, feed, upsampled_argmax
from zsbench.evaluation.tiling import Place, Tiling, resize, resized_shape, windows
from zsbench.method import Method, Scoring

__all__ = ["predict_labels", "resize", "resized_shape", "windows"]

NOT_FINITE = "Training may have diverged (lower the learning rate), or a low precision overflowed (--dtype float32)."


class Watch(Interface):
    """Times the stages `model` and `post`."""

    def stage(self, name: str) -> AbstractContextManager[None]: ...


@torch.no_grad()
def predict_labels(
    method: Method,
    images: Tensor,
    sizes: Sequence[tuple[int, ...]],
    protocol: EvalProtocol,
    watch: Watch | None = None,
    window_batch: int = 16,
    chunk: int | None = None,
    names: Sequence[str] = (),
) -> list[Tensor]:
    """Label maps of images, int32 (H', W') each, on their device.

    `images`: float32 (B, 3, H, W) in 0..1, as `resize` gives them. `sizes`: (H', W') of each label. `window_batch`:
    windows, of any of the images, that go through the method together. `chunk`: classes whose scores are held at a
    time, rounded up to a multiple of 16; by default from a byte budget. `names`: of the images, for messages.

    Each window's logits are upsampled to the window, `method.score` is applied, windows are averaged where they
    overlap, and the result is resized to the label: all bilinear with `align_corners=False`, in float32. With one
    window and no score function, logits go straight to the label's size. The highest class wins; the lowest of equals.
    With `protocol.background_threshold`, pixels that are background by it (`RunningProbability`) are C, one past the last
    class; all others are what they are without it.
    Raises `UserError` for logits that are not finite, and for a method that returns another shape than it should.
    """
    tiling = Tiling.of((images.shape[-2], images.shape[-1]), protocol)
    with stage(watch, "model"):
        logits = window_logits(method, images, tiling, window_batch)
    with stage(watch, "post"), torch.autocast(images.device.type, enabled=False):
        labels, threshold = [], protocol.background_threshold
        finite = torch.isfinite(logits).flatten(1).all(1).tolist()
        for index, (height, width, *_) in enumerate(sizes):
            try:
                if not finite[index]:
                    raise FloatingPointError("logits are NaN or infinite")
                labels.append(label_map(method, logits[index], tiling, (height, width), chunk, threshold))
            except FloatingPointError as error:
                name = names[index] if names else f"{index} of the batch"
                raise UserError(f"{type(method).__name__}: {error} for image {name}. {NOT_FINITE}") from None
    return labels


def stage(watch: Watch | None, name: str) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.stage(name)


def window_logits(method: Method, images: Tensor, tiling: Tiling, batch: int) -> Tensor:
    """Logits of all windows of all images: float32 (B, n, C, h, w)."""
    crops = [tiling.cut(image, place) for image in images for place in tiling.places]
    parts = [method.predict(torch.stack(crops[at : at + batch])) for at in range(0, len(crops), batch)]
    logits = torch.cat(parts).float()
    words = len(method.vocabulary)
    if logits.ndim != 4 or logits.shape[:2] != (len(crops), words):
        raise UserError(
            f"{type(method).__name__}.predict gave {tuple(parts[0].shape)} for {min(batch, len(crops))} images and "
            f"{words} words: expected (images, words, h, w)."
        )
    return logits.view(len(images), len(tiling.places), *logits.shape[1:])


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
    score = None if declared and method.scoring.plain else method.score
    if threshold is None:
        if score is None and len(tiling.places) == 1:
            return upsampled_argmax(logits[0], size, chunk).int()
        best = RunningMax(size, device)
        feed(best, score, logits, tiling, chunk)
        return checked(best).int()
    likely = RunningProbability(size, device, method.logit_scale)
    feed(likely, score, logits, tiling, chunk)
    return checked(likely).int().masked_fill_(likely.below(threshold), logits.shape[1])


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
