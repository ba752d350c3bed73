"""The optional backend: clear messages, its joints on a stand-in, and with detectron2 a small Mask R-CNN."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from zsbench.errors import UserError
from zsbench.methods.two_stage.clip_regions import ClipRegions
from zsbench.methods.two_stage.detectron import Detectron, check_architecture
from zsbench.methods.two_stage.options import ClipRegionOptions

MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


class StandIn(nn.Module):
    """What is used of a MaskFormer under detectron2: its masks are the blue channel, four times smaller."""

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.backbone = nn.Conv2d(3, 3, 1)

    def sem_seg_head(self, features):
        self.features = features
        return {"pred_masks": features[:, :2, ::4, ::4]}


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """`(config, weights, settings)`: a detectron2 that knows one model, the files that would build it, and its settings."""
    settings = SimpleNamespace(
        MODEL=SimpleNamespace(META_ARCHITECTURE="MaskFormer", DEVICE="cuda"),
        INPUT=SimpleNamespace(FORMAT="BGR"),
        set_new_allowed=lambda allowed: None,
        merge_from_file=lambda path: None,
    )
    modules = {name: ModuleType(name) for name in ("detectron2", "detectron2.config", "detectron2.modeling")}
    modules["detectron2.config"].get_cfg = lambda: settings
    modules["detectron2.modeling"].build_model = lambda config: StandIn()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    config, weights = tmp_path / "config.yaml", tmp_path / "model_final.pth"
    config.write_text("MODEL: {}")
    torch.save({"model": {"backbone.weight": torch.eye(3)[..., None, None], "backbone.bias": torch.zeros(3)}}, weights)
    return config, weights, settings


def test_without_detectron2_the_message_says_how_to_install_it(monkeypatch, tmp_path, tiny_clip):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    config, weights = tmp_path / "config.yaml", tmp_path / "model.pth"
    options = {"proposals": "detectron2", "detectron2_config": config, "detectron2_weights": weights}
    config.touch(), weights.touch()
    with pytest.raises(UserError, match=r"pip install 'git\+https://github.com/facebookresearch/detectron2"):
        ClipRegions(tiny_clip, ClipRegionOptions(**options))


def test_other_architectures_are_refused(stand_in):
    config, weights, settings = stand_in
    settings.MODEL.META_ARCHITECTURE = "RetinaNet"
    with pytest.raises(UserError, match=r"config\.yaml: meta-architecture RetinaNet.*GeneralizedRCNN.*proposals=file"):
        Detectron(config, weights)
    check_architecture("MaskFormer", Path("config.yaml"))


def test_images_arrive_as_the_config_says(stand_in):
    """BGR in 0..255, normalised by the config's statistics, then padded."""
    config, weights, _ = stand_in
    detector = Detectron(config, weights)
    image = torch.rand(3, 40, 50)
    (found,) = detector.propose(image[None])
    bgr = (255 * image.flip(0) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(detector.model.features[0, :, :40, :50], bgr)
    assert not detector.model.features[0, :, 40:].any() and not detector.model.features[0, :, :, 50:].any()
    assert found.masks.shape == (2, 64, 64) and found.queries is None
    assert not any(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_mean": torch.tensor([122.77, 116.75, 104.09])}, "pixel_mean is .122.7.*the config's .103.5"),
        ({"head.weight": torch.zeros(1)}, r"does not fit .*config\.yaml: head\.weight"),
        ({"backbone.bias": torch.zeros(4)}, "backbone.bias"),
    ],
)
def test_checkpoints_must_fit(stand_in, change, message):
    config, weights, _ = stand_in
    state = torch.load(weights, weights_only=True)["model"]
    torch.save({"model": {**state, "pixel_std": torch.tensor(STD), **change}}, weights)
    with pytest.raises(UserError, match=message):
        Detectron(config, weights)
    weights.write_bytes(b"a pickle of the model zoo")
    with pytest.raises(UserError, match=r"model_final\.pth cannot be read"):
        Detectron(config, weights)


def test_masks_of_a_mask_rcnn(tmp_path):
    config_module = pytest.importorskip("detectron2.config")
    modeling = pytest.importorskip("detectron2.modeling")
    zoo = pytest.importorskip("detectron2.model_zoo")
    config = config_module.get_cfg()
    config.merge_from_file(zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))
    config.MODEL.DEVICE, config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = "cpu", 0.0
    path, weights = tmp_path / "config.yaml", tmp_path / "weights.pth"
    path.write_text(config.dump())
    torch.save({"model": modeling.build_model(config).state_dict()}, weights)
    (found,) = Detectron(path, weights).eval().propose(torch.rand(1, 3, 70, 90))
    assert found.masks.shape[1:] == (96, 96) and set(found.masks.unique().tolist()) <= {0.0, 1.0}
