"""Label maps are bit-identical to the plain computation, whatever the sizes, windows and chunks; in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.errors import UserError
from zsbench.evaluation import argmax
from zsbench.evaluation.prediction import AtOnce, predict_labels, resize, resized_shape, windows
from zsbench.evaluation.watch import Watch
from zsbench.method import ImageBatch, Method, Options, Prediction

SIDES = st.integers(1, 40)
EXAMPLES = settings(max_examples=100, deadline=None)


class Given(Method):
    """Gives prepared logits, window after window, whatever the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(None, Options())  # type: ignore[arg-type]
        self.logits, self.at = logits, 0
        classes = logits.shape[1]
        self.set_vocabulary(Vocabulary(tuple(map(str, range(classes))), torch.eye(classes), torch.ones(classes)))

    def predict(self, images: Tensor) -> Tensor:
        self.at += len(images)
        return self.logits[self.at - len(images) : self.at]


class Scaled(Given):
    """Logits that a softmax makes probabilities of."""

    logit_scale = 3.0  # type: ignore[assignment]


class Calibrated(Given):
    """Scores as ZegCLIP's: a sigmoid, less a constant for every other class."""

    logit_scale = None  # type: ignore[assignment]

    def score(self, logits: Tensor, classes: slice) -> Tensor:
        less = 0.1 * (torch.arange(self.logits.shape[1])[classes] % 2)
        return logits.sigmoid() - less[:, None, None]


def plain_argmax(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None].contiguous(), size=size, mode="bilinear")[0].argmax(0)


def plain_scores(method: Given, images: Tensor, size: tuple[int, int], protocol: EvalProtocol) -> list[Tensor]:
    """All scores (C, H, W) at full size, as mmsegmentation's `slide_inference` computes them."""
    height, width = images.shape[-2:]
    places = windows(height, width, protocol.crop, protocol.stride)
    crop = (min(protocol.crop or height, height), min(protocol.crop or width, width))
    classes = slice(0, method.logits.shape[1])
    maps = []
    for logits in method.logits.split(len(places)):
        total, count = torch.zeros(1, classes.stop, height, width), torch.zeros(height, width)
        for window, (top, left) in zip(logits, places, strict=True):
            score = method.score(F.interpolate(window[None], size=crop, mode="bilinear"), classes)
            total[..., top : top + crop[0], left : left + crop[1]] += score
            count[top : top + crop[0], left : left + crop[1]] += 1
        maps.append(F.interpolate(total / count, size=size, mode="bilinear")[0])
    return maps


def plain_labels(method: Given, images: Tensor, size: tuple[int, int], protocol: EvalProtocol) -> list[Tensor]:
    return [scores.argmax(0) for scores in plain_scores(method, images, size, protocol)]


