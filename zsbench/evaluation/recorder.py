"""What is recorded of an image beside its confusion: a note, kept in the journal until all images have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsbench.evaluation.curve import Calibratable
from zsbench.evaluation.refine import Scores, refinement
from zsbench.image_metric import ImageMetric, MeasuredImage
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.recorded import Recorded, numbers, report
from zsbench.metrics.scores import Mask
from zsbench.metrics.seen_unseen import Flips, edges_with
from zsbench.refining import Refining


@dataclass(frozen=True)
class Recorder:
    """`calibratable`: for the seen-unseen curve, None for none. `owner`: the class of each word. `seen`: bool (C,), of the
    dataset. `metrics`: of images, by name."""

    owner: Sequence[int]
    seen: Mask
    calibratable: Calibratable | None = None
    refining: Refining | None = None
    metrics: Mapping[str, ImageMetric] = field(default_factory=dict)

    def note(self, image_id: str, label: Tensor, prediction: Tensor, scores: Scores) -> dict[str, Any]:
        """Of one image, as JSON has it. `label`, `prediction`: classes, int (H, W)."""
        noted: dict[str, Any] = {}
        asked = self.calibratable is not None or any(metric.needs_confidence for metric in self.metrics.values())
        refine = refinement(scores, self.refining) if asked else None
        if self.metrics:
            plain = MeasuredImage(image_id, label.cpu().numpy(), prediction.cpu().numpy())
            sure = replace(plain, confidence=self.confidence(scores, refine))
            images = {name: sure if metric.needs_confidence else plain for name, metric in self.metrics.items()}
            noted["metrics"] = {name: numbers(name, self.metrics[name], image) for name, image in images.items()}
        if self.calibratable is not None:
            owner = torch.tensor(self.owner)
            keys, pixels = self.calibratable.histogram(scores, refine, label, owner, len(self.seen))
            noted["curve"] = [keys.tolist(), pixels.tolist()]
        return noted

    def confidence(self, scores: Scores, refine: Callable[[Tensor], Tensor] | None) -> NDArray[np.float32] | None:
        """The probability of the best word of each pixel, float32 (H, W); None where no metric needs it."""
        if not any(metric.needs_confidence for metric in self.metrics.values()):
            return None
        likely = scores.probabilities()
        scores.show(likely, refine)
        return likely.probability().clamp(0, 1).cpu().numpy()

    def recorded(self, notes: Iterable[tuple[str, dict[str, Any]]], gt: Ints) -> Recorded:
        """What follows from the notes of all images, which are read once; `gt`: int64 (C,), their pixels of each class."""
        own = 0.0 if self.calibratable is None else self.calibratable.own
        flips = Flips(edges_with(own), self.calibrated())
        kept = []
        for image_id, note in notes:
            kept.append((image_id, note.get("metrics", {})))
            if "curve" in note:
                flips.add(*note["curve"])
        kept.sort(key=lambda each: each[0])  # the same for any number of processes
        metrics = {name: report(metric, [each[name] for _, each in kept]) for name, metric in self.metrics.items()}
        return Recorded(None if self.calibratable is None else flips.curve(gt, own, self.seen), metrics)

    def calibrated(self) -> Mask:
        """bool (C,): the classes that the method takes for seen, which across datasets are not those of the dataset."""
        found = self.seen.copy()
        if self.calibratable is not None:
            found[list(self.owner)] = self.calibratable.seen.numpy()
        return found
