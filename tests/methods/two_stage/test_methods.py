"""The methods as the harness uses them, on small networks."""

import math
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from zsbench.checkpoint import trainable_state_dict
from zsbench.clip.text import Vocabulary, encode_vocabulary
from zsbench.clip.weights import Weights
from zsbench.errors import UserError
from zsbench.method import ImageBatch
from zsbench.methods.two_stage.clip_regions import ClipRegions
from zsbench.methods.two_stage.fusion import zsseg_scores
from zsbench.methods.two_stage.geometry import pad_to_multiple
from zsbench.methods.two_stage.options import ClipRegionOptions, PromptOptions, ZegFormerOptions, ZssegOptions
from zsbench.methods.two_stage.proposals import Proposals
from zsbench.methods.two_stage.zegformer import ZegFormer
from zsbench.methods.two_stage.zsseg import Zsseg
from zsbench.methods.two_stage.zsseg_prompts import ZssegPrompts
from zsbench.recipe import Recipe

pytest.importorskip("transformers")
pytest.importorskip("scipy")

NAMES = ("grey", "red", "green", "blue")
SMALL = {
    "backbone": "resnet18-miniature",
    "backbone_norm": "batch",
    "backbone_weights": "random",
    "queries": 6,
    "decoder_layers": 3,
    "width": 64,
    "query_templates": "dataset",
}


def told(method, clip, seen=(True, True, True, False)):
    method.set_vocabulary(encode_vocabulary(clip, NAMES, torch.tensor(seen)))
    return method


def zegformer(clip, **options):
    torch.manual_seed(0)
    return told(ZegFormer(clip, ZegFormerOptions(**{**SMALL, "region_templates": "dataset", **options})), clip)


def zsseg(clip, **options):
    torch.manual_seed(0)
    return told(Zsseg(clip, ZssegOptions(**{**SMALL, "region_templates": "dataset", **options})), clip)


@pytest.mark.parametrize("build", [zegformer, zsseg])
@pytest.mark.parametrize("stride", [1, 4])
def test_predict_gives_scores_of_the_unpadded_image(tiny_clip, build, stride):
    method = build(tiny_clip, stride=stride).eval()
    images = torch.rand(2, 3, 40, 50)
    with torch.no_grad():
        scores = method.predict(images)
    assert scores.shape == (2, 4, math.ceil(40 / stride), math.ceil(50 / stride))
    assert torch.isfinite(scores).all() and scores.min() >= 0


@pytest.mark.parametrize("build", [zegformer, zsseg])
def test_a_batch_is_its_images(tiny_clip, build):
    method = build(tiny_clip).eval()
    images = torch.rand(2, 3, 40, 50)
    with torch.no_grad():
        single = torch.cat([method.predict(image[None]) for image in images])
        torch.testing.assert_close(method.predict(images), single, atol=1e-5, rtol=1e-4)


def test_zegformer_is_its_parts(tiny_clip):
    """Masks at the padded size, scores of both branches, their sum: stated without the method's own helpers."""
    method = zegformer(tiny_clip).eval()
    image = torch.rand(3, 40, 50)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        normalised = (image - mean[:, None, None]) / std[:, None, None]
        queries, masks = method.network(pad_to_multiple(normalised)[None])
        assert masks.shape == (3, 1, 6, 16, 16)
        soft = torch.nn.functional.interpolate(masks[-1], (64, 64), mode="bilinear", align_corners=False)[0].sigmoid()
        features = method.regions(image, soft > 0.5)
        text = method.vocabulary.embeddings
        logits = tiny_clip.model.logit_scale.exp() * features @ text.T
        query = method.head(queries[-1, 0], text)
        c = torch.cat([logits, query[:, -1:]], 1).softmax(1)[:, :-1]
        p = query.softmax(1)[:, :-1]
        seen = c[:, :3].mean(1, keepdim=True).expand(-1, 3)
        scores = torch.cat([p[:, :3] ** (2 / 3) * seen ** (1 / 3), p[:, 3:] ** (1 / 3) * c[:, 3:] ** (2 / 3)], 1)
        expected = torch.einsum("qc,qhw->chw", scores, soft)[:, :40, :50]
        torch.testing.assert_close(method.predict(image[None])[0], expected)
        calibrated = method.score(expected[2:], slice(2, 4))
        torch.testing.assert_close(calibrated, expected[2:] - torch.tensor([0.1, 0.0])[:, None, None])


