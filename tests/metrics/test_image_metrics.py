"""Metrics of images against plain statements of what they are."""

from __future__ import annotations

import numpy as np
import pytest

from zsbench.errors import UserError
from zsbench.image_metric import ImageMetric, MeasuredImage
from zsbench.metrics.image_metrics import BoundaryIou, CalibrationError, band
from zsbench.metrics.recorded import columns, report

CLASSES, SEEN = ("a", "b", "c"), np.array([True, True, False])


def images(number: int = 4) -> list[MeasuredImage]:
    rng = np.random.default_rng(1)
    found = []
    for index in range(number):
        coarse = rng.integers(0, 2 if index else 3, (2, 4, 5))
        label, prediction = np.kron(coarse, np.ones((1, 12, 12), int)).astype(np.int32)
        label[0] = -1
        found.append(MeasuredImage(str(index), label, prediction, rng.random(label.shape, dtype=np.float32)))
    return found


def plain_band(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a mask with one outside of it, or of the image, in the square around them."""
    padded = np.pad(mask, width)
    found = np.zeros_like(mask)
    for y, x in zip(*mask.nonzero(), strict=True):
        found[y, x] = not padded[y : y + 2 * width + 1, x : x + 2 * width + 1].all()
    return found


def test_a_band_is_what_lies_near_the_outside():
    mask = images()[0].label == 0
    for width in (1, 3):
        assert np.array_equal(band(mask, width), plain_band(mask, width))


def test_boundary_iou_is_that_of_the_bands_over_the_dataset():
    both, either = np.zeros((2, 3))
    for image in images():
        labelled, width = image.label >= 0, max(1, round(0.02 * np.hypot(*image.label.shape)))
        guessed = np.where(labelled, image.prediction, -1)
        for index in range(3):
            bands = [plain_band(mask == index, width) & labelled for mask in (image.label, guessed)]
            both[index] += (bands[0] & bands[1]).sum()
            either[index] += (bands[0] | bands[1]).sum()
    metric = BoundaryIou(CLASSES, SEEN)
    found = report(metric, [metric.measure(image) for image in images()])
    shares = 100 * both / either
    assert [found[f"boundary IoU {name}"].value for name in CLASSES] == pytest.approx(list(shares))
    assert found["boundary mIoU"].value == pytest.approx(shares.mean())
    assert found["boundary mIoU (U)"].value == pytest.approx(shares[2]) and found["boundary mIoU"].stderr > 0


def test_calibration_error_is_the_distance_of_accuracy_from_confidence():
    sure, right = [], []
    for image in images():
        labelled = image.label >= 0
        sure.append(image.confidence[labelled])
        right.append((image.prediction == image.label)[labelled])
    sure, right = np.concatenate(sure), np.concatenate(right)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (sure >= low) & (sure < low + 1 / 15)
        error += inside.mean() * abs(right[inside].mean() - sure[inside].astype(float).mean())
    metric = CalibrationError(CLASSES, SEEN)
    assert report(metric, map(metric.measure, images()))["ECE"].value == pytest.approx(100 * error, rel=1e-4)


class Lengths(ImageMetric):
    def measure(self, image):
        return {"rows": len(image.label)} | ({"first": 1.0} if image.id == "0" else {})


def test_by_default_a_metric_is_the_mean_over_the_images_that_have_it():
    metric = Lengths(CLASSES, SEEN)
    found = report(metric, map(metric.measure, images()))
    assert found["rows"].value == 48 and found["rows"].stderr == 0
    assert found["first"].value == 1 and report(metric, []) == {}
    values = np.array([1.0, 2.0, 4.0, 9.0])
    spread = report(metric, [{"x": value} for value in np.tile(values, 50)])["x"]
    assert spread.stderr == pytest.approx(values.std() / np.sqrt(200), rel=0.15)
    assert columns([{"a": 1.0}, {}])["a"].tolist()[:1] == [1.0]


class Broken(Lengths):
    def evaluate(self, numbers):
        return {"x": 1 / 0}


def test_a_metric_that_fails_is_named():
    with pytest.raises(UserError, match="--metric Broken: evaluate: ZeroDivisionError"):
        report(Broken(CLASSES, SEEN), [{"x": 1.0}])


def test_what_a_metric_is_shown_cannot_be_changed() -> None:
    label = np.zeros((2, 2), np.int32)
    image = MeasuredImage("a", label, label.copy(), np.ones((2, 2), np.float32))
    for array in (image.label, image.prediction, image.confidence):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    label[0] = 1  # its owner may