@st.composite
def logit_maps(draw: st.DrawFn, number: int | None = None) -> Tensor:
    """Logits (number, C, h, w) or (C, h, w): smooth or rough, of any scale, with many ties where they are quantised."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (number or 1, draw(st.integers(1, 40)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    logits = torch.randn(shape, generator=generator) * draw(st.sampled_from([1e-30, 0.01, 1.0, 1e4, 1e30]))
    step = draw(st.sampled_from([0.0, 0.25, 1.0]))
    if step:
        logits = torch.randn(shape, generator=generator).div(step).round().mul(step)
    if draw(st.booleans()):
        logits = logits.contiguous(memory_format=torch.channels_last)
    return logits if number else logits[0]


@EXAMPLES
@given(
    logits=logit_maps(),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    chunk=st.none() | st.integers(1, 40),
)
def test_upsampled_argmax_is_the_plain_argmax(logits: Tensor, size: tuple[int, int], chunk: int | None) -> None:
    assert torch.equal(argmax.upsampled_argmax(logits, size, chunk).long(), plain_argmax(logits, size))


@settings(max_examples=25, deadline=None)
@given(
    logits=logit_maps(),
    size=st.tuples(st.integers(256, 300), st.integers(256, 300)),
    chunk=st.none() | st.integers(1, 40),
)
def test_large_outputs_too(logits: Tensor, size: tuple[int, int], chunk: int | None) -> None:
    expected = plain_argmax(logits, size)
    assert torch.equal(argmax.upsampled_argmax(logits, size, chunk).long(), expected)
    assert torch.equal(argmax.by_chunks(logits, size, chunk).long(), expected)


@settings(deadline=None)
@given(classes=st.integers(1, 1000), chunk=st.integers(1, 100), pixels=st.integers(1, 2**30))
def test_chunks_partition_the_classes(classes: int, chunk: int, pixels: int) -> None:
    for parts in (argmax.class_chunks(classes, pixels), argmax.class_chunks(classes, pixels, chunk)):
        assert [index for part in parts for index in range(classes)[part]] == list(range(classes))
        assert all(part.start % 16 == 0 for part in parts)
        assert len(parts) == 1 or min(part.stop - part.start for part in parts) >= 4


@EXAMPLES
@given(data=st.data(), name=st.sampled_from(["sigmoid", "logits"]), chunk=st.none() | st.integers(1, 30))
def test_labels_are_those_of_the_plain_computation(data: st.DataObject, name: str, chunk: int | None) -> None:
    height, width, crop = data.draw(SIDES), data.draw(SIDES), data.draw(st.none() | st.integers(4, 30))
    stride = None if crop is None else data.draw(st.integers(3, crop))
    protocol = EvalProtocol(crop=crop, stride=stride)
    size = data.draw(st.just((height, width)) | st.tuples(SIDES, SIDES))
    number = data.draw(st.integers(1, 3))
    logits = data.draw(logit_maps(number * len(windows(height, width, crop, stride))))
    method = (Calibrated if name == "sigmoid" else Given)(logits)
    images = torch.zeros(number, 3, height, width)
    batch = data.draw(st.integers(1, 20))
    labels = predict_labels(method, ImageBatch(images), [size] * number, protocol, at_once=AtOnce(batch, chunk))
    if name == "logits" and len(logits) == number:
        expected = [plain_argmax(each, size) for each in logits]
    else:
        expected = plain_labels(method, images, size, protocol)
    assert [label.dtype for label in labels] == [torch.int32] * number
    assert all(torch.equal(label.long(), plain) for label, plain in zip(labels, expected, strict=True))


@EXAMPLES
@given(
    data=st.data(),
    kind=st.sampled_from([Scaled, Calibrated]),
    chunk=st.none() | st.integers(1, 30),
    threshold=st.floats(0.01, 0.99),
)
def test_background_by_threshold_is_the_plain_rule(
    data: st.DataObject, kind: type[Given], chunk: int | None, threshold: float
) -> None:
    """Softmax over all words at full size, its maximum, its threshold; no other pixel changes. Only a probability
    within rounding of the threshold may go either way."""
    height, width, crop = data.draw(SIDES), data.draw(SIDES), data.draw(st.none() | st.integers(4, 30))
    sliding = EvalProtocol(crop=crop, stride=crop)
    logits = data.draw(logit_maps(len(windows(height, width, crop, crop))).filter(lambda each: each.abs().max() < 1e5))
    images = torch.zeros(1, 3, height, width)
    size = data.draw(st.just((height, width)) | st.tuples(SIDES, SIDES))
    [labels] = predict_labels(kind(logits), ImageBatch(images), [size], sliding, at_once=AtOnce(classes=chunk))
    protocol = replace(sliding, background_threshold=threshold)
    [found] = predict_labels(kind(logits), ImageBatch(images), [size], protocol, at_once=AtOnce(classes=chunk))
    if kind is Scaled and len(logits) == 1:
        scores = F.interpolate(logits.contiguous(), size=size, mode="bilinear")[0]
    else:
        [scores] = plain_scores(kind(logits), images, size, sliding)
    probability = scores.double() if kind is Calibrated else (3 * scores.double()).softmax(0)
    best = probability.amax(0)
    clear = (best - threshold).abs() > 1e-5 + 1e-6 * scores.abs().max()
    expected = torch.where(best < threshold, logits.shape[1], labels)
    assert torch.equal(found[clear], expected[clear])
    assert ((found == labels) | (found == logits.shape[1])).all()


@pytest.mark.parametrize(("classes", "low", "size"), [(60, (32, 43), (480, 640)), (20, (64, 86), (375, 500))])
@pytest.mark.parametrize("kind", ["rough", "smooth", "quantised", "equal", "twins", "masked", "huge"])
def test_large_maps(classes: int, low: tuple[int, int], size: tuple[int, int], kind: str) -> None:
    logits = torch.randn(classes, *low, generator=torch.Generator().manual_seed(1))
    if kind == "smooth":
        logits = F.interpolate(logits[None, :, :5, :5], size=low, mode="bicubic")[0]
    elif kind == "quantised":
        logits = logits.round()
    elif kind == "equal":
        logits = torch.zeros_like(logits)
    elif kind == "twins":  # two classes of one name
        logits[7] = logits[5]
    elif kind == "masked":
        logits[3:9] = torch.finfo().min
    elif kind == "huge":
        logits[logits > 1] = torch.finfo().max
        logits[logits < -1] = torch.finfo().min
    assert torch.equal(argmax.upsampled_argmax(logits, size).long(), plain_argmax(logits, size))


def test_precision_settings_do_not_matter() -> None:
    logits = torch.randn(1, 300, 8, 8, generator=torch.Generator().manual_seed(1))
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            [label] = predict_labels(Given(logits), ImageBatch(torch.zeros(1, 3, 64, 64)), [(64, 64)], EvalProtocol())
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.equal(label.long(), plain_argmax(logits[0], (64, 64)))


def test_each_label_has_its_own_size() -> None:
    logits = torch.randn(2, 9, 4, 4, generator=torch.Generator().manual_seed(1))
    sizes = [(10, 20), (30, 7)]
    whole = EvalProtocol(crop=None, stride=None)
    labels = predict_labels(Given(logits), ImageBatch(torch.zeros(2, 3, 16, 16)), sizes, whole)
    assert [tuple(label.shape) for label in labels] == sizes
    assert all(
        torch.equal(label.long(), plain_argmax(each, size))
        for label, each, size in zip(labels, logits, sizes, strict=True)
    )


class Seeing(Given):
    """Remembers what it was shown; its logits are the mean colours of the window."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(0, 3))
        self.shown: list[Tensor] = []

    def predict(self, images: Tensor) -> Tensor:
        self.shown.append(images)
        return images.mean((2, 3), keepdim=True)


