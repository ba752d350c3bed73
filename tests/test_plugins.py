"""What a method or a dataset answers is checked once: the message has the plugin's name and what was expected."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from toys import PixelClassifier, Squares

from zsbench.clip.text import Vocabulary
from zsbench.dataset import Sample, checked_ids, read_sample
from zsbench.errors import UserError
from zsbench.evaluation.prediction import AtOnce, predict_labels
from zsbench.evaluation.watch import Watch
from zsbench.method import ImageBatch, Losses, Prediction, Scoring, checked_losses, checked_optimisers
from zsbench.settings import check_phases

IMAGES = torch.rand(2, 3, 8, 8)


@pytest.fixture
def method():
    """A method of three words, called `mine`."""
    found = PixelClassifier(3)
    found.name = "mine"
    found.set_vocabulary(Vocabulary(tuple("abc"), torch.eye(3), torch.ones(3, dtype=torch.bool)))
    return found.eval()


def predicted(method):
    return predict_labels(method, ImageBatch(IMAGES, ["a", "b"]), [(8, 8)] * 2, Squares().defaults.protocol)


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (lambda good: None, "nothing (None)"),
        (lambda good: good.numpy(), "a numpy ndarray (2, 3, 8, 8) of float32"),
        (lambda good: good.sum(), "a torch Tensor () of torch.float32 on cpu"),
        (lambda good: good[:, :, :0], "(2, 3, 0, 8)"),
        (lambda good: good[:, :2], "(2, 2, 8, 8)"),
        (lambda good: good[:1], "(1, 3, 8, 8)"),
        (lambda good: good[0], "(3, 8, 8)"),
        (lambda good: good.to(torch.complex64), "torch.complex64"),
        (lambda good: good.argmax(1), "torch.int64"),
        (lambda good: good.to("meta"), "on meta"),
        (lambda good: good.to_sparse(), "a torch Tensor"),
        (lambda good: {"logits": good}, "a dict"),
        (lambda good: Prediction(good, {"n": [1]}), "a torch Tensor"),
        (lambda good: Prediction(None), "nothing (None)"),
    ],
)
def test_logits_that_are_none_are_told(method, answer, given):
    predict = PixelClassifier.predict
    method.predict = lambda images: answer(predict(method, images))
    with pytest.raises(UserError, match=rf"method 'mine' predicted .*{re.escape(given)}.*float tensor \(2, 3, h, w\)"):
        predicted(method)


def test_nan_everywhere_and_windows_of_several_sizes_are_told(method):
    method.predict = lambda images: torch.full((len(images), 3, 2, 2), torch.nan)
    with pytest.raises(UserError, match="method 'mine': logits are NaN or infinite for image a"):
        predicted(method)
    sizes = iter((2, 3))
    method.predict = lambda images: torch.zeros(len(images), 3, 2, next(sizes))
    with pytest.raises(UserError, match=r"method 'mine' gave logits of several sizes .*\(2, 2\), \(2, 3\)"):
        predict_labels(method, ImageBatch(IMAGES), [(8, 8)] * 2, Squares().defaults.protocol, at_once=AtOnce(1))


@pytest.mark.parametrize("found", [None, {"n": None}, {"n": ["x"]}, [1.0]])
def test_statistics_are_numbers(method, found):
    predict = method.predict
    method.predict_batch = lambda batch: Prediction(predict(batch.images), lambda: found)
    watch = Watch()
    predict_labels(method, ImageBatch(IMAGES), [(8, 8)] * 2, Squares().defaults.protocol, watch)
    with pytest.raises(UserError, match="method 'mine': statistics: expected a dictionary"):
        watch.settle()


@pytest.mark.parametrize("scoring", [None, Scoring(class_bias=torch.zeros(2)), Scoring(class_bias=np.zeros(3)), 1.0])
def test_scorings_have_a_constant_for_each_word(method, monkeypatch, scoring):
    monkeypatch.setattr(PixelClassifier, "scoring", scoring)
    with pytest.raises(UserError, match=r"method 'mine': scoring gave .*float tensor \(3,\)"):
        predicted(method)


@pytest.mark.parametrize(
    ("losses", "given"),
    [
        (None, "nothing"),
        ({}, "a dict"),
        (torch.zeros(()), "a torch Tensor ()"),
        ({"ce": 1.0}, "ce: a float"),
        ({"ce": np.float32(1)}, "ce: a numpy float32 ()"),
        ({"ce": torch.zeros(2)}, "ce: a torch Tensor (2,)"),
        ({"ce": torch.zeros((), dtype=torch.complex64)}, "torch.complex64"),
        (Losses({"ce": torch.zeros(())}, 3), "a int"),
    ],
)
def test_losses_are_named_scalars(method, losses, given):
    with pytest.raises(UserError, match=rf"method 'mine' gave as losses .*{re.escape(given)}.*expected a dictionary"):
        checked_losses(method, losses)


def test_optimisers_and_phases_are_what_they_are_called(method):
    for found in (None, {}, {"main": None}, torch.optim.SGD(method.parameters())):
        with pytest.raises(UserError, match=r"method 'mine': optimisers gave .*expected a dictionary"):
            checked_optimisers(method, found)
    elsewhere = torch.optim.SGD([*method.parameters(), *torch.nn.Linear(2, 2).parameters()])
    with pytest.raises(UserError, match=r"method 'mine': 2 tensors .* are no parameters of it, so that no checkpoint"):
        checked_optimisers(method, {"main": elsewhere})
    for phases in (None, ["train"]):
        with pytest.raises(UserError, match="method 'mine': phases: expected"):
            check_phases(phases, "inductive", "mine")


GOOD = Squares().read("val", "val0")


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (GOOD.image.astype(np.float32), GOOD.label, r"image is float32 \(32, 32, 3\): expected uint8"),
        (GOOD.image[:, :, 0], GOOD.label, r"image is uint8 \(32, 32\)"),
        (GOOD.image.transpose(2, 0, 1), GOOD.label, r"image is uint8 \(3, 32, 32\)"),
        (GOOD.image[:0], GOOD.label[:0], r"image is uint8 \(0, 32, 3\)"),
        (None, GOOD.label, "image is object"),
        (GOOD.image, GOOD.label.astype(np.float32), r"label is float32 \(32, 32\): expected int32 \(32, 32\)"),
        (GOOD.image, GOOD.label[:, :, None], r"label is int32 \(32, 32, 1\)"),
        (GOOD.image, GOOD.label[1:], r"label is int32 \(31, 32\)"),
        (GOOD.image, None, "label is object"),
        (GOOD.image, GOOD.label + 1, "label holds 4: expected class indices 0..3"),
        (GOOD.image, GOOD.label - 5, "label holds -6"),
    ],
)
def test_samples_are_uint8_and_int32_of_one_size(image, label, message):
    squares = Squares()
    squares.read = lambda split, image_id: Sample(image_id, image, label)
    with pytest.raises(UserError, match=f"dataset 'squares', val image 'val0': its {message}"):
        read_sample(squares, "val", "val0")


def test_labels_of_other_integers_are_taken_and_what_is_no_sample_is_not():
    squares = Squares()
    squares.read = lambda split, image_id: Sample("val0", GOOD.image, GOOD.label.astype(np.int64))
    assert read_sample(squares, "val", "val0").label.dtype == np.int32
    with pytest.raises(UserError, match="dataset 'squares', val image 'val1': read gave one of 'val0'"):
        read_sample(squares, "val", "val1")
    squares.read = lambda split, image_id: (GOOD.image, GOOD.label)
    with pytest.raises(UserError, match="dataset 'squares', val image 'val0': read gave a tuple"):
        read_sample(squares, "val", "val0")


@pytest.mark.parametrize("ids", [None, "val0", [1, 2], [None], ["a", "a"], ["a\0b"], [b"a"], 3])
def test_ids_are_texts(ids):
    squares = Squares()
    squares.ids = lambda split: ids
    with pytest.raises(UserError, match=r"dataset 'squares': .*val"):
        checked_ids(squares, "val")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("palette", value) for value in (None, 3, ((1, 2),) * 4, ((1, 2, 300),) * 4, ("red",) * 4)),
        *(("classes", value) for value in (None, (), "grey", (1, 2), ("a", ""))),
        *(("unseen", value) for value in ("blue", None, (1,))),
        *(("defaults", value) for value in (None, {})),
        *(("groups", value) for value in (None, {"a": "blue"})),
    ],
)
def test_a_description_of_another_kind_is_told(attribute, value):
    squares = Squares()
    setattr(squares, attribute, value)
    with pytest.raises(UserError, match=f"dataset squares: its `{attribute}` is .*: expected"):
        squares.validate()
