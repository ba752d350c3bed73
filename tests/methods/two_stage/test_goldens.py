"""The released systems' outputs under regenerated weights: CLIP branches and full pipelines (slow: many ViT-B/16 crops)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.clip.text import Vocabulary
from zsbench.method import ImageBatch
from zsbench.methods.two_stage.fusion import semantic_map, zegformer_scores, zsseg_scores
from zsbench.methods.two_stage.geometry import zegformer_boxes
from zsbench.methods.two_stage.heads import class_logits
from zsbench.methods.two_stage.regions import RegionEncoder, zegformer_crops, zsseg_crops
from zsbench.methods.two_stage.released import convert
from zsbench.methods.two_stage.zegformer import ZegFormer, ZegFormerOptions
from zsbench.methods.two_stage.zsseg import Zsseg, ZssegOptions

from .conftest import INPUT, assert_near, unit

pytest.importorskip("transformers")
CLIP_OF_ZEGFORMER = "sem_seg_head.predictor.clip_model."
CLIP_OF_ZSSEG = "clip_adapter.clip_model."
SEEN = torch.arange(20) < 15
NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FUSIONS = {
    "": {},
    "_clip_only": {"fusion": "clip", "calibration": 0.0},
    "_ens_nocal": {"calibration": 0.0},
    "_all_cls": {"fusion": "ensemble-all", "calibration": 0.0},
    "_query_only": {"fusion": "query", "calibration": 0.0},
}


def assert_same_labels(scores, reference):
    assert (scores.argmax(0).numpy() == reference).mean() >= 0.9999


def test_zegformer_boxes_crops_and_fusion(golden, image, soft):
    """From CLIP's stored features on."""
    stored, text = (
        golden("zegformer_clipbranch_480x640"),
        golden("zegformer_r50_voc20_480x640")["text_features_test_clip"],
    )
    assert_near(zegformer_boxes(soft > 0.5), stored["boxes_xyxy"], 0)
    for style in ("cropmask", "crop"):
        crops = zegformer_crops(image, soft > 0.5, INPUT, style)
        assert_near(crops[..., ::16, ::16], stored[f"crop_{style}_s16"])
    logits = 100 * torch.from_numpy(unit(stored["clip_image_features"]) @ text.T)
    assert_near(logits, stored["clip_logits"])
    query = torch.from_numpy(stored["pred_logits"])
    for name, options in FUSIONS.items():
        scores = zegformer_scores(query, logits, SEEN, options.get("fusion", "ensemble"))
        total = semantic_map(scores, soft) - options.get("calibration", 0.1) * SEEN[:, None, None].float()
        assert_near(total[:, ::8, ::8], stored[f"semseg{name}_s8"])
        assert_same_labels(total, stored[f"argmax{name}"])


def test_zsseg_crops_and_fusion(golden, image, soft):
    """From CLIP's stored features on."""
    stored = golden("zsseg_clipbranch_480x640")
    valid = torch.from_numpy(stored["valid"])
    assert torch.equal((soft > 0.5).flatten(1).any(1), valid)
    crops = zsseg_crops(image, (soft > 0.5)[valid], INPUT)
    assert_near(crops[..., ::16, ::16], stored["crops_s16"])
    logits = 100 * torch.from_numpy(unit(stored["clip_image_features"]) @ stored["text_region"].T)
    assert_near(logits, stored["clip_logits"])
    query = class_logits(torch.from_numpy(stored["query_embeddings"]), torch.from_numpy(stored["text_query"]))
    assert_near(query, stored["query_logits"])
    for name, weight in (("", 0.7), ("_w0.8", 0.8), ("_w0.0", 0.0)):
        total = semantic_map(zsseg_scores(query, logits[:, :-1], valid, SEEN, weight), soft)
        assert_near(total[:, ::8, ::8], stored[f"semseg{name}_s8"])
        if not name:
            assert_same_labels(total, stored["argmax"])
    only = semantic_map(zegformer_scores(query, None, SEEN, "query"), soft)
    assert_near(only[:, ::8, ::8], stored["semseg_queryonly_s8"])


