"""What a user hears who gives the systems before CLIP words, classes, or a setting that they do not have."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zsbench.clip.text import Vocabulary
from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.recipe import Recipe
from zsbench.registry import load_method_class
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.settings import Phase
from zsbench.training.rehearsal import trial_step

SMALL = {"backbone": "miniature", "norm": "batch", "dim": 4}


def built(name: str, **options: object) -> Method:
    cls = load_method_class(name)
    return cls(None, cls.Options(**SMALL, **options))


def words(count: int, width: int = 4) -> Vocabulary:
    return Vocabulary(
        tuple(f"word {n}" for n in range(count)), torch.eye(count, width), torch.arange(count) < count - 1
    )


@pytest.mark.parametrize("name", ["spnet", "strict", "joem", "zs3", "cagnet", "sign"])
def test_word_vectors_of_another_width(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"{name}: the word vectors have 5 numbers each, where the method has 4\. Give"
    ):
        built(name).set_vocabulary(words(3, 5))


@pytest.mark.parametrize("name", ["zs3", "cagnet", "sign"])
def test_a_background_that_the_classifier_was_not_made_for(name: str) -> None:
    """A classifier of three classes is told a fourth word."""
    method = built(name, classes=3)
    method.set_vocabulary(words(3))
    with pytest.raises(UserError, match=rf"{name}: its classifier tells 3 classes, and 4 words are given.*classes=4"):
        method.set_vocabulary(words(4))
    with pytest.raises(
        UserError, match=rf"{name}: no channel is left for the background class 'word 0': its classifier"
    ):
        method.set_vocabulary(replace(words(4), background="word 0"))


@pytest.mark.parametrize(
    ("name", "setting", "settings"),
    [
        ("joem", "transductive", "inductive, supervised"),
        ("cagnet", "supervised", "inductive, transductive"),
        ("sign", "supervised", "inductive, transductive"),
    ],
)
def test_a_setting_without_training(name: str, setting: str, settings: str) -> None:
    cls = load_method_class(name)
    with pytest.raises(UserError, match=f"{name} has no training in the {setting} setting: {settings}"):
        cls.phases(setting, Recipe(), cls.Options(**SMALL))


def test_joems_auxiliary_classifier_is_too_small() -> None:
    """Told at the first trial step, before any image is learnt from."""
    method = built("joem", classes=3)
    method.set_vocabulary(words(4))
    with pytest.raises(UserError, match="has 3 channels, too few for 4 classes: -o classes=4 or more"):
        trial_step(method, Phase("train", "inductive", "seen", Recipe(crop=32)), 1, torch.device("cpu"))


@pytest.mark.parametrize(("sigma", "range_"), [("1.5", "less than or equal to 1"), ("0", "greater than 0")])
def test_joems_calibration_outside_its_range(sigma: str, range_: str) -> None:
    request = Request(method="joem", dataset="pascal-voc", options={"sigma": sigma})
    with pytest.raises(UserError, match=f"option of joem: sigma='{sigma}': Input should be {range_}"):
        resolve(request).options(None)


@pytest.mark.parametrize("dataset", ["pascal-voc", "pascal-context", "context33", "coco-stuff", "coco-stuff-182"])
@pytest.mark.parametrize("name", ["joem", "zs3", "cagnet", "sign"])
def test_classifiers_have_a_channel_for_every_word_of_what_they_have_a_recipe_for(name: str, dataset: str) -> None:
    """JoEm's may have more; ZS3 has no recipe for the 33 classes of CaGNet's task, and JoEm none for COCO-Stuff either."""
    if dataset not in load_method_class(name).Options.presets and dataset != "pascal-voc":
        pytest.skip("no recipe")
    resolved = resolve(Request(method=name, dataset=dataset))
    words, classes = resolved.dataset.names().words, resolved.options(None).classes  # type: ignore[attr-defined]
    assert classes == len(words) or (name == "joem" and classes > len(words))


@pytest.mark.parametrize("name", ["spnet", "strict", "cagnet", "sign"])
def test_self_training_teaches_all_unlabelled_pixels_as_released(name: str) -> None:
    request = Request(method=name, dataset="pascal-voc", setting="transductive")
    assert resolve(request).recipe().pseudo_labels == "all"


def test_joem_relates_all_told_words_but_the_background() -> None:
    method = built("joem", classes=4)
    method.set_vocabulary(words(4))
    assert method.related == [0, 1, 2, 3]
    method.set_vocabulary(replace(words(4), background="word 0"))
    assert method.related == [1, 2, 3]


def test_joem_is_fed_as_torchvisions_networks_are_and_takes_their_weights(tmp_path: Path) -> None:
    """Its DeepLab v2 has Caffe's strides, but RGB over a deviation, and its release names torchvision's file."""
    shapes = built("joem", classes=3).network.backbone.body.state_dict()
    state = {name: torch.full_like(tensor, 2) for name, tensor in shapes.items()}
    save_file(state, tmp_path / "resnet.safetensors")
    filled = built("joem", classes=3, backbone_weights=str(tmp_path / "resnet.safetensors"))
    assert all(bool((p == 2).all()) for p in filled.network.backbone.body.parameters())
    with pytest.raises(UserError, match="holds a torchvision-type ResNet: this backbone is Caffe's"):
        built("spnet", backbone_weights=str(tmp_path / "resnet.safetensors"))