def test_decoder_states_are_normed_and_one_for_each_layer(tiny_clip):
    """The library's own auxiliary outputs are raw, and include the input: seven states for six layers."""
    method = zegformer(tiny_clip, decoder_layers=6).eval()
    norm = method.network.transformer.decoder.layernorm
    raw = []
    hooks = [
        layer.register_forward_hook(lambda m, i, o: raw.append(o))
        for layer in method.network.transformer.decoder.layers
    ]
    with torch.no_grad():
        predictions = method.network(torch.rand(1, 3, 32, 32))
        assert len(predictions.queries) == len(raw) == 6
        for state, output in zip(predictions.queries, raw, strict=True):
            torch.testing.assert_close(state, norm(output))
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("build", [zegformer, zsseg])
def test_training_lowers_the_loss_of_every_part_and_leaves_clip_alone(tiny_clip, build, squares):
    method = build(tiny_clip).train()
    samples = [squares.read("train", f"train{i}") for i in range(4)]
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1) / 255 for s in samples])
    labels = torch.stack([torch.from_numpy(s.label).long() for s in samples])
    before = {name: parameter.clone() for name, parameter in method.regions.named_parameters()}
    recipe = Recipe(learning_rate=1e-3, weight_decay=1e-4)
    optimiser = torch.optim.AdamW(method.parameter_groups(recipe))
    torch.manual_seed(0)
    totals = []
    for _ in range(12):
        losses = method(images, labels)
        assert set(losses) == {f"{kind}{suffix}" for kind in ("ce", "focal", "dice") for suffix in ("", "_0", "_1")}
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        idle = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]
    assert all(torch.equal(parameter, before[name]) for name, parameter in method.regions.named_parameters())


def test_parameter_groups_hold_everything_learnable_once(tiny_clip):
    method = zegformer(tiny_clip)
    groups = method.parameter_groups(Recipe(learning_rate=1e-4, weight_decay=1e-4))
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters() if p.requires_grad}
    assert len(grouped) == len({id(p) for p in grouped})
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    body, transformer = method.network.backbone.body, method.network.transformer
    assert rates[id(body.conv1.weight)] == (pytest.approx(1e-5), 1e-4)
    assert rates[id(body.bn1.weight)] == (pytest.approx(1e-5), 0.0)
    assert rates[id(transformer.queries_embedder.weight)] == (1e-4, 0.0)
    assert rates[id(method.head.background)] == (1e-4, 1e-4)


def test_pseudo_labels_are_unseen_classes_on_unlabelled_pixels(tiny_clip):
    method = zegformer(tiny_clip).train()
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, :8], labels[:, 8:12] = -2, -1
    filled = method.pseudo_labels(torch.rand(1, 3, 32, 32), labels)
    assert filled[:, :8].eq(3).all() and filled[:, 8:].equal(labels[:, 8:]) and method.training
    two = told(method, tiny_clip, (True, True, False, False))
    assert set(two.pseudo_labels(torch.rand(1, 3, 32, 32), labels)[:, :8].unique().tolist()) <= {2, 3}
    assert torch.isfinite(torch.stack(list(two.losses(torch.rand(1, 3, 32, 32), labels).values()))).all()


def test_oracle_regions_need_the_truth_and_use_it(tiny_clip):
    method = told(ClipRegions(tiny_clip, ClipRegionOptions(proposals="oracle", templates="dataset")), tiny_clip).eval()
    assert method.oracle
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(UserError, match="ground truth"):
        method.predict(images)
    label = torch.zeros(16, 16, dtype=torch.int32)
    label[:8] = 2
    scores = method.predict_batch(ImageBatch(images, labels=[label])).logits[0]
    assert (scores.argmax(0)[:16].unique().numel(), scores.argmax(0)[16:].unique().numel()) == (1, 1)
    assert scores.sum(0).allclose(torch.ones(32, 32))


@pytest.mark.parametrize("proposals", ["grid", "whole"])
@pytest.mark.parametrize("style", ["zegformer", "zsseg"])
def test_other_methods_never_ask_for_the_truth(tiny_clip, proposals, style):
    options = ClipRegionOptions(proposals=proposals, templates="dataset", style=style)
    method = told(ClipRegions(tiny_clip, options), tiny_clip).eval()
    assert not method.oracle and not zegformer(tiny_clip).oracle
    with torch.no_grad():
        found = method.predict_batch(ImageBatch(torch.rand(2, 3, 40, 36)))
    assert found.logits.shape == (2, 4, 40, 36)
    crops = 1 if proposals == "whole" else 16
    assert found.statistics()["clip_crops_per_image"] == [crops, crops]


def test_statistics_count_crops_and_shares(tiny_clip):
    method = zegformer(tiny_clip).eval()
    with torch.no_grad():
        found = method.predict_batch(ImageBatch(torch.rand(2, 3, 32, 32))).statistics()
    assert found.pop("clip_crops_per_image") == [6, 6]
    assert set(found) == {"share_proposals", "share_regions", "share_fusion"}
    assert [sum(shares) for shares in zip(*found.values(), strict=True)] == pytest.approx([1, 1])


