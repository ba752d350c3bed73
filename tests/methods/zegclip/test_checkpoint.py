"""Checkpoints of the released model: recognised, converted strictly, refused where they do not belong."""

import re

import numpy as np
import pytest
import torch

from zsbench.checkpoint import save_checkpoint
from zsbench.clip.text import Vocabulary
from zsbench.errors import UserError
from zsbench.methods.zegclip.checkpoint import (
    EMPTY_WEIGHT,
    PROMPTS,
    ReleasedFile,
    convert,
    read_released,
    released_names,
    trained_setting,
)
from zsbench.methods.zegclip.method import ZegClip
from zsbench.methods.zegclip.options import ZegClipOptions
from zsbench.metrics.journal import read_journals
from zsbench.runs.execution import Run
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request
from zsbench.training.course import Course

INNER = "decode_head.decoder_1.layers"


def small_released(method, classes=3):
    """A released state dict of a small method's tensors, with what the release has besides."""
    state = {}
    for name, tensor in method.state_dict().items():
        if name == "knows_unseen":
            continue
        keys = released_names(name)
        parts = tensor.split([1, len(tensor) - 1]) if len(keys) > 1 else [tensor]
        state |= {key: part.clone() for key, part in zip(keys, parts, strict=True)}
    return state | text_encoder(method.clip) | {EMPTY_WEIGHT: torch.ones(classes + 1)}


def text_encoder(clip):
    """The text encoder of a CLIP under the names of the release."""
    others = ("visual.", "logit_scale", "logit_bias", "attn_mask")
    tensors = {name: tensor for name, tensor in clip.model.state_dict().items() if not name.startswith(others)}
    return {f"text_encoder.{name}": tensor.clone() for name, tensor in tensors.items()}


@pytest.fixture
def full(small_method):
    """A small method with everything that the released one has."""
    return small_method(idle_parameters=True)


def save(path, state, config=None, names=None):
    meta = {
        "mmseg_version": "0.24.0",
        **({"config": config} if config else {}),
        **({"CLASSES": names} if names else {}),
    }
    torch.save({"state_dict": state, "meta": meta, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path


def test_round_trip(full, small_method, tmp_path):
    """A file of the release, read by a method of another seed, gives the same masks; lean or with idle parameters."""
    path = save(tmp_path / "iter_20000.pth", small_released(full))
    images = torch.rand(1, 3, 32, 40)
    expected = full.eval().predict(images)
    for idle in (False, True):
        method = small_method(seed=5, idle_parameters=idle)
        method.set_vocabulary(full.vocabulary)
        released = ZegClip.read_released(path)
        assert released.options == {"prompts": 4, "layers": 3}
        released.check(3, 5)
        released.fill(method)
        torch.testing.assert_close(method.eval().predict(images), expected)
        assert not method.knows_unseen


@pytest.mark.parametrize("change", ["missing", "unexpected", "clip", "text", "no text"])
def test_what_does_not_belong_is_named(full, tmp_path, change):
    state = small_released(full)
    keys = {
        "missing": f"{INNER}.1.norm2.bias",
        "unexpected": "decode_head.conv_seg.weight",
        "clip": "backbone.transformer.resblocks.1.mlp.c_fc.weight",
        "text": "text_encoder.ln_final.bias",
        "no text": "text_encoder.text_projection",
    }
    key = keys[change]
    if change in ("missing", "no text"):
        del state[key]
    elif change == "unexpected":
        state[key] = torch.ones(1)
    else:
        state[key] = state[key] + 0.1
    released = ZegClip.read_released(save(tmp_path / "iter.pth", state))
    with pytest.raises(UserError, match=re.escape(key)):
        released.fill(full)


def test_missing_part_of_the_prompts(full):
    state = small_released(full)
    del state[PROMPTS[1]]
    with pytest.raises(UserError, match=f"missing: {PROMPTS[1]}"):
        convert(ReleasedFile("file", state, 3, None), full)


def test_other_prompt_length(full, small_method):
    """The message says both lengths and the option that fits."""
    with pytest.raises(UserError, match=r"\(3, 4, 48\).*\(3, 7, 48\).*prompts=4"):
        convert(ReleasedFile("file", small_released(full), 3, None), small_method(prompts=7))


def test_nothing_is_filled_in_half(full, small_method):
    """A checkpoint that does not fit leaves the method as it was."""
    state = small_released(full)
    del state["decode_head.q_proj.bias"]
    method = small_method(seed=8)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    with pytest.raises(UserError):
        ReleasedFile("file", state, 3, None).fill(method)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())


def test_empty_weight_may_differ_or_be_absent(full):
    for weight in (torch.ones(21), None):
        state = small_released(full)
        state.pop(EMPTY_WEIGHT)
        convert(ReleasedFile("file", state if weight is None else {**state, EMPTY_WEIGHT: weight}, None, None), full)


@pytest.mark.parametrize(
    ("trained", "seen", "classes", "fits"),
    [(15, 15, 20, True), (20, 15, 20, True), (15, 156, 171, False), (156, 15, 20, False), (None, 156, 171, True)],
)
def test_numbers_of_classes(trained, seen, classes, fits):
    """PASCAL VOC's checkpoint is none of COCO-Stuff's."""
    released = ReleasedFile("iter_20000.pth", {}, trained, None)
    if fits:
        released.check(seen, classes)
    else:
        with pytest.raises(UserError, match=f"iter_20000.pth was trained on {trained} classes.*--dataset"):
            released.check(seen, classes)


CONFIG = "base_class = [0, 1]\nnovel_class = {}\nmodel = dict(\n    type='ZegCLIP',{})\n"


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (CONFIG.format("[2, 3]", ""), "inductive"),
        (CONFIG.format("[2,\n    3]", "\n    self_training=True"), "transductive"),
        (CONFIG.format("[]", ""), "supervised"),
        ("nothing of the kind", None),
    ],
)
def test_setting_is_in_the_configuration(config, setting):
    assert trained_setting(config) == setting


