"""Evaluation: images in, records out. Resumable at every batch, timed by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from zsbench.dataset import Dataset, EvalProtocol
from zsbench.evaluation.counting import count_tensors
from zsbench.evaluation.loader import Batch, read_ahead
from zsbench.evaluation.prediction import Look, predict_labels
from zsbench.evaluation.recorder import Recorder
from zsbench.evaluation.refine import Scores
from zsbench.evaluation.watch import Stopwatch, Watch
from zsbench.method import ImageBatch, Method
from zsbench.metrics.journal import Journal
from zsbench.utils.parallel import next_read


@dataclass(frozen=True)
class Share:
    """What a process evaluates: of the batches that are not `done`, every `count`-th from the `index`-th on."""

    index: int = 0
    count: int = 1
    done: frozenset[str] = frozenset()

    def of(self, batches: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        waiting = [batch for batch in batches if not self.done.issuperset(batch)]
        return waiting[self.index :: self.count]


@dataclass(frozen=True)
class Conditions:
    """How an evaluation runs: none of it decides more than the rounding of a number.

    `dtype`: of the logits; everything after them is float32. `batch_size`: images read together. `workers`: processes that
    read ahead, 0 for none. `share`: of this process, by default all that the journal lacks. `save` is given the id and the
    predicted classes, int32 (H, W), of each image before it is recorded. `recorder`: of what is noted beside the
    confusion.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    batch_size: int = 1
    workers: int = 0
    share: Share | None = None
    save: Callable[[str, torch.Tensor], None] = lambda image_id, classes: None
    recorder: Recorder | None = None


def evaluate_records(
    method: Method,
    dataset: Dataset,
    protocol: EvalProtocol,
    ids: Sequence[str],
    journal: Journal,
    conditions: Conditions,
    word_to_class: Sequence[int] | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> None:
    """Evaluate `method`, which has been told the vocabulary, on the images `ids` of the protocol's split.

    `journal` then holds them all, with what was measured meanwhile. `word_to_class`: the class of each word of the
    vocabulary, and of background by threshold after them. `on_batch` hears how many images have been evaluated.
    """
    device, dtype, size = conditions.device, conditions.dtype, conditions.batch_size
    method.eval().to(device)
    batches = [ids[at : at + size] for at in range(0, len(ids), size)]
    waiting = (conditions.share or Share(done=frozenset(journal.done))).of(batches)
    before = len(journal.done)
    watch = Stopwatch(device)
    loader = read_ahead(dataset, protocol, waiting, conditions.workers, device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for _ in waiting:
            with watch.stage("data"):
                batch = next_read(loader).to(device)
            notes: dict[int, Any] = {}
            look = looking(conditions.recorder, batch, word_to_class, notes)
            predictions = predict_unequal(method, batch, protocol, watch, word_to_class, look)
            with watch.stage("metrics"):
                found = [as_classes(prediction, word_to_class) for prediction in predictions]
                for image_id, classes in zip(batch.ids, found, strict=True):
                    conditions.save(image_id, classes)
                rows = [
                    count_tensors(label, classes, len(dataset.classes))
                    for label, classes in zip(batch.labels.unpack(), found, strict=True)
                ]
            with watch.stage("metrics"):  # counted in the lap of the next batch
                journal.append(batch.ids, rows, watch.lap(), [notes[index] for index in sorted(notes)])
            on_batch(len(journal.done) - before)


def predict_unequal(
    method: Method,
    batch: Batch,
    protocol: EvalProtocol,
    watch: Watch,
    word_to_class: Sequence[int] | None = None,
    look: Look | None = None,
) -> list[torch.Tensor]:
    """The predicted words, int32 (H', W') for each image; images of equal size go through the method together.

    `look`: is shown every image of the batch.
    """
    predictions: dict[int, torch.Tensor] = {}
    images, labels = batch.images.unpack(), batch.labels.unpack()
    for indices in by_size(images):
        with watch.stage("data"):
            alike = torch.stack([images[i] for i in indices])
        truth = [labels[i] for i in indices]
        known = ImageBatch(alike, [batch.ids[i] for i in indices], truth)
        sizes = [label.shape for label in truth]
        shown = look and partial(look_elsewhere, look, indices)
        found = predict_labels(method, known, sizes, protocol, watch, word_to_class=word_to_class, look=shown)
        predictions.update(zip(indices, found, strict=True))
    return [predictions[i] for i in range(len(batch.ids))]


def look_elsewhere(look: Look, indices: Sequence[int], index: int, words: torch.Tensor, scores: Scores) -> None:
    """`look` at an image of the batch of those `indices`."""
    look(indices[index], words, scores)


def looking(
    recorder: Recorder | None, batch: Batch, word_to_class: Sequence[int] | None, notes: dict[int, Any]
) -> Look | None:
    """What puts the recorder's note of each image of a batch into `notes`, by index; None where nothing is recorded."""
    if recorder is None:
        return None
    labels = batch.labels.unpack()

    def look(index: int, words: torch.Tensor, scores: Scores) -> None:
        notes[index] = recorder.note(batch.ids[index], labels[index], as_classes(words, word_to_class), scores)

    return look


def as_classes(prediction: torch.Tensor, word_to_class: Sequence[int] | None) -> torch.Tensor:
    """Predicted words as classes, int32 (H, W): a class wins where any of its words does."""
    if word_to_class is None:
        return prediction
    return torch.tensor(word_to_class, dtype=torch.int32, device=prediction.device)[prediction.long()]


def by_size(images: Sequence[torch.Tensor]) -> list[list[int]]:
    """Indices of images grouped by shape, in order of first appearance."""
    groups: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    return list(groups.values())
