"""What is recorded of an image beside its confusion: a note, kept in the journal until all images have one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zsbench.evaluation.curve import Calibratable
from zsbench.evaluation.refine import Scores, refinement
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.scores import Mask
from zsbench.metrics.seen_unseen import Curve, Flips, edges_with
from zsbench.refining import Refining


@dataclass(frozen=True)
class Recorder:
    """`calibratable`: for the seen-unseen curve, None for none. `owner`: the class of each word. `seen`: bool (C,), of the
    dataset."""

    owner: Sequence[int]
    seen: Mask
    calibratable: Calibratable | None = None
    refining: Refining | None = None

    def note(self, label: Tensor, prediction: Tensor, scores: Scores) -> dict[str, Any]:
        """Of one image, as JSON has it. `label`, `prediction`: classes, int (H, W)."""
        noted: dict[str, Any] = {}
        if self.calibratable is not None:
            owner = torch.tensor(self.owner)
            refine = refinement(scores, self.refining)
            keys, pixels = self.calibratable.histogram(scores, refine, label, owner, len(self.seen))
            noted["curve"] = [keys.tolist(), pixels.tolist()]
        return noted

    def curve(self, notes: Iterable[tuple[str, dict[str, Any]]], gt: Ints) -> Curve | None:
        """The curve of all images; `gt`: int64 (C,), their pixels of each class."""
        if self.calibratable is None:
            return None
        calibrated = self.seen.copy()  # what the method takes for seen, which across datasets is another set
        calibrated[list(self.owner)] = self.calibratable.seen.numpy()
        flips = Flips(edges_with(self.calibratable.own), calibrated)
        for _, note in notes:
            flips.add(*note["curve"])
        return flips.curve(gt, self.calibratable.own, self.seen)
