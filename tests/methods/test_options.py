"""The options of every built-in method are known without torch: a misspelt word is answered before that is imported."""

import subprocess
import sys
from typing import ClassVar

import pytest

from zsbench import registry
from zsbench.clip.vit import IMAGENET_MEAN
from zsbench.methods.deeplab import CAFFE_MEAN
from zsbench.options import Options, Preset
from zsbench.runs.own_classes import own_classes
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve
from zsbench.runs.stand_ins import StandIns

CODE = """
import sys

from zsbench import registry

for plugin in registry.plugins("method"):
    options = registry.load_options(plugin.name)
    assert options.model_fields and options.preset("miniworld"), plugin
    heavy = {"torch", "open_clip", "transformers", "timm", "accelerate", "scipy"}.intersection(sys.modules)
    assert not heavy, (plugin, heavy)
"""


def test_options_import_nothing_heavy():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_a_method_takes_the_options_that_are_read_without_it():
    for plugin in registry.plugins("method"):
        assert registry.load_method_class(plugin.name).Options is registry.load_options(plugin.name)


def test_a_dataset_takes_the_presets_of_the_one_that_it_is_like():
    class Own(Options):
        presets: ClassVar = {"*": Preset({"a": 1, "b": 1}), "first": Preset({"a": 2}), "second": Preset({"a": 3})}

    assert Own.preset("first", "second").options == {"a": 2, "b": 1}
    assert Own.preset("third", "second").options == {"a": 3, "b": 1}
    assert Own.preset("third").options == {"a": 1, "b": 1}


def test_crowded_scenes_are_learnt_as_the_others_are():
    scenes = registry.load_dataset_class("miniworld-scenes")()
    for dataset in (scenes, StandIns(scenes, 2, 20), own_classes(["boat", "sky"], type(scenes))):
        for name in ("zegclip", "maskclip", "linear-head"):
            found = resolve(Request(method=name), dataset).preset
            assert found == registry.load_options(name).preset("miniworld") != Preset()


MEAN, GREY, CAFFE = IMAGENET_MEAN, (128 / 255,) * 3, tuple(channel / 255 for channel in CAFFE_MEAN)
PADDING = {
    **dict.fromkeys(["zegclip", "maskclip-plus"], MEAN),
    **dict.fromkeys(["zegformer", "zsseg"], GREY),
    **dict.fromkeys(["spnet", "cagnet", "sign"], CAFFE),
    **dict.fromkeys(["strict", "joem", "zs3"], (0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", PADDING)
def test_training_crops_are_padded_with_what_the_release_pads_with(name):
    """With nothing after the mean was subtracted, or before that with grey or black."""
    setting = "transductive" if name in ("maskclip-plus", "strict") else None
    found = resolve(Request(method=name, dataset="pascal-voc", setting=setting))
    assert found.recipe().pad_colour == pytest.approx(PADDING[name])