@pytest.mark.parametrize(
    ("classes", "config", "setting", "knows"),
    [
        (15, None, "inductive", False),
        (156, None, "inductive", False),
        (156, CONFIG.format("[2]", "self_training=True"), "transductive", True),
        (20, None, "transductive", True),
        (171, None, "supervised", True),
        (3, None, None, False),
    ],
)
def test_how_it_was_trained(full, small_method, tmp_path, classes, config, setting, knows):
    """The file's configuration tells, else the number of classes; and with it whether scores are calibrated."""
    path = save(tmp_path / "iter.pth", small_released(full, classes), config)
    released = ZegClip.read_released(path)
    assert released.setting == setting
    method = small_method()
    released.fill(method)
    assert method.knows_unseen == knows


def test_other_files(tmp_path, full):
    """Another model's file is not taken; a file that is no torch file is refused; what else it names is not looked up."""
    assert read_released(save(tmp_path / "other.pth", {"sem_seg_head.weight": torch.ones(1)})) is None
    assert read_released(save(tmp_path / "plain.pth", {})) is None
    torch.save(small_released(full), tmp_path / "bare.pth")
    assert read_released(tmp_path / "bare.pth") is not None
    (tmp_path / "text.pth").write_text("no")
    torch.save({"state_dict": small_released(full), "meta": Code()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"text\.pth"):
        read_released(tmp_path / "text.pth")
    assert read_released(tmp_path / "code.pth") is not None and not ran


ran = []


def run_code():
    ran.append("code")


class Code:
    """What a pickle could run."""

    def __reduce__(self):
        return run_code, ()


@pytest.fixture
def voc(shared, small_clip, small_method, tmp_path):
    """Writes a release of PASCAL VOC for a small CLIP and plans its evaluation on one image."""
    method = small_method(ffn=2048)

    def plan(seen=15, names=None, checkpoint=None, **changes):
        path = checkpoint or save(tmp_path / "voc.pth", small_released(method, seen), names=names)
        small = {"heads": "4", "position_size": "none", "idle_parameters": "no"}
        root = shared / "data" / "voc2012"
        given = {
            "dataset": "pascal-voc",
            "clip": small_clip.name,
            "weights": "random",
            "options": small,
            "data_root": root,
        }
        return make_plan(
            "eval", Request(**{**given, "checkpoint": path, "limit": 1, "out": tmp_path / "run", **changes})
        )

    return plan


def test_evaluated_as_trained(voc, tmp_path):
    """With the setting, calibration and texts of the release: as a checkpoint of our own with these weights."""
    plan = voc()
    assert (plan.setting, plan.templates, plan.checkpoint.dataset) == ("inductive", "single", "pascal-voc")
    run = Run(plan)
    run.evaluate()
    records, _ = read_journals(run.out, run.fingerprint)
    assert float(run.method.calibration) == pytest.approx(0.1)
    save_checkpoint(tmp_path / "own.safetensors", run.method, run.checkpoint_info(Course(), "last"))
    again = Run(voc(checkpoint=tmp_path / "own.safetensors", out=tmp_path / "again"))
    again.evaluate()
    assert read_journals(again.out, again.fingerprint)[0].sha256() == records.sha256()


def test_wrong_pairings_are_refused_unless_meant(voc, tmp_path):
    names = tmp_path / "animals.txt"
    names.write_text("\n".join(f"animal {number}" for number in range(20)))
    for changes, message in [
        ({"dataset": "voc20"}, "Give the --dataset that it was trained on"),
        ({"dataset": "voc21"}, "the background class 'background' of voc21, .*: give --dataset pascal-voc"),
        ({"seen": 14}, "was trained on 14 classes"),
        ({"names": ("cat", "dog")}, "2 classes: cat, dog"),
        ({"classes": str(names)}, "than animals: leave --classes out"),
    ]:
        with pytest.raises(UserError, match=message):
            voc(**changes)
    assert voc(names=("AeroPlane", *voc().dataset.classes[1:])).checkpoint.dataset == "pascal-voc"
    assert voc(dataset="voc20", transfer=True).checkpoint.unseen == list(voc().dataset.unseen)
    assert voc(classes=str(names), transfer=True).names.words[0] == "animal 0"


@pytest.mark.slow
def test_released_file_gives_the_reference_outputs(goldens, released_state, rule_clip, tmp_path):
    """A file with the rule's weights, read as a user would, converted strictly, evaluated at 512 x 512."""
    path = save(tmp_path / "vpt_seg_zero_20k_12_10.pth", released_state | text_encoder(rule_clip))
    released = ZegClip.read_released(path)
    assert (released.setting, released.options) == ("inductive", {"prompts": 10, "layers": 3})
    method = ZegClip(rule_clip, ZegClipOptions(**{**ZegClipOptions.presets["pascal-voc"].options, **released.options}))
    released.fill(method)
    golden = np.load(goldens / "inductive_b1.npz")
    names = tuple(str(index) for index in range(20))
    method.set_vocabulary(Vocabulary(names, torch.from_numpy(golden["text_embeddings"]).float(), torch.arange(20) < 15))
    method.encoder.mean, method.encoder.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, 512, 512)).astype(np.float32))
    with torch.inference_mode():
        masks = method.eval().predict(noise)
    np.testing.assert_allclose(masks.numpy(), golden["masks"][2], atol=5e-5, rtol=0)


def test_every_released_key_has_its_place(released_keys, meta_clip):
    """Names and shapes of the whole released model, text encoder included, against a method that holds no numbers."""
    with torch.device("meta"):
        method = ZegClip(meta_clip, ZegClipOptions(**ZegClipOptions.presets["pascal-voc"].options))
    own = method.state_dict()
    taken = {EMPTY_WEIGHT}
    for name in own.keys() - {"knows_unseen"}:
        keys = released_names(name)
        taken.update(keys)
        shapes = [released_keys[key] for key in keys]
        assert (sum(shape[0] for shape in shapes), *shapes[0][1:]) == tuple(own[name].shape), name
    left = released_keys.keys() - taken
    assert all(key.startswith("text_encoder.") for key in left)
    model = meta_clip.model.state_dict()
    assert {key.removeprefix("text_encoder.") for key in left} <= model.keys()