def test_windows_reach_the_method_in_batches() -> None:
    images = torch.arange(2 * 3 * 10 * 13, dtype=torch.float32).view(2, 3, 10, 13)
    method = Seeing()
    predict_labels(method, ImageBatch(images), [(10, 13)] * 2, EvalProtocol(crop=6, stride=4), at_once=AtOnce(5))
    assert [len(batch) for batch in method.shown] == [5, 5, 2]
    places = [(top, left) for top in (0, 4) for left in (0, 4, 7)]
    cuts = [image[:, top : top + 6, left : left + 6] for image in images for top, left in places]
    assert torch.equal(torch.cat(method.shown), torch.stack(cuts))


class Exported(Given):
    """Writes all its outputs into the same memory, as a captured graph does."""

    def predict(self, images: Tensor) -> Tensor:
        self.buffer = getattr(self, "buffer", torch.empty(1, *self.logits.shape[1:]))
        return self.buffer.copy_(super().predict(images))


def test_outputs_in_the_same_memory_are_kept_apart() -> None:
    logits, images = torch.randn(6, 4, 6, 6), torch.rand(1, 3, 10, 13)
    protocol = EvalProtocol(crop=6, stride=4)
    found = [
        predict_labels(kind(logits), ImageBatch(images), [(10, 13)], protocol, at_once=AtOnce(1))[0]
        for kind in (Given, Exported)
    ]
    assert torch.equal(*found)


class Knowing(Seeing):
    """Remembers all that it was told, and counts: how bright each window is. Whether it is an oracle is asked for."""

    oracle = False  # type: ignore[assignment]

    def predict_batch(self, batch: ImageBatch) -> Prediction:
        self.told = [*getattr(self, "told", []), batch]
        return Prediction(self.predict(batch.images), lambda: {"bright": batch.images.mean((1, 2, 3)).tolist()})


