"""Validation during training, on a part of the training images that is not learnt from; no unseen class has a say.

Only names that are seen are looked for, and pixels of all others are ignored. Where `zsbench calibrate` trains, seen classes
stand in for unseen ones (`zsbench.runs.stand_ins`): there all names are looked for, and hIoU decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from zsbench.checkpoint import trainable_state_dict
from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.evaluation.counting import count_tensors
from zsbench.evaluation.evaluator import as_classes, predict_unequal
from zsbench.evaluation.loader import Batch, Packed
from zsbench.evaluation.prediction import predict_permitted, resize
from zsbench.evaluation.watch import Watch
from zsbench.method import ImageBatch, Method, Prediction, Scoring, checked_scoring
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts, summary
from zsbench.result import ValidationInfo
from zsbench.runs.build import training_vocabulary
from zsbench.settings import Phase, TrainingView
from zsbench.training.course import Course, Scores
from zsbench.utils.distributed import broadcast_from_main, gather

if TYPE_CHECKING:
    from zsbench.clip.model import Clip
    from zsbench.runs.plan import Plan

Weights = Literal["last", "best"]
DECISIVE = ("hIoU", "mIoU_S", "mIoU_U")
"""What is measured, as far as it is defined: the first decides."""


@dataclass(frozen=True)
class HeldOut:
    """Measures a method on the images of a view, shared out over processes.

    `vocabulary`: what is told before, None for what the method knows. `background`: among the view's names, -1 for none.
    """

    view: TrainingView
    protocol: EvalProtocol
    accelerator: Accelerator
    dtype: torch.dtype
    batch_size: int
    vocabulary: Vocabulary | None = None
    background: int = -1

    @classmethod
    def of(cls, plan: Plan, clip: Clip | None, accelerator: Accelerator) -> HeldOut:
        """The held-out part of a plan; raises `UserError` where it has no pixel of a class that counts."""
        stands_in = plan.verb == "calibrate"
        phase = Phase("validation", *(("supervised", "all") if stands_in else ("inductive", "seen")), plan.recipe)
        view = TrainingView(plan.dataset, phase, plan.validation_ids)
        view.check_labels("held-out training images")
        name = plan.dataset.background
        background = view.names.index(name) if name in view.names else -1
        protocol = plan.protocol if background >= 0 else replace(plan.protocol, background_threshold=None)
        words = training_vocabulary(plan, clip, view) if stands_in else None
        return cls(view, protocol, accelerator, plan.dtype, plan.eval_batch, words, background)

    def __call__(self, method: Method, ends: Callable[[], bool]) -> Scores | None:
        """See `zsbench.training.course.Measure`."""
        method.set_vocabulary(method.vocabulary if self.vocabulary is None else self.vocabulary.to(self.device))
        for tensor in trainable_state_dict(method).values():
            broadcast_from_main(self.accelerator, tensor)  # running statistics are each process's own
        looked_at = method if len(method.vocabulary) == len(self.view.names) else seen_only(method)
        rows: dict[str, Ints] = {}
        every = self.accelerator.num_processes * self.batch_size
        for at in range(0, len(self.view), every):
            if ends():
                return None
            begin = at + self.accelerator.process_index * self.batch_size
            rows |= self.rows(looked_at, range(begin, min(begin + self.batch_size, len(self.view))))
        together = {image: found for part in gather(self.accelerator, rows) for image, found in part.items()}
        return self.scores(together)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @torch.no_grad()
    def rows(self, method: Method, indices: Sequence[int]) -> dict[str, Ints]:
        """The confusion of some images, by id."""
        samples = [self.view[index] for index in indices]
        if not samples:
            return {}
        images = Packed.of([resize(sample.image, self.protocol) for sample in samples])
        batch = Batch([each.id for each in samples], images, Packed.of([torch.tensor(s.label) for s in samples]))
        owners = (*range(len(self.view.names)), self.background)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            found = predict_unequal(method, batch.to(self.device), self.protocol, Watch(), owners)
        maps = [as_classes(words, owners) for words in found]
        return {
            sample.id: count_tensors(torch.from_numpy(sample.label), classes, len(self.view.names))
            for sample, classes in zip(samples, maps, strict=True)
        }

    def scores(self, rows: Mapping[str, Ints]) -> Scores:
        counts = Counts.of(Records.of(list(rows), list(rows.values())), len(self.view.names))
        found = summary(counts, np.asarray(self.view.seen))
        return {name: found[name] for name in DECISIVE if not math.isnan(found[name])}


class SeenOnly(Method):
    """A method that is told unseen names as well, among whose words only the seen ones can win."""

    def __init__(self, inner: Method) -> None:
        super().__init__(inner.clip, inner.options)
        self.inner, told = inner, inner.vocabulary
        self.keep = told.seen.nonzero()[:, 0].tolist()
        words = tuple(told.words[index] for index in self.keep)
        self.vocabulary = Vocabulary(words, told.embeddings[self.keep], told.seen[self.keep])

    def predict(self, images: Tensor) -> Tensor:
        return self.inner.predict(images)[:, self.keep]

    def predict_batch(self, batch: ImageBatch) -> Prediction:
        found = predict_permitted(self.inner, batch)
        return Prediction(found.logits[:, self.keep], found.statistics)

    @property
    def scoring(self) -> Scoring:
        scoring = checked_scoring(self.inner)
        return scoring if scoring.class_bias is None else replace(scoring, class_bias=scoring.class_bias[self.keep])

    @property
    def logit_scale(self) -> float | None:
        return self.inner.logit_scale


class ScoredSeenOnly(SeenOnly):
    """The same of a method with a function of its own for scores."""

    def score(self, logits: Tensor, classes: slice) -> Tensor:
        places = self.keep[classes]
        parts = [logits[..., at : at + 1, :, :] for at in range(len(places))]
        found = [self.inner.score(part, slice(c, c + 1)) for part, c in zip(parts, places, strict=True)]
        return torch.cat(found, dim=-3)


def seen_only(method: Method) -> Method:
    """`method`, for whose words only seen ones compete."""
    return SeenOnly(method) if type(method).score is Method.score else ScoredSeenOnly(method)


def course_info(course: Course, images: int, weights: Weights) -> ValidationInfo | None:
    """What results and checkpoints say of validation; None where there was none. `weights`: which these are."""
    if course.best is None:
        return None
    metric = next(iter(course.history[-1][1]))
    return ValidationInfo(
        images=images,
        metric=metric,
        history={step: next(iter(found.values())) for step, found in course.history},
        best_step=course.best["step"],
        best=course.best["value"],
        ended_early=course.ended,
        weights=weights,
    )
