"""SPNet against the released code: features, logits at three scales, probabilities, calibrated labels, losses, gradients."""

import copy
import json

import numpy as np
import pytest
import torch

from zsbench.dataset import IGNORE
from zsbench.method import Scoring
from zsbench.methods.deeplab import DeepLabV2, caffe_pixels, multiscale, resized
from zsbench.methods.preclip.labels import cross_entropy, shrunk
from zsbench.methods.preclip.spnet import projected

from .conftest import GOLDENS, assert_near, assert_same_labels, fastnvec, v2_name

VOC, COCO = "spnet_voc12", "spnet_cocostuff"
ROUNDING = 1e-3
"""How far norms of gradients of the reference, in single precision, are from those in double precision: 9.1e-4 at most."""


@pytest.fixture(scope="module")
def network(rule):
    network = DeepLabV2("resnet101", "frozen", "random", 600).eval()
    rule.fill_(network, lambda name: v2_name(name, "scale.", "scale.aspp.stages."))
    return network


def vectors_of(words, table, ids):
    return fastnvec(words(table))[torch.from_numpy(np.asarray(ids))]


def order(words, table):
    stored = words(table)
    return np.concatenate([stored["seen"], stored["val"], stored["novel"]])


def pixels_of(rule, side, tag):
    return caffe_pixels(rule.image(side, side, tag)[None] / 255)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "table", "side", "step"),
    [("spnet_voc12_eval_513", "spnet_voc12_21", 513, 2), ("spnet_cocostuff_eval_321", "spnet_cocostuff_182", 321, 4)],
)
def test_evaluation(network, golden, words, rule, file, table, side, step):
    stored = golden(file)
    vectors = vectors_of(words, table, stored["class_ids"])
    seen = torch.arange(len(vectors)) < int(stored["n_seen"])
    with torch.no_grad():
        pixels = pixels_of(rule, side, file.rsplit("_", 2)[0].replace("_", "-"))
        stages = network.backbone(pixels)
        maps = multiscale(lambda image: projected(network(image), vectors), pixels)
        if f"layer5_c128_s{2 * step}" in stored:
            assert_near(stages[-1][0, ::128, :: 2 * step, :: 2 * step], stored[f"layer5_c128_s{2 * step}"], 1.4e-2)
        for logits, name in zip(maps, ("1", "0.5", "0.75", "max"), strict=True):
            assert_near(logits[0, :, ::step, ::step], stored[f"logits_{name}_s{step}"], 5e-5)
        probabilities = resized(maps[-1], (side, side)).softmax(1)
    (name,) = [key for key in stored if key.startswith("prob_s")]
    every = int(name.removeprefix("prob_s"))
    assert_near(probabilities[0, :, ::every, ::every], stored[name], 1e-5)
    for name in (key for key in stored if key.startswith("pred_")):
        scoring = Scoring(class_bias=float(name.removeprefix("pred_")) * seen)
        labels = scoring(probabilities, slice(None)).argmax(1)[0, ::2, ::2]
        assert_same_labels(labels, stored[name])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("file", "side", "cells", "classes"), [("voc12_train_321", 321, 6, 21), ("cocostuff_train_161", 161, 8, 182)]
)
def test_training_step(network, golden, words, rule, file, side, cells, classes, dtype):
    name = f"spnet_{file.split('_')[0]}"
    stored, table = golden(f"spnet_{file}"), f"{name}_{classes}"
    sums = json.loads((GOLDENS / "preclip" / "train.json").read_text())[f"{name}_train"]
    tag = name.replace("_", "-")
    ids = order(words, table)
    seen = len(ids) - len(words(table)["novel"])
    index = torch.full((256,), IGNORE)
    index[torch.from_numpy(ids[:seen])] = torch.arange(seen)
    labels = index[rule.labels(tag, 2, side, cells, classes)]
    pixels = torch.cat([pixels_of(rule, side, f"{tag}-train-{number}") for number in (0, 1)]).to(dtype)
    vectors = vectors_of(words, table, ids[:seen]).to(dtype)
    network = copy.deepcopy(network).to(dtype)
    maps = multiscale(lambda image: projected(network(image), vectors), pixels)
    losses = [cross_entropy(logits, shrunk(labels, logits.shape[-2:])) for logits in maps]
    sum(losses).backward()
    for number, (logits, loss) in enumerate(zip(maps, losses, strict=True)):
        assert torch.equal(shrunk(labels, logits.shape[-2:]), torch.from_numpy(stored[f"target_{number}"]))
        assert_near(logits[:, :, ::4, ::4], stored[f"out_{number}"], 5e-5)
        assert loss.item() == pytest.approx(float(stored[f"loss_{number}"]), rel=1e-5)
    assert sum(losses).item() == pytest.approx(float(stored["loss"]), rel=1e-5)
    for key, parameter in network.named_parameters():
        expected = sums["grad_norms"][v2_name(key, "scale.", "scale.aspp.stages.")]
        assert parameter.grad.double().norm().item() == pytest.approx(expected, rel=ROUNDING), key


def test_parameters_are_the_released_ones(words):
    network = DeepLabV2("resnet101", "frozen", "random", 600)
    assert sum(p.numel() for p in network.parameters()) == 86_634_016
    assert sum(p.numel() for p in network.head.parameters()) == 44_239_200