@pytest.mark.slow
@pytest.mark.parametrize("system", ["zegformer", "zsseg"])
def test_clip_features_of_regions(golden, golden_clip, image, soft, system):
    stored = golden(f"{system}_clipbranch_480x640")
    clip = golden_clip(CLIP_OF_ZEGFORMER if system == "zegformer" else CLIP_OF_ZSSEG)
    encoder = RegionEncoder(clip, zegformer_crops if system == "zegformer" else zsseg_crops, None)
    masks = soft > 0.5
    masks = masks if system == "zegformer" else masks[masks.flatten(1).any(1)]
    with torch.no_grad():
        assert_near(encoder(image, masks), unit(stored["clip_image_features"]))


def told(method, stored, released, rule):
    """The method with the reference's weights, which come in under the released names, and its text embeddings."""
    own = trainable_state_dict(method)
    state = released(own)
    rule.fill_(state)
    load_trainable_state_dict(method, convert(state, own, "reference"), "reference")
    method.set_vocabulary(Vocabulary(NAMES, torch.zeros(20, 512), SEEN))
    return method.eval()


@pytest.mark.slow
def test_zegformer_whole(golden, golden_clip, image, released, rule):
    stored = golden("zegformer_r50_voc20_480x640")
    method = ZegFormer(golden_clip(CLIP_OF_ZEGFORMER), ZegFormerOptions(backbone="resnet50"))
    method = told(method, stored, released, rule)
    method._texts["scene"] = torch.from_numpy(stored["text_features_test"])
    method._texts["regions32"] = torch.from_numpy(stored["text_features_test_clip"])
    with torch.no_grad():
        normalised = method.network.normalise(image)[None]
        for name, features in zip(("res2", "res3", "res4", "res5"), method.network.backbone(normalised), strict=True):
            assert_near(features[0, ::8, ::8, ::8], stored[f"feat_{name}_s8"])
        predictions = method.network(normalised)
        assert_near(predictions.queries[-1, 0], stored["decoder_out"])
        assert_near(predictions.masks[-1, 0, :, ::4, ::4], stored["pred_masks_s4"])
        (proposals,) = method.propose(ImageBatch(image[None]))
        assert_near(F.normalize(method.head.projection(proposals.queries), dim=-1), stored["segment_embeddings"])
        assert_near(method.head(proposals.queries, method.query_text()), stored["pred_logits"])
        assert_near(zegformer_boxes(proposals.masks > 0.5), stored["boxes_xyxy"], 0)
        features = method.regions(image, proposals.masks > 0.5)
        assert_near(features, unit(stored["clip_image_features"]), 2e-3)
        method.encode_regions = lambda image, masks: features
        for name, options in FUSIONS.items():
            method.options = ZegFormerOptions(backbone="resnet50", **options)
            total = method.score(method.predict(image[None])[0], slice(0, 20))
            assert_near(total[:, ::8, ::8], stored[f"semseg{name}_s8"])
            assert_same_labels(total, stored[f"argmax{name}"])


@pytest.mark.slow
def test_zsseg_whole(golden, golden_clip, image, released, rule):
    stored = golden("zsseg_r50_voc20_480x640")
    method = told(Zsseg(golden_clip(CLIP_OF_ZSSEG), ZssegOptions()), stored, released, rule)
    method._texts["sculpture"] = torch.from_numpy(stored["text_query"][:20])
    method._texts["vild14"] = torch.from_numpy(stored["text_region"][:20])
    with torch.no_grad():
        predictions = method.network(method.network.normalise(image)[None])
        assert_near(predictions.masks[-1, 0, :, ::4, ::4], stored["pred_masks_s4"])
        (proposals,) = method.propose(ImageBatch(image[None]))
        assert_near(method.head(proposals.queries, method.query_text()), stored["query_logits"])
        masks = proposals.masks > 0.5
        assert np.array_equal(masks.flatten(1).any(1).numpy(), stored["valid"])
        features = method.regions(image, masks[torch.from_numpy(stored["valid"])])
        assert_near(features, unit(stored["clip_image_features"]), 2e-3)
        method.encode_regions = lambda image, masks: features
        for name, weight in (("", 0.7), ("_w0.8", 0.8), ("_w0.0", 0.0)):
            method.options = ZssegOptions(weight=weight)
            total = method.predict(image[None])[0]
            assert_near(total[:, ::8, ::8], stored[f"semseg{name}_s8"])
            if not name:
                assert_same_labels(total, stored["argmax"])
