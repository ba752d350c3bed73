"""Evaluation: images in, records out. Resumable at every batch, timed by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from zsbench.dataset import Dataset, EvalProtocol
from zsbench.evaluation.counting import count_tensors
from zsbench.evaluation.loader import Batch, read_ahead
from zsbench.evaluation.prediction import predict_labels
from zsbench.method import Method
from zsbench.metrics.journal import Journal
from zsbench.metrics.records import Records

STAGES = ("data", "model", "post", "metrics")


@dataclass
class Stopwatch:
    """Seconds spent in each stage; on CUDA each boundary waits for the device, so that work is charged to its own stage."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self.now()
        try:
            yield
        finally:
            self.seconds[name] += self.now() - began

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@dataclass(frozen=True)
class Share:
    """What a process evaluates: of the batches that are not `done`, every `count`-th from the `index`-th on."""

    index: int = 0
    count: int = 1
    done: frozenset[str] = frozenset()

    def of(self, batches: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        waiting = [batch for batch in batches if not self.done.issuperset(batch)]
        return waiting[self.index :: self.count]


def evaluate_records(
    method: Method,
    dataset: Dataset,
    protocol: EvalProtocol,
    ids: Sequence[str],
    journal: Journal,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 1,
    workers: int = 0,
    word_to_class: Sequence[int] | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    share: Share | None = None,
) -> tuple[Records, Stopwatch]:
    """Evaluate `method` on `share` of the images `ids`, by default those that `journal` lacks.

    Returns all that the journal then holds, and the time by stage. `word_to_class`: the class of each word of the
    vocabulary, and of background by threshold after them. `on_batch` hears how many images have been evaluated. The
    method has been told the vocabulary. Logits are computed in `dtype`, everything after them in float32.
    """
    method.eval().to(device)
    method.begin(dataset.ids(protocol.split))
    batches = [ids[at : at + batch_size] for at in range(0, len(ids), batch_size)]
    waiting = (share or Share(done=frozenset(journal.done))).of(batches)
    before = len(journal.done)
    watch = Stopwatch(device)
    loader = read_ahead(dataset, protocol, waiting, workers, device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for _ in waiting:
            with watch.stage("data"):
                batch = next(loader).to(device)
            predictions = predict_batch(method, batch, protocol, watch)
            with watch.stage("metrics"):
                rows = [
                    count_tensors(label, as_classes(prediction, word_to_class), len(dataset.classes))
                    for label, prediction in zip(batch.labels.unpack(), predictions, strict=True)
                ]
                journal.append(batch.ids, rows)
            on_batch(len(journal.done) - before)
    return journal.records(), watch


def predict_batch(method: Method, batch: Batch, protocol: EvalProtocol, watch: Stopwatch) -> list[torch.Tensor]:
    """The predicted words, int32 (H', W') for each image; images of equal size go through the method together."""
    predictions: dict[int, torch.Tensor] = {}
    images, labels = batch.images.unpack(), batch.labels.unpack()
    for indices in by_size(images):
        names, truth = [batch.ids[i] for i in indices], [labels[i] for i in indices]
        introduce(method, names, truth)
        with watch.stage("data"):
            alike = torch.stack([images[i] for i in indices])
        found = predict_labels(method, alike, [label.shape for label in truth], protocol, watch, names=names)
        predictions.update(zip(indices, found, strict=True))
    return [predictions[i] for i in range(len(batch.ids))]


def introduce(method: Method, ids: Sequence[str], labels: Sequence[torch.Tensor | NDArray[np.int32]]) -> None:
    """Tell a method whose images come next; an oracle, and no one else, is given their labels."""
    method.set_image_ids(ids)
    if method.oracle:
        method.set_truth([torch.as_tensor(label) for label in labels])


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
