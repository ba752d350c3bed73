"""Checkpoints under detectron2's names: converted strictly, every stranger named."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from zsbench.errors import UserError
from zsbench.methods.two_stage.backbone import Backbone
from zsbench.methods.two_stage.heads import ZegFormerHead, ZssegHead
from zsbench.methods.two_stage.maskformer import MaskFormer
from zsbench.methods.two_stage.released import check_clip, convert, is_detectron2, released_options
from zsbench.methods.two_stage.zegformer import ZegFormer
from zsbench.methods.two_stage.zsseg import Zsseg

pytest.importorskip("transformers")


class Stage(nn.Module):
    """The learnt part of a method, shallow but with the names of the full one."""

    def __init__(self, backbone="resnet26", head=ZegFormerHead):
        super().__init__()
        self.network = MaskFormer(Backbone(backbone, "frozen", "random"), queries=5, layers=2, width=32)
        self.head = head(32, 16)


@pytest.fixture(scope="module")
def stage():
    return Stage()


def randomised(state):
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(tensor.shape, generator=generator) for key, tensor in state.items()}


def test_every_tensor_finds_its_place(stage, released):
    own = stage.state_dict()
    state = randomised(released(own))
    converted = convert(state, own, "file")
    assert converted.keys() == own.keys()
    packed = state["sem_seg_head.predictor.transformer.decoder.layers.1.multihead_attn.in_proj_weight"]
    for part, letter in enumerate("qkv"):
        name = f"network.transformer.decoder.layers.1.encoder_attn.{letter}_proj.weight"
        assert torch.equal(converted[name], packed[32 * part : 32 * (part + 1)])
    other = sorted(key for key in state if "in_proj" not in key)
    assert sorted(map(float, (converted[k].sum() for k in own if "_proj." not in k or "o_proj" in k))) == pytest.approx(
        sorted(float(state[key].sum()) for key in other)
    )
    assert is_detectron2(state) and not is_detectron2(own)


def test_zsseg_heads_and_the_older_pixel_decoder_names(released):
    own = Stage(head=ZssegHead).state_dict()
    state = randomised(released(own))
    old = {key.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): tensor for key, tensor in state.items()}
    converted, same = convert(state, own, "file"), convert(old, own, "file")
    assert all(torch.equal(converted[name], same[name]) for name in own)
    assert torch.equal(converted["head.no_object"], state["clip_adapter.non_object_embedding"])


def test_region_prompts_win_over_those_of_the_query_branch():
    own = {"prompts.prefix": torch.zeros(2, 3)}
    state = {
        f"{name}.prompt_learner.prefix_prompt": torch.full((2, 3), value)
        for name, value in (("region_clip_adapter", 2.0), ("clip_adapter", 1.0))
    }
    assert convert(state, own, "file")["prompts.prefix"].eq(2).all()


def test_what_is_not_learnt_has_no_place_and_is_no_stranger(stage, released):
    own = stage.state_dict()
    state = released(own)
    constants = {
        "criterion.empty_weight": torch.ones(3),
        "pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
        "sem_seg_head.predictor.logit_scale": torch.tensor(4.6052),
        "sem_seg_head.predictor.clip_model.visual.proj": torch.zeros(2, 2),
        "backbone.stem.conv1.norm.num_batches_tracked": torch.tensor(3),
    }
    assert convert({**state, **constants}, own, "file").keys() == own.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.update({"sem_seg_head.predictor.extra.weight": torch.zeros(1)}),
            "unexpected: sem_seg_head.predictor.extra.weight",
        ),
        (
            lambda s: s.update({"backbone.res2.9.conv1.weight": torch.zeros(1)}),
            "unexpected: backbone.res2.9.conv1.weight",
        ),
        (lambda s: s.pop("sem_seg_head.predictor.bg_feature"), "missing: head.background"),
        (
            lambda s: s.update({"sem_seg_head.predictor.bg_feature": torch.zeros(1, 9)}),
            r"head.background \(1, 9\) instead of \(1, 16\)",
        ),
        (lambda s: s.update({"pixel_mean": torch.tensor([122.77, 116.75, 104.09])}), "second stage"),
        (lambda s: s.update({"sem_seg_head.predictor.logit_scale": torch.tensor(0.0)}), "logit_scale"),
    ],
)
def test_misfits_are_named(stage, released, change, message):
    own = stage.state_dict()
    state = released(own)
    change(state)
    with pytest.raises(UserError, match=message):
        convert(state, own, "file")


def test_deeplab_backbone(released):
    """Three convolutions at the start, dilations 1, 2, 4 at the end. Shapes alone: the tensors are never made."""
    with torch.device("meta"):
        backbone = Backbone("resnet101c", "frozen", "random")
        features = backbone(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
    assert [block.conv2.dilation for block in backbone.body.layer4.children()] == [(1, 1), (2, 2), (4, 4)]
    own = {f"network.backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    state = released(own)
    assert state["backbone.stem.conv3.weight"].shape == (128, 64, 3, 3)
    assert convert(state, own, "file").keys() == own.keys()


def test_another_clip_is_refused(tiny_clip):
    own = tiny_clip.model.state_dict()
    stored = {f"clip_adapter.clip_model.{key}": tensor.half() for key, tensor in own.items()}
    stored["clip_pixel_mean"] = 255 * torch.tensor(tiny_clip.mean).view(3, 1, 1)
    check_clip(stored, tiny_clip, "file")
    with pytest.raises(UserError, match=r"clip_pixel_mean.*first stage"):
        check_clip({"clip_pixel_mean": torch.tensor([123.675, 116.28, 103.53])}, tiny_clip, "file")
    stored["clip_adapter.clip_model.visual.proj"] = torch.zeros_like(own["visual.proj"])
    with pytest.raises(UserError, match=r"visual\.proj differs"):
        check_clip(stored, tiny_clip, "file")


@pytest.mark.parametrize(
    ("method", "head"), [(ZegFormer, ZegFormerHead), (Zsseg, ZssegHead)], ids=["zegformer", "zsseg"]
)
def test_a_release_is_read_by_its_own_method(tmp_path, released, method, head):
    state = randomised(released(Stage(head=head).state_dict()))
    state["criterion.empty_weight"] = torch.ones(16)
    path = tmp_path / "model_final.pth"
    torch.save({"model": state, "iteration": 9}, path)
    other = Zsseg if method is ZegFormer else ZegFormer
    assert other.read_released(path) is None
    found = method.read_released(path)
    assert found.options["backbone_weights"] == "random" and found.setting is None
    found.check(15, 20)
    with pytest.raises(UserError, match="15 classes; this vocabulary has 171"):
        found.check(156, 171)
    filled = Stage(head=head)
    filled.clip = SimpleNamespace(model=nn.Linear(1, 1))
    found.fill(filled)
    assert torch.equal(
        filled.network.transformer.queries_embedder.weight, state["sem_seg_head.predictor.query_embed.weight"]
    )


def test_options_follow_from_the_tensors():
    blocks = {f"backbone.res4.{block}.conv1.weight": torch.zeros(1) for block in range(23)}
    state = {"backbone.stem.conv2.weight": torch.zeros(1), **blocks}
    assert released_options(state) == {"backbone": "resnet101c", "backbone_weights": "random"}
    state["clip_adapter.prompt_learner.prefix_prompt"] = torch.zeros(16, 512)
    learned = {"region_templates": "learned", "prompt_length": 16}
    assert released_options(state) == {
        **released_options(blocks),
        "backbone": "resnet101c",
        **learned,
        "query_templates": "learned",
    }
    state["region_clip_adapter.prompt_learner.prefix_prompt"] = torch.zeros(16, 512)
    assert "query_templates" not in released_options(state)


def test_files_of_something_else_are_not_taken(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, path)
    assert ZegFormer.read_released(path) is None
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        ZegFormer.read_released(path)
