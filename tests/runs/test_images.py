"""Images of the user's own: the plan is that of an evaluation, with classes of the user's choice."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from zsbench import registry
from zsbench.dataset import Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.method import Method, ReleasedCheckpoint
from zsbench.options import Options, Preset
from zsbench.runs.image_files import image_files
from zsbench.runs.images import plan_at_home, predictions
from zsbench.runs.own_classes import own_request


class ToyOptions(Options):
    shift: float = 0.0
    depth: int = 1
    presets = {"squares": Preset({"depth": 3}, protocol={"short_side": 24})}


class Toy(Method):
    """The class of a pixel is the half that it lies in; `shift` moves the first one's score."""

    Options = ToyOptions
    name = "toy"

    def predict(self, images):
        scores = torch.zeros(len(images), len(self.vocabulary), 1, 2)
        scores[:, 0, :, 0] = scores[:, 1, :, 1] = 1
        scores[:, 0] += self.options.shift
        return scores

    @classmethod
    def read_released(cls, path):
        if path.name == "release.pth":
            return ReleasedCheckpoint({"shift": -5.0}, None, wrong_classes, lambda method: None, dataset="squares")


class Learnt(Toy):
    name = "learnt"
    trainable = True


class Cheat(Toy):
    name = "cheat"
    oracle = True


def wrong_classes(seen, classes):
    raise UserError("other classes")


@pytest.fixture(autouse=True)
def plugins(monkeypatch, squares, tiny_clip_config):
    protocol = EvalProtocol(short_side=32, crop=None, stride=None)
    home = type("Home", (type(squares),), {"defaults": Defaults(tiny_clip_config, "random", protocol=protocol)})
    home.__init__ = lambda self, root=None: None
    monkeypatch.setattr(registry, "load_method_class", {"toy": Toy, "learnt": Learnt, "cheat": Cheat}.__getitem__)
    monkeypatch.setattr(registry, "load_dataset_class", lambda name: home)
    monkeypatch.setattr(registry, "plugins", lambda kind=None: [SimpleNamespace(name="squares")])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 40, 4), np.uint8)).save(path)
    return path


def test_a_preset_gives_options_and_protocol_and_the_user_wins():
    plan = plan_at_home(*own_request(["a", "b"], "toy", "squares", {"options": {"shift": 2}}))
    assert plan.options == ToyOptions(shift=2.0, depth=3)
    assert (plan.protocol.short_side, plan.dataset.classes, plan.templates) == (24, ("a", "b"), "single")
    plan = plan_at_home(*own_request(["a", "b"], "toy", None, {"templates": "vild15"}))
    assert (plan.options.depth, plan.protocol, plan.templates) == (1, EvalProtocol(), "vild15")


def test_a_release_brings_its_options_and_the_protocol_of_its_data(tmp_path):
    (tmp_path / "release.pth").touch()
    given = {"checkpoint": str(tmp_path / "release.pth")}
    plan = plan_at_home(*own_request(["a", "b"], "toy", None, given))
    assert plan.options == ToyOptions(shift=-5.0, depth=3) and plan.protocol.short_side == 24
    with pytest.raises(UserError, match="does not say to which method it belongs: give --method"):
        own_request(["a"], None, None, given)
    (tmp_path / "other.pth").touch()
    with pytest.raises(UserError, match="none of toy's own release"):
        plan_at_home(*own_request(["a"], "toy", None, {"checkpoint": tmp_path / "other.pth"}))


def test_labels_have_the_size_of_the_image_and_are_saved_as_asked(photo, tmp_path):
    (found,) = predictions(*own_request(["red", "green"], "toy", "squares", {"device": "cpu"}), [photo])
    assert found.image.shape == (20, 40, 3) and found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.labels, np.tile(np.repeat([0, 1], 20), (20, 1)))
    written = found.save(tmp_path / "drawn", ["overlay", "labels", "json"], alpha=1, name="inner/one")
    assert [path.relative_to(tmp_path).as_posix() for path in written.values()] == [
        "drawn/inner/one-overlay.png",
        "drawn/inner/one-labels.png",
        "drawn/inner/one.json",
    ]
    with Image.open(written["overlay"]) as overlay, Image.open(written["labels"]) as labels:
        assert overlay.size == (40, 20) and overlay.getpixel((0, 0)) == found.palette[0]
        np.testing.assert_array_equal(labels, found.labels)
    said = json.loads(written["json"].read_text())
    assert (said["image"], said["width"], said["height"]) == ("photo.png", 40, 20)
    assert [(each["name"], each["index"], each["percent"]) for each in said["classes"]] == [
        ("red", 0, 50),
        ("green", 1, 50),
    ]
    assert list(found.save(tmp_path)) == ["overlay", "labels"]


def test_folders_stand_for_their_images_which_keep_their_places(tmp_path):
    for name in ("b.JPG", "a.png", "sub/a.png", "sub/notes.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    named = image_files([tmp_path, tmp_path / "sub/notes.txt"])
    assert {path.name: name for path, name in named.items() if name != "sub/a"} == {
        "a.png": "a",
        "b.JPG": "b",
        "notes.txt": "notes",
    }
    assert named[tmp_path / "sub/a.png"] == "sub/a"
    with pytest.raises(UserError, match=r"no image in this folder\. It holds nothing"):
        image_files([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"a\.png and .*sub.a\.png would both be drawn as a-overlay"):
        image_files([tmp_path / "a.png", tmp_path / "sub/a.png"])
    with pytest.raises(UserError, match="absent does not exist"):
        image_files([tmp_path / "absent"])


def test_what_cannot_be_seen_in_an_image_is_a_users_mistake(photo, tmp_path):
    with pytest.raises(UserError, match="learnt is a trained method: give its weights"):
        plan_at_home(*own_request(["a"], "learnt", "squares", {}))
    with pytest.raises(UserError, match="cheat with these options looks at the ground truth"):
        next(predictions(*own_request(["a"], "cheat", "squares", {}), [photo]))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="no image in a known format"):
        next(predictions(*own_request(["red"], "toy", "squares", {}), [tmp_path / "text.png"]))
    for classes in (["a", "b", "a"], []):
        with pytest.raises(UserError, match="one name or more, each of them once"):
            own_request(classes, "toy", "squares", {})
