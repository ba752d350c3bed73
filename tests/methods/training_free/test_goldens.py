"""The family against outputs of the released code, under weights that follow from their names (`shared/goldens`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training_free import assert_close, assert_same_labels, build, fill, golden, labelled, picture, ruled_clip, rules

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.templates import read_templates
from zsbench.clip.text import encode_names

SIZE = (200, 276)
"""The label's size in most of them; the image has 240 x 331 pixels."""
WINDOWS = {"crop": 224, "stride": 112}
LIKELY = WINDOWS | {"background_threshold": 0.1}
slow = pytest.mark.slow


def at_label(logits: Tensor) -> Tensor:
    """Every twelfth pixel of what the harness would label, (C, 17, 23)."""
    return F.interpolate(logits, SIZE, mode="bilinear")[0, :, ::12, ::12]


@pytest.mark.parametrize(
    ("file", "run", "method", "options", "text", "protocol"),
    [
        ("sclip", "whole_thd", "sclip", {"logit_scale": 50.0}, 21, {"background_threshold": 0.3}),
        pytest.param("sclip", "voc20", "sclip", {}, 20, WINDOWS, marks=slow),
        pytest.param("naclip", "context_slide", "naclip", {"pamr": 0}, 21, LIKELY, marks=slow),
        pytest.param("sclip", "voc21", "sclip", {"logit_scale": 65.0, "area_threshold": 0.1}, 21, LIKELY, marks=slow),
        pytest.param("naclip", "context_slide_pamr", "naclip", {}, 21, LIKELY, marks=slow),
        pytest.param("naclip", "voc20_whole_pamr", "naclip", {"resize": "twice"}, 20, {}, marks=slow),
        pytest.param("clearclip", "clearclip_slide", "clearclip", {}, 20, WINDOWS, marks=slow),
        ("clearclip", "clearclip_pad", "clearclip", {}, 21, {"background_threshold": 0.15}),
        pytest.param("clearclip", "vanilla_nores_pad", "clearclip", {"attention": "qk"}, 20, {}, marks=slow),
        pytest.param("clearclip", "maskclip_pad", "maskclip", "quoted", 20, {}, marks=slow),
        pytest.param("clearclip", "gem_pad", "gem", "clearclip-residual", 20, {}, marks=slow),
        pytest.param("clearclip", "gem_nores_pad", "gem", "clearclip-no-residual", 20, {}, marks=slow),
    ],
)
def test_labels_and_cosines_are_the_released_ones(
    file: str, run: str, method: str, options: Any, text: int, protocol: dict[str, Any]
) -> None:
    reference = golden(f"training-free/{file}.npz")
    if isinstance(options, str):
        options = build(ruled_clip(), method, reference["text20"]).Options.variants[options]
    built = build(ruled_clip(), method, reference[f"text{text}"], **options)
    owners = reference.get(f"owner{text}")
    owners = owners if owners is not None and len(owners) == len(reference[f"text{text}"]) else None
    image = picture(240, 331, "scene")
    assert_same_labels(labelled(built, image, SIZE, owners, **protocol), reference[f"{run}/label"])
    if "crop" not in protocol and built.refining is None:
        with torch.inference_mode():
            assert_close(at_label(built.predict(image)), reference[f"{run}/logits_s12"], 2e-6)


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("default", {}),
        pytest.param("depth3_iter2", {"depth": 3, "iterations": 2}, marks=slow),
        pytest.param("temp", {"temperature": 10.0}, marks=slow),
    ],
)
def test_gem_is_the_released_one(run: str, options: dict[str, Any]) -> None:
    reference, image = golden("training-free/gem.npz"), picture(240, 331, "scene")
    built = build(ruled_clip(), "gem", rules().text(20, "voc20"), rounded=False, **options)
    plain = build(ruled_clip(), "gem", rules().text(20, "voc20"), rounded=False, minmax=False, **options)
    with torch.inference_mode():
        heat, cosines = built.predict(image)[0], F.interpolate(plain.predict(image), (240, 331), mode="bilinear")[0]
    assert_close(heat[:, ::12, ::12], reference[f"{run}/heat_s12"], 1e-5)
    assert_close(cosines[:, ::12, ::12], reference[f"{run}/cosine_s12"], 2e-6)
    assert_same_labels(heat.argmax(0).numpy(), reference[f"{run}/label"])
    assert_same_labels(cosines.argmax(0).numpy(), reference[f"{run}/label_cosine"])


