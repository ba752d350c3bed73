"""Metrics of images get what they ask for, and a failure names the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import PixelClassifier, Squares

from zsbench.clip.text import Vocabulary
from zsbench.errors import UserError
from zsbench.evaluation.evaluator import Conditions, evaluate_records
from zsbench.evaluation.recorder import Recorder
from zsbench.image_metric import ImageMetric
from zsbench.metrics.journal import Journal, read_notes
from zsbench.metrics.scores import Counts


class Right(ImageMetric):
    """Right pixels of each image; it is told no confidence."""

    def measure(self, image):
        assert image.confidence is None
        labelled = image.label >= 0
        return {"right": float((image.label == image.prediction)[labelled].sum())}

    def evaluate(self, numbers):
        return {"all right": numbers["right"].sum()}


class Confidence(ImageMetric):
    needs_confidence = True

    def measure(self, image):
        assert image.confidence.shape == image.label.shape and image.confidence.dtype == np.float32
        return {"confidence": float(image.confidence.mean())}


class Failing(ImageMetric):
    def measure(self, image):
        return {"x": 1 / (image.id != "val3")}


def evaluated(folder: Path, *classes: type[ImageMetric]):
    dataset, method = Squares(), PixelClassifier(4)
    torch.manual_seed(0)
    method.set_vocabulary(Vocabulary(dataset.classes, torch.eye(4), torch.from_numpy(dataset.seen_mask)))
    metrics = {each.__name__: each(dataset.classes, dataset.seen_mask) for each in classes}
    recorder = Recorder(range(4), dataset.seen_mask, metrics=metrics)
    conditions = Conditions(torch.device("cpu"), batch_size=3, recorder=recorder)
    with Journal(folder / "records.journal", "run") as journal:
        ids, protocol = dataset.ids("val"), dataset.defaults.protocol
        evaluate_records(method, dataset, protocol, ids, journal, conditions)
    counts = Counts.of(journal.records(), 4)
    return method, counts, recorder.recorded(read_notes(folder, "run"), counts.gt)


def test_metrics_see_labels_predictions_and_the_confidence_they_ask_for(tmp_path):
    method, counts, found = evaluated(tmp_path, Right, Confidence)
    assert found.curve is None and found.metrics["Right"]["all right"].value == counts.tp.sum()
    images = [Squares().read("val", image_id).image for image_id in Squares().ids("val")]
    with torch.inference_mode():
        logits = method.predict(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255)
    sure = float(logits.softmax(1).amax(1).mean())
    assert found.metrics["Confidence"]["confidence"].value == pytest.approx(sure, rel=1e-5)


def test_a_failure_names_the_metric_and_the_image(tmp_path):
    with pytest.raises(UserError, match="--metric Failing: image val3: ZeroDivisionError"):
        evaluated(tmp_path, Failing)
