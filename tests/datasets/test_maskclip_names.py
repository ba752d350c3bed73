"""MaskCLIP's words for the classes, which its presets use."""

import pytest

from zsbench.registry import load_dataset_class, load_options
from zsbench.runs.request import Request
from zsbench.runs.resolve import resolve

WORDS = {
    "pascal-voc": {"aeroplane": "airplane", "diningtable": "dining table", "pottedplant": "potted plant",
                   "tvmonitor": "tv monitor", "motorbike": "motorbike", "sofa": "sofa", "boat": "boat"},
    "voc20": {"aeroplane": "airplane", "diningtable": "dining table"},
    "context59": {"aeroplane": "airplane", "pottedplant": "potted plant", "tvmonitor": "tv monitor", "table": "table"},
    "pascal-context": {"aeroplane": "airplane", "background": "background"},
    "coco-stuff": {"ceiling-tile": "tile ceiling", "floor-marble": "marble floor", "wall-brick": "brick wall",
                   "window-blind": "blind window", "window-other": "window", "sky-other": "sky", "door-stuff": "door",
                   "playingfield": "playingfield", "couch": "couch", "tv": "tv"},
    "ade20k": {"television receiver": "television receiver", "crt screen": "crt screen", "bed": "bed"},
    "cityscapes": {"traffic light": "traffic light"},
}  # fmt: skip


@pytest.mark.parametrize("dataset", WORDS)
def test_one_word_a_class_as_released(dataset):
    opened = load_dataset_class(dataset)()
    names = opened.names("maskclip")
    assert all(len(words) == 1 and "-" not in words[0] for words in names.synonyms)
    found = dict(zip(opened.classes, names.words, strict=True))
    assert {name: found[name] for name in WORDS[dataset]} == WORDS[dataset]


@pytest.mark.parametrize("method", ["maskclip", "maskclip-plus"])
def test_presets_use_them(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = [name for name in WORDS if load_options(method).preset(name).names == "maskclip"]
    assert {"pascal-voc", "voc20", "context59", "coco-stuff", "ade20k", "cityscapes"} <= {*asked}
    for dataset in asked:
        names, templates = resolve(Request(method=method, dataset=dataset)).texts(None)
        assert (names.name, templates) == ("maskclip", "maskclip85")
