"""ZegFormer and zsseg, stage by stage, against their released code under the same weights: what every clone can check."""

import json
from functools import partial

import pytest
import torch

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.clip.model import load_clip
from zsbench.methods.two_stage.fusion import semantic_map, zegformer_scores, zsseg_scores
from zsbench.methods.two_stage.geometry import zegformer_boxes
from zsbench.methods.two_stage.heads import class_logits
from zsbench.methods.two_stage.regions import RegionEncoder, zegformer_crops, zsseg_crops
from zsbench.methods.two_stage.released import convert
from zsbench.methods.two_stage.zegformer import ZegFormer, ZegFormerOptions
from zsbench.methods.two_stage.zsseg import Zsseg, ZssegOptions

from .conftest import INPUT, assert_near, unit

CLIP_OF_ZEGFORMER = "sem_seg_head.predictor.clip_model."
SEEN = torch.arange(20) < 15
FUSIONS = {
    "": ("ensemble", 0.1),
    "_clip_only": ("clip", 0.0),
    "_ens_nocal": ("ensemble", 0.0),
    "_all_cls": ("ensemble-all", 0.0),
    "_query_only": ("query", 0.0),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Builds a CLIP of embeddings of 512 with as good an image encoder as a test needs, and a tiny text encoder."""

    def build(**vision):
        path = tmp_path_factory.mktemp("clip") / "clip.json"
        text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
        path.write_text(json.dumps({"embed_dim": 512, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}))
        return load_clip(str(path), "random")

    return build


@pytest.fixture(scope="module")
def tiny(clip):
    return clip(image_size=32, layers=1, width=64, patch_size=16)


def told(method, released, rule):
    """The method with the reference's weights, which come in under the released names."""
    own = trainable_state_dict(method)
    state = released(own)
    rule.fill_(state)
    load_trainable_state_dict(method, convert(state, own, "reference"), "reference")
    return method.eval()


def test_zegformer_from_given_masks_to_scores(golden, image, soft):
    stored = golden("zegformer_regions")
    assert_near(zegformer_boxes(soft > 0.5), stored["boxes_xyxy"], 0)
    for style in ("cropmask", "crop"):
        assert_near(
            zegformer_crops(image, soft > 0.5, INPUT, style)[..., ::16, ::16], stored[f"crop_{style}_s16"], 2e-3
        )
    logits = 100 * torch.from_numpy(unit(stored["clip_image_features"]) @ stored["text"].T)
    assert_near(logits, stored["clip_logits"])
    for name, (fusion, calibration) in FUSIONS.items():
        scores = zegformer_scores(torch.from_numpy(stored["pred_logits"]), logits, SEEN, fusion)
        total = semantic_map(scores, soft) - calibration * SEEN[:, None, None].float()
        assert_near(total[:, ::32, ::32], stored[f"semseg{name}_s32"])
        if not name:
            assert (total[:, ::4, ::4].argmax(0).numpy() == stored["argmax_s4"]).mean() >= 0.9999


def test_zsseg_from_given_masks_to_scores(golden, image, soft):
    stored = golden("zsseg_regions")
    valid = torch.from_numpy(stored["valid"])
    assert torch.equal((soft > 0.5).flatten(1).any(1), valid)
    assert_near(zsseg_crops(image, (soft > 0.5)[valid], INPUT)[..., ::16, ::16], stored["crops_s16"], 2e-3)
    logits = 100 * torch.from_numpy(unit(stored["clip_image_features"]) @ stored["text_region"].T)
    assert_near(logits, stored["clip_logits"])
    query = class_logits(torch.from_numpy(stored["query_embeddings"]), torch.from_numpy(stored["text_query"]))
    assert_near(query, stored["query_logits"])
    for name, weight in (("", 0.7), ("_w0.8", 0.8), ("_w0.0", 0.0)):
        total = semantic_map(zsseg_scores(query, logits[:, :-1], valid, SEEN, weight), soft)
        assert_near(total[:, ::32, ::32], stored[f"semseg{name}_s32"])
        if not name:
            assert (total[:, ::4, ::4].argmax(0).numpy() == stored["argmax_s4"]).mean() >= 0.9999
    only = semantic_map(zegformer_scores(query, None, SEEN, "query"), soft)
    assert_near(only[:, ::32, ::32], stored["semseg_queryonly_s32"])


@pytest.mark.slow
def test_what_clip_sees_in_a_region(golden, clip, image, soft, rule):
    """Three of the given masks through a ViT-B/16."""
    model = clip(image_size=224, layers=12, width=768, patch_size=16)
    with torch.no_grad():
        rule.fill_(model.model.visual.state_dict(), lambda key: f"{CLIP_OF_ZEGFORMER}visual.{key}")
        features = RegionEncoder(model, partial(zegformer_crops, style="cropmask"), None)(image, soft[5:8] > 0.5)
    assert_near(features, unit(golden("zegformer_regions")["clip_image_features"][5:8]))


def test_the_network_of_zegformer(golden, tiny, image, released, rule):
    stored = golden("zegformer_network")
    method = told(ZegFormer(tiny, ZegFormerOptions(backbone="resnet50", backbone_weights="random")), released, rule)
    with torch.no_grad():
        pixels = method.network.normalise(image)[None]
        features = dict(zip(("res2", "res3", "res4", "res5"), method.network.backbone(pixels), strict=True))
        queries, masks = method.network(pixels)
        logits = method.head(queries[-1, 0], torch.from_numpy(stored["query_text"]))
    assert_near(features["res2"][0, ::32, ::8, ::8], stored["feat_res2_s8"])
    assert_near(features["res5"][0, ::8, ::8, ::8], stored["feat_res5_s8"])
    assert_near(queries[-1, 0, ::4], stored["decoder_out"])
    assert_near(masks[-1, 0, :, ::16, ::16], stored["pred_masks_s16"])
    assert_near(logits, stored["pred_logits"])


def test_the_network_of_zsseg(golden, tiny, image, released, rule):
    stored = golden("zsseg_network")
    method = told(Zsseg(tiny, ZssegOptions(backbone="resnet50", backbone_weights="random")), released, rule)
    with torch.no_grad():
        queries, masks = method.network(method.network.normalise(image)[None])
        logits = method.head(queries[-1, 0], torch.from_numpy(stored["text_query"][:20]))
    assert_near(masks[-1, 0, :, ::16, ::16], stored["pred_masks_s16"])
    assert_near(logits, stored["query_logits"])