@pytest.mark.parametrize("oracle", [False, True])
def test_windows_keep_what_may_be_known_of_their_image(oracle: bool) -> None:
    method = Knowing()
    method.oracle = oracle  # type: ignore[misc]
    truth = [torch.zeros(20, 26), torch.ones(20, 26)]
    batch = ImageBatch(torch.rand(2, 3, 10, 13), ["cat", "dog"], truth)
    predict_labels(method, batch, [(20, 26)] * 2, EvalProtocol(crop=6, stride=4), at_once=AtOnce(5))
    ids = [list(part.ids or ()) for part in method.told]
    assert ids == [["cat"] * 5, ["cat", *["dog"] * 4], ["dog"] * 2]
    assert not any(part.whole for part in method.told)
    if oracle:
        labels = [label for part in method.told for label in part.labels or ()]
        assert all(label is truth[index // 6] for index, label in enumerate(labels)) and len(labels) == 12
    else:
        assert all(part.labels is None for part in method.told)
    predict_labels(method, batch, [(20, 26)] * 2, EvalProtocol(crop=None, stride=None))
    assert method.told[-1].whole and list(method.told[-1].ids or ()) == ["cat", "dog"]


def test_what_a_method_counts_is_averaged_over_images() -> None:
    watch, images = Watch(), torch.rand(3, 3, 8, 8)
    for part in images.split(2):
        whole = EvalProtocol(crop=None, stride=None)
        predict_labels(Knowing(), ImageBatch(part), [(8, 8)] * len(part), whole, watch)
    assert watch.statistics() == {"bright": pytest.approx(float(images.mean()))}
    assert Watch().statistics() == {}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", [Given, Calibrated])
def test_logits_that_are_not_finite_name_the_image(bad: float, kind: type[Given]) -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[1, 2, 0, 3] = bad
    with pytest.raises(UserError, match=r"logits are NaN or infinite for image dog\.jpg.*diverged"):
        predict_labels(
            kind(logits), ImageBatch(torch.zeros(2, 3, 8, 8), ["cat", "dog.jpg"]), [(8, 8)] * 2, EvalProtocol()
        )


def test_scores_that_are_nan_are_an_error() -> None:
    class Root(Given):
        def score(self, logits: Tensor, classes: slice) -> Tensor:
            return logits.sqrt()

    with pytest.raises(UserError, match="scores are NaN for image 0 of the batch"):
        predict_labels(Root(-torch.ones(1, 3, 4, 4)), ImageBatch(torch.zeros(1, 3, 8, 8)), [(8, 8)], EvalProtocol())


def test_wrong_shapes_name_the_method() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UserError, match=r"method .Given. predicted .*\(1, 3, 4\) .* for 1 images and 3 words"):
        predict_labels(Given(torch.zeros(1, 3, 4)), ImageBatch(images), [(8, 8)], EvalProtocol())
    method = Given(torch.zeros(1, 3, 4, 4))
    method.set_vocabulary(Vocabulary(("a", "b"), torch.eye(2), torch.ones(2, dtype=torch.bool)))
    with pytest.raises(UserError, match=r"\(1, 3, 4, 4\) .* for 1 images and 2 words"):
        predict_labels(method, ImageBatch(images), [(8, 8)], EvalProtocol())

    class Mixing(Given):
        def score(self, logits: Tensor, classes: slice) -> Tensor:
            return logits.amax(1)

    with pytest.raises(UserError, match=r"Mixing\.score gave .*\(1, 8, 8\)"):
        predict_labels(Mixing(torch.zeros(1, 3, 4, 4)), ImageBatch(images), [(8, 8)], EvalProtocol())


def test_stages_are_timed() -> None:
    entered: list[str] = []

    class Noting(Watch):
        def stage(self, name: str) -> Any:
            entered.append(name)
            return torch.no_grad()

    logits = torch.randn(1, 3, 4, 4)
    predict_labels(Given(logits), ImageBatch(torch.zeros(1, 3, 8, 8)), [(8, 8)], EvalProtocol(), Noting())
    assert entered == ["model", "post"]


@settings(deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), crop=st.integers(1, 60), data=st.data())
def test_windows_cover_the_image_as_in_mmsegmentation(height: int, width: int, crop: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(max(1, crop // 4), crop))
    places = windows(height, width, crop, stride)
    covered = np.zeros((height, width), bool)
    for top, left in places:
        assert 0 <= top <= max(height - crop, 0) and 0 <= left <= max(width - crop, 0)
        covered[top : top + crop, left : left + crop] = True
    assert covered.all()
    assert len(set(places)) == len(places)
    rows = max(height - crop + stride - 1, 0) // stride + 1  # mmseg/models/segmentors, slide_inference
    columns = max(width - crop + stride - 1, 0) // stride + 1
    ends = [min(row * stride + crop, height) for row in range(rows)]
    assert sorted({top for top, _ in places}) == [max(end - crop, 0) for end in ends]
    assert len(places) == rows * columns


def test_windows_of_the_released_protocol() -> None:
    assert windows(512, 683, 512, 426) == [(0, 0), (0, 171)]
    assert windows(512, 512, 512, 426) == [(0, 0)]
    assert windows(300, 700, 512, 426) == [(0, 0), (0, 188)]
    assert windows(300, 700, None, None) == [(0, 0)]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (EvalProtocol(short_side=512), (512, 683)),
        (EvalProtocol(short_side=None), (375, 500)),
        (EvalProtocol(short_side=512, max_long_side=640), (480, 640)),
        (EvalProtocol(short_side=None, max_long_side=250), (188, 250)),
        (EvalProtocol(short_side=None, max_long_side=640), (375, 500)),
    ],
)
def test_resized_shape(protocol: EvalProtocol, expected: tuple[int, int]) -> None:
    assert resized_shape(375, 500, protocol) == expected
    assert resized_shape(500, 375, protocol) == expected[::-1]


@settings(deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000), side=st.integers(1, 1024))
def test_short_side_is_exact(height: int, width: int, side: int) -> None:
    assert min(resized_shape(height, width, EvalProtocol(short_side=side))) == side


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """INTER_LINEAR's geometry in float64: pixel centres aligned, edges repeated."""
    for axis, length in enumerate((height, width)):
        size = image.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * size / length - 0.5, 0, size - 1)
        low = at.astype(int)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(3)])
        high = np.minimum(low + 1, size - 1)
        image = image.take(low, axis) * (1 - part) + image.take(high, axis) * part
    return image


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), side=st.integers(1, 60))
def test_resize_is_bilinear(height: int, width: int, side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image.setflags(write=False)  # as PIL gives them
    resized = resize(image, EvalProtocol(short_side=side))
    assert resized.dtype == torch.float32 and resized.is_contiguous()
    assert resized.min() >= 0 and resized.max() <= 1
    expected = bilinear(image / 255, *resized.shape[1:])
    np.testing.assert_allclose(resized.permute(1, 2, 0), expected, atol=1e-5)


def test_resize_keeps_an_image_of_the_right_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert torch.equal(resize(image, EvalProtocol(short_side=30)), torch.from_numpy(image).permute(2, 0, 1) / 255)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Given", "Calibrated", "Scaled"])
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_is_bounded(kind: str) -> None:
    """847 classes at 1024 x 1376 stay under 1 GiB; all scores at once are 4.5 GiB."""
    code = f"""
        import resource, torch
        from test_prediction import Calibrated, Given, Scaled
        from zsbench.dataset import EvalProtocol
        from zsbench.evaluation.prediction import AtOnce, predict_labels
        from zsbench.method import ImageBatch
        protocol = EvalProtocol(crop=None, stride=None) if "{kind}" == "Given" else EvalProtocol()
        if "{kind}" == "Scaled":
            protocol = EvalProtocol(background_threshold=0.5)
        logits = torch.randn(1, 847, 64, 86) if "{kind}" == "Given" else torch.randn(12, 847, 32, 32)
        method = {kind}(logits)
        predict_labels({kind}(logits[:, :, :9, :9]), ImageBatch(torch.zeros(1, 3, 1024, 1376)), [(64, 64)], protocol)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        [label] = predict_labels(method, ImageBatch(torch.zeros(1, 3, 1024, 1376)), [(1024, 1376)], protocol)
        assert label.shape == (1024, 1376)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    root = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, cwd=root, check=True)
    assert int(done.stdout) < 2**20
