"""A small backbone learns seen classes from images without unseen ones, and is shipped for images of about 100 pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.methods.two_stage import pretrain
from zsbench.methods.two_stage.backbone import MINIATURE, Backbone
from zsbench.methods.two_stage.presets import RANDOM, SHIPPED
from zsbench.registry import load_dataset_class


def test_the_shipped_weights_fit_the_miniature_and_nothing_else():
    torch.manual_seed(0)
    shipped, random = Backbone(MINIATURE, "batch", SHIPPED), Backbone(MINIATURE, "batch", RANDOM)
    pairs = zip(shipped.body.parameters(), random.body.parameters(), strict=True)
    assert all(bool(a.isfinite().all()) and not torch.equal(a, b) for a, b in pairs if a.ndim > 1)
    with pytest.raises(UserError, match="does not fit the backbone resnet18"):
        Backbone("resnet18", "batch", SHIPPED)


def test_no_image_with_an_unseen_class_is_learnt_from():
    dataset = load_dataset_class("miniworld")()
    examples = pretrain.Examples(dataset, "single")
    unseen = [dataset.classes.index(name) for name in dataset.unseen]
    left_out = []
    for image_id in dataset.ids("single")[:48]:
        label = dataset.read("single", image_id).label
        found = examples.read(image_id)
        left_out.append(found is None)
        assert left_out[-1] == bool(np.isin(label, unseen).any())
        if found is not None:
            there = {int(value) for value in np.unique(label[label != IGNORE])}
            assert {int(index) for index in examples.seen[found[1].numpy() > 0]} == there
    assert set(left_out) == {True, False}


def test_what_is_found_is_counted_among_the_best_scored():
    class Fixed(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])

    images = torch.zeros(3, 4, 4)
    both, one = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    assert pretrain.share_found(Fixed(), [(images, both), (images, one)]) == pytest.approx(200 / 3)
