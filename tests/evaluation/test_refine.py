"""Classes of small area give way to the next best, and background by threshold goes by the softmax over all words."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.evaluation.prediction import AtOnce, predict_labels
from zsbench.evaluation.refine import small
from zsbench.method import ImageBatch, Method
from zsbench.refining import Pamr, Refining

WHOLE = {"short_side": None, "crop": None, "stride": None}


class Given(Method):
    """Logits made elsewhere, and a declared refinement."""

    def __init__(self, logits: Tensor, refining: Refining | None, scale: float) -> None:
        super().__init__(None, None)
        self.logits, self.declared, self.scale, self.vocabulary = logits, refining, scale, range(logits.shape[1])  # type: ignore[assignment]

    def predict(self, images: Tensor) -> Tensor:
        return self.logits

    @property
    def refining(self) -> Refining | None:
        return self.declared

    @property
    def logit_scale(self) -> float:
        return self.scale


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("pamr", [None, Pamr(2, (1, 2))])
@pytest.mark.parametrize("chunk", [None, 16])
def test_labels_are_those_of_all_scores_at_once(threshold: float | None, pamr: Pamr | None, chunk: int | None) -> None:
    torch.manual_seed(0)
    words, size, scale, share = 40, (21, 17), 3.0, 0.05
    logits, image = torch.randn(1, words, 6, 5), torch.rand(1, 3, 12, 10)
    owners = [index // 2 for index in range(words)]  # two words a class; class 0 is background
    method = Given(logits, Refining(pamr, share), scale)
    protocol = EvalProtocol(**WHOLE, background_threshold=threshold)
    (found,) = predict_labels(
        method, ImageBatch(image), [size], protocol, at_once=AtOnce(classes=chunk), word_to_class=[*owners, 0]
    )
    scores = F.interpolate(logits, size, mode="bilinear")[0]
    if pamr is not None:
        scores = pamr.refine(scores, pamr.affinities(F.interpolate(image, size, mode="bilinear")[0]))
    classes = (scale * scores).softmax(0).view(words // 2, 2, *size).amax(1)
    pixels = torch.bincount(classes.argmax(0).flatten(), minlength=words // 2)
    dropped = pixels <= share * pixels[1:].sum()
    dropped[0] = False
    classes[dropped] = 0
    best, expected = classes.max(0)
    if threshold is not None:
        expected[best < threshold] = 0
    assert dropped.any() and not dropped[1:].all()
    assert torch.equal(torch.tensor([*owners, 0])[found.long()], expected)


def test_nothing_declared_changes_nothing() -> None:
    torch.manual_seed(1)
    logits, image = torch.randn(1, 5, 6, 5), torch.rand(1, 3, 12, 10)
    for protocol in (EvalProtocol(**WHOLE), EvalProtocol(**WHOLE, background_threshold=0.4)):
        (plain,) = predict_labels(Given(logits, None, 1.0), ImageBatch(image), [(20, 20)], protocol)
        (empty,) = predict_labels(Given(logits, Refining(), 1.0), ImageBatch(image), [(20, 20)], protocol)
        assert torch.equal(plain, empty)


def test_background_is_neither_small_nor_part_of_the_sum() -> None:
    labels = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 2]])
    assert small(labels, 3, 0.2, [0, 1, 2, 0]).tolist() == [False, False, True]  # 1 of 6 pixels
    assert small(labels, 3, 0.1, [0, 1, 2, 0]).tolist() == [False, False, False]
    assert small(labels, 3, 0.1, None).tolist() == [False, False, True]  # without background, 1 of 12


@pytest.mark.parametrize("refining", [None, Refining()])
def test_a_word_that_the_list_has_twice_is_in_the_softmax_twice(refining: Refining | None) -> None:
    """So the release's list of words, with its repetitions, and ours without them find the same background."""
    torch.manual_seed(2)
    logits, image = torch.randn(1, 5, 6, 5), torch.rand(1, 3, 12, 10)
    method = Given(logits, refining, 2.0)
    counts = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0])
    method.vocabulary = Vocabulary(tuple("abcde"), torch.eye(5), torch.ones(5, dtype=torch.bool), counts=counts)
    protocol = EvalProtocol(**WHOLE, background_threshold=0.35)
    (labels,) = predict_labels(method, ImageBatch(image), [(20, 20)], protocol)
    repeated = logits[:, [0, 1, 1, 1, 2, 3, 3, 4]]
    (found,) = predict_labels(Given(repeated, refining, 2.0), ImageBatch(image), [(20, 20)], protocol)
    assert torch.equal(labels.long(), torch.tensor([0, 1, 1, 1, 2, 3, 3, 4, 5])[found.long()])
    (once,) = predict_labels(Given(logits, refining, 2.0), ImageBatch(image), [(20, 20)], protocol)
    assert not torch.equal(once, labels)