def test_query_only_never_asks_clip(tiny_clip):
    method = zegformer(tiny_clip, fusion="query").eval()
    with torch.no_grad():
        found = method.predict_batch(ImageBatch(torch.rand(1, 3, 32, 32))).statistics()
    assert found["clip_crops_per_image"] == found["share_regions"] == [0]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (zegformer, {"query_templates": "scene", "region_templates": "regions32"}),
        (zsseg, {"query_templates": "sculpture", "region_templates": "learned", "prompt_length": 3}),
    ],
)
def test_texts_are_encoded_once_and_not_for_every_image(tiny_clip, tmp_path, build, options, subset):
    clip = replace(tiny_clip, weights=Weights("made up", sha256=str(tmp_path)))  # nobody's cache knows it
    method = build(clip, **options).eval()
    passes = []
    clip.model.transformer.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    with torch.no_grad():
        for _ in range(3):
            method.predict(torch.rand(2, 3, 32, 32))
            counts.append(len(passes))
        method.set_vocabulary(subset(method.vocabulary, method.vocabulary.seen))
        method.predict(torch.rand(1, 3, 32, 32))
    assert counts == [2, 2, 2] and len(passes) == 4  # two sets of prompts for each vocabulary


def test_prompts_learn_to_name_segments_and_zsseg_takes_them(tiny_clip, squares, tmp_path):
    torch.manual_seed(0)
    method = told(ZssegPrompts(tiny_clip, PromptOptions(prompt_length=3)), tiny_clip).train()
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 3 * 16
    samples = [squares.read("train", f"train{i}") for i in range(4)]
    images = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1) / 255 for s in samples])
    labels = torch.stack([torch.from_numpy(s.label).long() for s in samples])
    optimiser = torch.optim.AdamW(method.parameter_groups(Recipe(learning_rate=3e-2)))
    totals = []
    for _ in range(30):
        loss = method.losses(images, labels)["ce"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    assert totals[-1] < 0.9 * totals[0]
    path = tmp_path / "prompts.pt"
    torch.save(trainable_state_dict(method), path)
    taker = zsseg(tiny_clip, region_templates="learned", prompts=path, prompt_length=3).eval()
    torch.testing.assert_close(taker.text("learned"), method.names().detach())
    assert "prompts.prefix" in trainable_state_dict(taker)
    with torch.no_grad():
        taker.predict(torch.rand(1, 3, 32, 32))


def test_zsseg_skips_empty_masks(tiny_clip):
    method = zsseg(tiny_clip).eval()
    with torch.no_grad():
        for parameter in method.network.mask_embedder.parameters():
            parameter.zero_()
        method.network.pixel_decoder.mask_projection.bias.fill_(-1)
        found = method.predict_batch(ImageBatch(torch.rand(1, 3, 32, 32)))
    assert found.statistics()["clip_crops_per_image"] == [0] and torch.isfinite(found.logits).all()


def test_a_lower_mask_threshold_shows_clip_more_regions(tiny_clip):
    masks = torch.tensor([0.2, 0.38, 0.6])[:, None, None].expand(3, 32, 32)
    for threshold, valid in ((0.5, [False, False, True]), (0.3, [False, True, True])):
        method = zsseg(tiny_clip, mask_threshold=threshold).eval()
        with patch("zsbench.methods.two_stage.zsseg.zsseg_scores", wraps=zsseg_scores) as fused, torch.no_grad():
            method.scores(torch.rand(3, 32, 32), Proposals(masks, torch.rand(3, 64)))
        assert fused.call_args.args[2].tolist() == valid


def test_across_datasets_zsseg_can_take_no_class_for_trained(tiny_clip):
    """As though all were unseen; which are seen changes nothing then, and something otherwise."""
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found = {
            (trained, seen): told(zsseg(tiny_clip, trained=trained), tiny_clip, seen).eval().predict(images)
            for trained in ("seen", "none")
            for seen in ((True, True, True, False), (False, False, False, False))
        }
    (by_name, unseen, none, none_again) = found.values()
    assert torch.equal(none, none_again) and torch.equal(none, unseen)
    assert not torch.allclose(by_name, none, atol=0)


def test_unseen_names_arrive_at_test_time_only(tiny_clip, subset):
    method = zegformer(tiny_clip)
    whole = method.vocabulary
    method.set_vocabulary(subset(whole, whole.seen))
    losses = method.losses(torch.rand(1, 3, 32, 32), torch.randint(0, 3, (1, 32, 32)))
    assert torch.isfinite(torch.stack(list(losses.values()))).all()
    method.set_vocabulary(Vocabulary(whole.words, whole.embeddings, whole.seen))
    assert method.eval().predict(torch.rand(1, 3, 32, 32)).shape[1] == 4


def test_wrong_backbones_are_named(tiny_clip, tmp_path):
    with pytest.raises(UserError, match="resnet181"):
        zegformer(tiny_clip, backbone="resnet181")
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not fit the backbone"):
        zegformer(tiny_clip, backbone_weights=str(path))
