"""Methods and datasets that answer anything at all: what can be scored is scored, all else is told by the plugin's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fuzzing import ODD, fuzz
from toys import PixelClassifier, Squares

from zsbench.clip.text import Vocabulary
from zsbench.dataset import Sample, checked_ids, read_sample
from zsbench.errors import UserError
from zsbench.evaluation.prediction import predict_labels
from zsbench.method import ImageBatch, Losses, Prediction, Scoring
from zsbench.recipe import Recipe
from zsbench.settings import TrainingView, default_phases
from zsbench.training.loop import Session, train

pytestmark = pytest.mark.slow
CLASSES = 4
DTYPES = (torch.float32, torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.uint8)


class Answering(PixelClassifier):
    """A method whose every answer is given from outside; what it says right is right."""

    name = "answering"

    def __init__(self, answers: dict[str, Callable[..., Any]]) -> None:
        super().__init__(CLASSES)
        self.answers = answers
        self.set_vocabulary(Vocabulary(tuple("abcd"), torch.eye(CLASSES), torch.ones(CLASSES, dtype=torch.bool)))

    def predict_batch(self, batch):
        return self.answers["predict"](super().predict_batch(batch))

    def losses(self, images, labels):
        return self.answers["losses"](super().losses(images, labels))

    @property
    def scoring(self):
        return self.answers["scoring"](super().scoring)

    def optimisers(self, phase):
        return self.answers["optimisers"](super().optimisers(phase))


def changed(value: Any, rng: np.random.Generator) -> Any:
    """A tensor of another type, shape, place or content, or something else altogether."""
    if not isinstance(value, torch.Tensor):
        return ODD[int(rng.integers(len(ODD)))]
    kinds = (
        lambda: value.to(DTYPES[int(rng.integers(len(DTYPES)))]),
        lambda: value[tuple(slice(int(rng.integers(0, 2)), None) for _ in range(int(rng.integers(0, value.ndim + 1))))],
        lambda: value.detach().numpy(),
        lambda: value.sum(),
        lambda: value[None],
        lambda: value.to("meta"),
        lambda: value * float(rng.choice([np.nan, np.inf, 1e38])),
        lambda: value.to_sparse(),
        lambda: [value],
        lambda: {"out": value},
        lambda: (value, value),
        lambda: Prediction(value, ODD[int(rng.integers(len(ODD)))]),
        lambda: Prediction(value, lambda: ODD[int(rng.integers(len(ODD)))]),
        lambda: Losses({"a": value}, value),
        lambda: Losses(value),
        lambda: ODD[int(rng.integers(len(ODD)))],
    )
    return kinds[int(rng.integers(len(kinds)))]()


def test_methods() -> None:
    """The label maps are those of the logits, if these can have any; the error names the method."""
    squares = Squares()
    protocol, image = squares.defaults.protocol, torch.rand(2, 3, 8, 8)
    usual = {name: lambda found: found for name in ("predict", "losses", "scoring", "optimisers")}

    def make(rng: np.random.Generator) -> dict[str, Any]:
        place = str(rng.choice(["predict", "predict", "losses", "losses", "scoring", "optimisers"]))

        scoring = ODD[int(rng.integers(len(ODD)))]
        scoring = Scoring(class_bias=changed(torch.zeros(4), rng)) if rng.random() < 0.7 else scoring

        def answer(found: Any) -> Any:
            if place == "losses" and rng.random() < 0.5:
                return {"ce": changed(found.total, rng)}
            if place == "scoring":
                return scoring
            return changed(found, rng) if place == "predict" else ODD[int(rng.integers(len(ODD)))]

        return {**usual, place: answer}

    def read(answers: dict[str, Any]) -> None:
        method = Answering(answers)
        recipe = Recipe.model_validate(squares.defaults.recipe | {"iterations": 1})
        phases = [(phase, TrainingView(squares, phase)) for phase in default_phases("supervised", recipe)]
        try:
            with torch.inference_mode():
                found = predict_labels(method.eval(), ImageBatch(image, ["a", "b"]), [(8, 8), (5, 9)], protocol)
            assert [tuple(each.shape) for each in found] == [(8, 8), (5, 9)]
            assert all(each.min() >= 0 and each.max() < CLASSES for each in found)
            train(method, phases, lambda phase, view: None, Session(Accelerator(cpu=True), 0))
        except UserError as error:
            assert "answering" in str(error) or "the loss is" in str(error) or "Method.score" in str(error), error
            raise

    fuzz(make, read)


def test_datasets() -> None:
    """A sample of a dataset is what the harness was promised, or the error names the dataset and the image."""

    def array(value: np.ndarray, rng: np.random.Generator) -> Any:
        kinds = (
            lambda: value.astype(
                rng.choice(["int8", "uint16", "int64", "float32", "complex64", "object", "bool", "U3"])
            ),
            lambda: value[
                tuple(slice(0, int(rng.integers(0, 9))) for _ in range(int(rng.integers(1, value.ndim + 1))))
            ],
            lambda: value.astype(np.int64) + int(rng.choice([-5, -1, 1, 300, 2**40])),
            lambda: torch.from_numpy(value),
            lambda: value.tolist(),
            lambda: value.T,
            lambda: np.stack([value] * 4, -1),
            lambda: np.float32(1),
            lambda: ODD[int(rng.integers(len(ODD)))],
        )
        return kinds[int(rng.integers(len(kinds)))]()

    def make(rng: np.random.Generator) -> Squares:
        dataset = Squares()
        sample = dataset.read("val", "val0")
        image, label = sample.image, sample.label
        match int(rng.integers(5)):
            case 0:
                dataset.read = lambda split, image_id: Sample(image_id, array(image, rng), label)
            case 1:
                dataset.read = lambda split, image_id: Sample(image_id, image, array(label, rng))
            case 2:
                dataset.read = lambda split, image_id: ODD[int(rng.integers(len(ODD)))]
            case 3:
                dataset.ids = lambda split: [ODD[int(i)] for i in rng.integers(len(ODD), size=2)]
            case _:
                place = str(
                    rng.choice(["classes", "unseen", "palette", "groups", "name_sets", "defaults", "background"])
                )
                setattr(dataset, place, ODD[int(rng.integers(len(ODD)))])
        return dataset

    def read(dataset: Squares) -> None:
        try:
            dataset.validate()
            assert all(isinstance(image_id, str) for image_id in checked_ids(dataset, "val"))
            sample = read_sample(dataset, "val", "val0")
        except UserError as error:
            assert "squares" in str(error)
            raise
        assert sample.image.dtype == np.uint8 and sample.label.dtype == np.int32
        assert sample.label.shape == sample.image.shape[:2]

    fuzz(make, read)
