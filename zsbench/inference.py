"""From images to label maps: windows, the method's logits, its scores, and the argmax at the label's size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol as Interface

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.argmax import RunningMax, class_chunks, upsampled_argmax
from zsbench.background import RunningProbability
from zsbench.dataset import Protocol
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.windows import Place, Tiling, resize, resized_shape, windows

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
    protocol: Protocol,
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
    With `protocol.background_threshold`, pixels that are background by it (`zsbench.background`) are C, one past the last
    class; all others are what they are without it.
    Raises `UserError` for logits that are not finite, and for a method that returns another shape than it should.
    """
    tiling = Tiling.of((images.shape[-2], images.shape[-1]), protocol)
    with stage(watch, "model"):
        logits = window_logits(method, images, tiling, window_batch)
    with stage(watch, "post"), torch.autocast(images.device.type, enabled=False):
        labels, threshold = [], protocol.background_threshold
        for index, (height, width, *_) in enumerate(sizes):
            try:
                labels.append(label_map(method, logits[index], tiling, (height, width), chunk, threshold))
            except FloatingPointError as error:
                name = names[index] if names else f"{index} of the batch"
                raise UserError(f"{method_name(method)}: {error} for image {name}. {NOT_FINITE}") from None
    return labels


def stage(watch: Watch | None, name: str) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.stage(name)


def window_logits(method: Method, images: Tensor, tiling: Tiling, batch: int) -> Tensor:
    """Logits of all windows of all images: float32 (B, n, C, h, w)."""
    crops = [tiling.cut(image, place) for image in images for place in tiling.places]
    parts = [method.predict(torch.stack(crops[at : at + batch])) for at in range(0, len(crops), batch)]
    logits = torch.cat(parts).float()
    classes = len(method.vocabulary)
    if logits.ndim != 4 or logits.shape[:2] != (len(crops), classes):
        raise UserError(
            f"{method_name(method)}.predict gave {tuple(parts[0].shape)} for {min(batch, len(crops))} images and "
            f"{classes} classes: expected (images, classes, h, w)."
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
    """The label map int32 `size` of one image from the logits float32 (n, C, h, w) of its windows; C is background by
    `threshold`.

    Raises `FloatingPointError` where logits or scores are not finite.
    """
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits are NaN or infinite")
    direct = len(tiling.places) == 1 and type(method).score is Method.score
    if direct and threshold is None:
        return upsampled_argmax(logits[0], size, chunk).int()
    device = logits.device
    best = RunningMax(size, device) if threshold is None else RunningProbability(size, device, method.logit_scale)
    counts = tiling.counts(logits.device)
    pixels = max(tiling.shape[0] * tiling.shape[1], size[0] * size[1])
    for part in class_chunks(logits.shape[1], pixels, chunk):
        scores = logits[:, part].contiguous() if direct else window_scores(method, logits, part, tiling, counts)
        if direct or size != tiling.shape:
            scores = F.interpolate(scores, size=size, mode="bilinear")
        best.update(scores[0], part.start)
    if best.score.isnan().any():
        raise FloatingPointError("scores are NaN")
    label = best.label.int()
    if threshold is not None and isinstance(best, RunningProbability):
        label[best.below(threshold)] = logits.shape[1]
    return label


def window_scores(method: Method, logits: Tensor, part: slice, tiling: Tiling, counts: Tensor) -> Tensor:
    """Scores of the classes `part`, averaged over windows: float32 (1, c, H, W) of the resized image."""
    windows = [window.contiguous() for window in logits[:, None, part]]
    if len(windows) == 1:
        return scored(method, windows[0], part, tiling.window)
    total = torch.zeros((1, part.stop - part.start, *tiling.shape), device=logits.device)
    for window, place in zip(windows, tiling.places, strict=True):
        tiling.cut(total, place).add_(scored(method, window, part, tiling.window))
    return total.div_(counts)


def scored(method: Method, logits: Tensor, part: slice, size: Place) -> Tensor:
    """The method's scores of upsampled logits: float32 (1, c, `size`)."""
    upsampled = F.interpolate(logits, size=size, mode="bilinear")
    shape = tuple(upsampled.shape)
    scores = method.score(upsampled, part)
    if tuple(scores.shape) != shape:
        got = f"{method_name(method)}.score gave {tuple(scores.shape)} for {shape}"
        raise UserError(f"{got}: it must be pointwise and keep the shape.")
    return scores.float()


def method_name(method: Method) -> str:
    return type(method).__name__