@slow
@pytest.mark.parametrize(
    ("run", "size", "picture_", "label", "text", "protocol"),
    [
        ("bg224", (200, 210), "proxy", (173, 180), (56, "voc21"), {"background_threshold": 0.2}),
        ("slide280", (240, 331), "scene", SIZE, (20, "voc20"), {"crop": 280, "stride": 112}),
    ],
)
def test_proxyclip_is_the_released_one(
    run: str, size: tuple[int, int], picture_: str, label: Any, text: Any, protocol: dict[str, Any]
) -> None:
    reference, image = golden("training-free/proxyclip.npz"), picture(*size, picture_)
    built = build(ruled_clip(), "proxyclip", rules().text(*text))
    fill(built.guide, rules().rule, "dino.")
    owners = golden("training-free/sclip.npz")["owner21"] if text[0] == 56 else None
    assert_same_labels(labelled(built, image, label, owners, **protocol), reference[f"{run}/label"])
    if "crop" not in protocol:
        with torch.inference_mode():
            cosines = F.interpolate(built.predict(image), label, mode="bilinear")[0, :, ::12, ::12]
        assert_close(cosines, reference[f"{run}/logits_s12"], 2e-6)


REFINED = {
    "plain": {},
    "ks": {"smoothing": 1.0},
    "pd": {"denoising": 0.5},
    "kspd": {"smoothing": 1.0, "denoising": 0.5},
    "kspd_02": {"smoothing": 0.8, "denoising": 0.2},
    "attnpool": {"attention": "full"},
}


def check_maskclip(clip: Clip, reference: Any, run: str, texts: Any) -> None:
    """Both the head's output on its small grid and the label map after two resizes."""
    image, expected = picture(200, 299, "maskclip"), reference[f"{run}/head"]
    head = build(clip, "maskclip", texts, resize="once", **REFINED[run])
    with torch.inference_mode():
        assert_close(head.predict(image)[0], expected, max(2e-6, 5e-6 * float(np.abs(expected).max())))
    found = labelled(build(clip, "maskclip", texts, **REFINED[run]), image, (231, 345))
    assert_same_labels(found, reference[f"{run}/label"])


@pytest.mark.parametrize("run", ["plain", "kspd", *(pytest.param(run, marks=slow) for run in ("ks", "pd", "kspd_02"))])
def test_maskclip_is_the_released_one(run: str) -> None:
    check_maskclip(ruled_clip(), golden("maskclip/maskclip_vit.npz"), run, rules().text(20, "voc20"))


@slow
@pytest.mark.parametrize("run", ["plain", "ks", "pd", "kspd", "attnpool"])
def test_maskclip_on_a_resnet_is_the_released_one(run: str) -> None:
    clip = load_clip("RN50-quickgelu", "random")
    fill(clip.model.visual, rules().conv, "visual.")
    check_maskclip(clip, golden("maskclip/maskclip_rn50.npz"), run, rules().text(20, "voc20-1024", 1024))


@slow
def test_class_names_are_embedded_as_released() -> None:
    reference, rule = golden("training-free/text.npz"), rules().rule
    clip = load_clip("ViT-B-16-quickgelu", "random")
    fill(clip.model, rule)
    assert read_templates("maskclip85") == tuple(map(str, reference["maskclip85_templates"]))
    for key, words, templates in (
        ("sclip80", ("ship", "boat", "potted plant"), "imagenet80"),
        ("maskclip85", ("ship", "potted plant"), "maskclip85"),
        ("gem1", ("ship", "potted plant"), "a photo of a {}."),
    ):
        assert_close(encode_names(clip, words, read_templates(templates)), reference[key], 1e-6)
