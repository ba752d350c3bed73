"""Methods and datasets as objects, a method as a function, and results that show themselves."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from toys import WordColours

import zsbench
from zsbench import registry
from zsbench.errors import UserError

METHOD = '''
from zsbench import Method, register_method

@register_method("flat-colours")
class FlatColours(Method):
    """The first class everywhere."""

    def predict(self, images):
        logits = images.new_zeros(len(images), len(self.vocabulary), 2, 2)
        logits[:, 0] = 1
        return logits
'''


class OwnMethod(WordColours):
    """Nobody registered it."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_files", [])
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    return tmp_path


@pytest.fixture(scope="module")
def segmenter():
    return zsbench.load_method("maskclip", device="cpu")


@pytest.fixture(scope="module")
def miniworld():
    return zsbench.load_dataset("miniworld")


def test_a_dataset_is_a_sequence_of_the_evaluated_split(miniworld):
    assert len(miniworld) == 800 and bool(miniworld) and len(miniworld.samples("train")) == 2000
    assert miniworld[1].id == miniworld["val-0001"].id == next(iter(miniworld[1:3])).id == "val-0001"
    assert len(miniworld[:3]) == 3 and miniworld[-1].image.shape == (96, 96, 3)
    with pytest.raises(UserError, match=r"no image 'val-001'. Did you mean"):
        miniworld["val-001"]


def test_a_method_is_a_function_of_images(segmenter, miniworld, folder):
    from PIL import Image

    first, second = miniworld[0], miniworld[1]
    Image.fromarray(second.image).save("second.png")
    one = segmenter(first.image)
    assert one.shape == (96, 96) and one.dtype == np.int32 and segmenter.classes == miniworld.classes
    wide = np.concatenate([first.image, second.image], axis=1)
    found = segmenter([first.image, wide, "second.png", Image.fromarray(first.image)])
    assert [each.shape for each in found] == [(96, 96), (96, 192), (96, 96), (96, 96)]
    assert (found[0] == one).all() and (found[3] == one).all()


def test_classes_of_ones_own_and_scores_on_demand(segmenter, miniworld):
    try:
        labels, scores, words = segmenter(miniworld[0].image, ["boat", "water", "sky"], scores=True)
        assert words == segmenter.classes == ("boat", "water", "sky") and scores.shape == (3, 96, 96)
        assert (scores.argmax(0) == labels).all()
        assert segmenter.predict(torch.rand(1, 3, 96, 96)).shape[:2] == (1, 3)  # all else is the method's
        with pytest.raises(UserError, match="does not know the words aeroplane"):
            segmenter(miniworld[0].image, "aeroplane, sky")
    finally:
        segmenter.tell()


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), "absent.png", 3])
def test_what_is_no_image_is_named(segmenter, image):
    with pytest.raises(UserError, match="image"):
        segmenter(image)


def test_what_is_evaluated_may_be_an_object(segmenter, miniworld):
    by_name = zsbench.evaluate("maskclip", "miniworld", limit=2, device="cpu", options={"logit_scale": 50.0})
    assert by_name.method.options["logit_scale"] == 50.0  # which the arg max does not see
    by_object = zsbench.evaluate(segmenter, miniworld, limit=2, save_predictions="maps")
    assert by_object.records_sha256 == by_name.records_sha256
    assert list(by_object.predictions) == ["val-0000", "val-0001"]
    assert (by_object.predictions["val-0001"] == segmenter(miniworld[1].image)).all()
    with pytest.raises(UserError, match="options: the method is an object, and has its own"):
        zsbench.evaluate(segmenter, miniworld, options={"logit_scale": 50.0})
    with pytest.raises(UserError, match="save_predictions=FOLDER"):
        _ = by_name.predictions


def test_ones_own_classes_need_no_registry(segmenter, miniworld):
    method = OwnMethod(segmenter.clip, OwnMethod.Options())
    result = zsbench.evaluate(method, miniworld, limit=2, device="cpu")
    assert result.method.name == "own-method" and result.method.checkpoint_sha256 is not None
    trained = zsbench.train(OwnMethod, miniworld, limit=2, device="cpu")
    again = zsbench.evaluate(OwnMethod, "miniworld", checkpoint=trained, limit=2, device="cpu")
    assert again.training.recipe["iterations"] == 1
    with pytest.raises(UserError, match="expected a name, a subclass of zsbench"):
        zsbench.evaluate(3, miniworld)


def test_a_plugin_may_be_imported_and_loaded_by_its_path(folder):
    (folder / "flat.py").write_text(METHOD)
    spec = importlib.util.spec_from_file_location("flat", folder / "flat.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["flat"] = module
    try:
        spec.loader.exec_module(module)
        assert registry.load_method_class("flat-colours") is module.FlatColours  # as a notebook has imported it
        for plugin in ("flat.py", [folder / "flat.py"], module.FlatColours):
            result = zsbench.evaluate("flat-colours", plugin=plugin, limit=1, device="cpu")
            assert result.request["plugin"][0]["name"] == "flat.py"
        assert registry.load_method_class("flat-colours") is module.FlatColours
    finally:
        del sys.modules["flat"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 3}, r"Did you mean -r learning_rate=..., in Python recipe=\{'learning_rate'"),
        ({"batchsize": 3}, "Did you mean 'batch_size'"),
        ({"options": {"logit_scal": 50.0}}, "Did you mean 'logit_scale'"),
        ({"options": {"logit_scale": "much"}}, "logit_scale='much'"),
    ],
)
def test_wrong_keywords_are_users_mistakes(given, message):
    with pytest.raises(UserError, match=message):
        zsbench.run("maskclip", **given)


def test_a_result_shows_itself(segmenter, miniworld, folder):
    result = zsbench.evaluate(segmenter, miniworld, limit=2)
    assert repr(result).startswith(
        "<Result maskclip on miniworld (val, 2 images, a part of it), training-free, seed 0: "
    )
    assert "<table>" in result._repr_html_() and "hIoU" in result._repr_html_()
    assert "<td>grass</td>" in result.per_class._repr_html_()
    result.save(folder / "r.json")
    assert zsbench.Result.load(folder / "r.json").model_dump_json() == result.model_dump_json()
    pytest.importorskip("pandas", reason="frames are pandas': pip install 'zsbench[frames]'")
    assert list(result.per_class.to_frame()["name"]) == list(miniworld.classes)


def test_a_method_that_has_learnt_nothing_says_so(segmenter, miniworld):
    assert "learnt" not in repr(segmenter)
    empty = zsbench.load_method("linear-head", device="cpu")
    assert repr(empty) == "<linear-head, which has learnt nothing, told 60 classes of miniworld>"
    with pytest.warns(UserWarning, match=r"linear-head, which has learnt nothing.*checkpoint="):
        empty(miniworld[0].image)
    with pytest.raises(UserError, match=r"Segmenter.__call__ has no keyword 'clases'\. Did you mean 'classes'"):
        empty(miniworld[0].image, clases=["boat"])
