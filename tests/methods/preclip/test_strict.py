"""STRICT against the released code: the teacher's views, what they agree on, the student's loss."""

import json
import re

import pytest
import torch

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.methods.deeplab import DeepLabV2, caffe_pixels
from zsbench.methods.preclip.labels import cross_entropy, shrunk
from zsbench.methods.preclip.spnet import projected
from zsbench.methods.preclip.views import agreed, taught, views

from .conftest import GOLDENS, assert_near, fastnvec, v2_name

VIEWS = ("orig", "flip", "s1.5", "s1.5_flip", "s1.75", "s1.75_flip")
UNSEEN = torch.arange(15, 20)


@pytest.fixture(scope="module")
def network(rule):
    network = DeepLabV2("resnet101", "frozen", "random", 600).eval()
    rule.fill_(network, lambda name: v2_name(name, "scale.", "scale.aspp.stages."))
    return network


@pytest.fixture(scope="module")
def setup(rule, words):
    """Pixels, labels of the fifteen seen classes, and word vectors of the twenty."""
    pixels = caffe_pixels(rule.image(129, 129, "strict-voc12-train-0")[None] / 255)
    labels = rule.labels("strict-voc12", 1, 129, 5, 21)
    seen = (labels >= 1) & (labels <= 15)
    return pixels, torch.where(seen, labels - 1, UNLABELLED), fastnvec(words("spnet_voc12_21"))[1:]


def test_student(network, setup, golden):
    stored = golden("strict_voc12_129")
    pixels, labels, vectors = setup
    with torch.no_grad():
        logits = projected(network(pixels), vectors)
    small = shrunk(labels, logits.shape[-2:])
    teacher = [torch.from_numpy(stored[f"teacher_{view}"]) for view in VIEWS]
    target = taught(small, agreed(teacher), UNSEEN)
    assert torch.equal(small.clamp(min=IGNORE), torch.from_numpy(stored["resized"]).long())
    assert torch.equal(target, torch.from_numpy(stored["target"]).long())
    assert torch.equal(taught(small, agreed(teacher[:1]), UNSEEN), torch.from_numpy(stored["target_hp"]).long())
    assert_near(logits[:, :, ::2, ::2], stored["student_logits_s2"], 5e-5)
    assert cross_entropy(logits, target).item() == pytest.approx(float(stored["loss"]), rel=1e-5)


@pytest.mark.slow
def test_teacher(network, setup, golden):
    stored = golden("strict_voc12_129")
    pixels, labels, vectors = setup
    with torch.no_grad():
        maps = views(lambda image: projected(network(image), vectors[UNSEEN]), pixels, (1.0, 1.5, 1.75), flip=True)
        down = views(lambda image: projected(network(image), vectors[UNSEEN]), pixels, (1.0, 0.5, 0.75), flip=True)
    for name, logits in zip(VIEWS, maps, strict=True):
        assert_near(logits, stored[f"teacher_{name}"], 5e-5)
    assert torch.equal(agreed(maps) != IGNORE, torch.from_numpy(stored["agree"]))
    small = shrunk(labels, maps[0].shape[-2:])
    assert torch.equal(taught(small, agreed(down), UNSEEN), torch.from_numpy(stored["target_down"]).long())


@pytest.mark.slow
def test_gradients_of_the_student(network, setup, golden):
    stored = golden("strict_voc12_129")
    pixels, _, vectors = setup
    norms = json.loads((GOLDENS / "preclip" / "train.json").read_text())["strict_voc12"]["grad_norms"]
    network.zero_grad()
    cross_entropy(projected(network(pixels), vectors), torch.from_numpy(stored["target"]).long()).backward()
    for key, parameter in network.named_parameters():
        name = re.sub(r"aspp\.stages\.", "aspp.", v2_name(key, "base.", "base.aspp.stages.")).replace(
            ".proj.", ".shortcut."
        )
        assert parameter.grad.double().norm().item() == pytest.approx(norms[name], rel=1e-3), name
    network.zero_grad()
