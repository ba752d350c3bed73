"""The optional backend: a clear message without detectron2; with it, a small Mask R-CNN proposes masks."""

import sys
from pathlib import Path

import pytest
import torch

from zsbench.errors import UserError
from zsbench.methods.two_stage.detectron import Detectron, check_architecture, read_config


def test_without_detectron2_the_message_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(UserError, match=r"git\+https://github.com/facebookresearch/detectron2"):
        read_config(tmp_path / "config.yaml")


def test_other_architectures_are_refused():
    check_architecture("MaskFormer", Path("config.yaml"))
    with pytest.raises(UserError, match=r"config\.yaml: meta-architecture RetinaNet.*GeneralizedRCNN"):
        check_architecture("RetinaNet", Path("config.yaml"))


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
