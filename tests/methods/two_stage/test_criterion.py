"""Matching against all permutations, losses against NumPy, and the reference values."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.methods.two_stage import criterion as module
from zsbench.methods.two_stage.criterion import LossWeights, Targets, criterion, focal_terms, match, targets_of

pytest.importorskip("scipy")
WEIGHTS = LossWeights()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_focal(logit, target):
    p = sigmoid(logit)
    return -0.25 * (1 - p) ** 2 * np.log(p) if target else -0.75 * p**2 * np.log(1 - p)


def plain_dice(probabilities, target):
    return 1 - (2 * (probabilities * target).sum() + 1) / (probabilities.sum() + target.sum() + 1)


def test_targets_are_one_mask_for_each_class_present():
    label = torch.tensor([[3, 3, -1], [0, -2, 3]])
    targets = targets_of(label)
    assert targets.classes.tolist() == [0, 3]
    assert targets.masks.tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 1, 0], [0, 0, 1]]]


def test_focal_terms():
    logits = torch.linspace(-8, 8, 33, dtype=torch.float64)
    present, absent = focal_terms(logits)
    np.testing.assert_allclose(present, [plain_focal(x, 1) for x in logits.numpy()], rtol=1e-9)
    np.testing.assert_allclose(absent, [plain_focal(x, 0) for x in logits.numpy()], rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_match_is_the_cheapest_of_all_permutations(seed):
    generator = torch.Generator().manual_seed(seed)
    queries, segments = 5, 3
    classes, masks = (
        torch.randn(queries, 5, generator=generator),
        2 * torch.randn(queries, 4, 6, generator=generator),
    )
    truth = (torch.rand(segments, 8, 12, generator=generator) > 0.6).float()
    target = Targets(torch.tensor([2, 0, 3]), truth)
    found, at = match(classes, masks, target, WEIGHTS)
    cost = np.zeros((queries, segments))
    small = truth[:, ::2, ::2].numpy()
    for q, s in itertools.product(range(queries), range(segments)):
        probability = classes[q].softmax(-1)[target.classes[s]].item()
        logits = masks[q].numpy().astype(np.float64)
        focal = np.mean([plain_focal(x, t) for x, t in zip(logits.flat, small[s].flat, strict=True)])
        cost[q, s] = -probability + 20 * focal + plain_dice(sigmoid(logits), small[s])
    best = min(
        itertools.permutations(range(queries), segments),
        key=lambda p: sum(cost[q, s] for s, q in enumerate(p)),
    )
    assert {int(s): int(q) for q, s in zip(found, at, strict=True)} == dict(enumerate(best))


def test_losses_against_numpy(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    classes, masks = (
        torch.randn(1, 2, 4, 4, generator=generator),
        torch.randn(1, 2, 4, 3, 3, generator=generator),
    )
    targets = [
        Targets(torch.tensor([1, 2]), (torch.rand(2, 6, 6, generator=generator) > 0.5).float()),
        Targets(torch.tensor([0]), (torch.rand(1, 6, 6, generator=generator) > 0.5).float()),
    ]
    fixed = iter([(torch.tensor([3, 1]), torch.tensor([0, 1])), (torch.tensor([2]), torch.tensor([0]))])
    monkeypatch.setattr(module, "match", lambda *arguments: next(fixed))
    losses = criterion(classes, masks, targets)
    wanted = [[3, 2, 3, 1], [3, 3, 0, 3]]
    total = norm = 0.0
    for image, query in itertools.product(range(2), range(4)):
        label = wanted[image][query]
        weight = 0.1 if label == 3 else 1.0
        total -= weight * classes[0, image, query].log_softmax(-1)[label].item()
        norm += weight
    assert losses["ce"].item() == pytest.approx(total / norm, rel=1e-5)
    focal = dice = 0.0
    for image, query, segment in ((0, 3, 0), (0, 1, 1), (1, 2, 0)):
        up = (
            F.interpolate(masks[0, image, query][None, None], (6, 6), mode="bilinear", align_corners=False)[0, 0]
            .double()
            .numpy()
        )
        truth = targets[image].masks[segment].numpy()
        focal += np.mean([plain_focal(x, t) for x, t in zip(up.flat, truth.flat, strict=True)])
        dice += plain_dice(sigmoid(up), truth)
    assert losses["focal"].item() == pytest.approx(20 * focal / 3, rel=1e-5)
    assert losses["dice"].item() == pytest.approx(dice / 3, rel=1e-5)


def test_images_without_segments_teach_no_object_only():
    classes, masks = (
        torch.randn(2, 1, 4, 4, requires_grad=True),
        torch.randn(2, 1, 4, 3, 3, requires_grad=True),
    )
    losses = criterion(classes, masks, [targets_of(torch.full((6, 6), -1))])
    assert set(losses) == {"ce", "focal", "dice", "ce_0", "focal_0", "dice_0"}
    torch.stack(list(losses.values())).sum().backward()
    assert masks.grad is not None and masks.grad.abs().max() == 0
    assert classes.grad is not None and classes.grad.abs().max() > 0


def test_reference_values(golden):
    """ReleasedCheckpoint criterion: matching, and each loss of the last layer and two before it."""
    stored = golden("zegformer_criterion")
    logits = torch.from_numpy(np.concatenate([stored["aux_logits"], stored["pred_logits"][None]]))
    masks = torch.from_numpy(np.concatenate([stored["aux_masks"], stored["pred_masks"][None]]))
    targets = [
        Targets(torch.from_numpy(stored[f"labels{i}"]), torch.from_numpy(stored[f"gt{i}"]).float()) for i in range(2)
    ]
    for image, target in enumerate(targets):
        queries, segments = match(logits[-1, image], masks[-1, image], target, WEIGHTS)
        assert queries.tolist() == stored[f"match{image}_pred"].tolist()
        assert segments.tolist() == stored[f"match{image}_gt"].tolist()
    losses = criterion(logits, masks, targets)
    names = {"ce": ("ce", 1.0), "focal": ("mask", 20.0), "dice": ("dice", 1.0)}
    for ours, (theirs, weight) in names.items():
        for suffix in ("", "_0", "_1"):
            reference = weight * float(stored[f"unweighted_loss_{theirs}{suffix}"])
            assert losses[ours + suffix].item() == pytest.approx(reference, rel=1e-5)
    total = torch.stack(list(losses.values())).sum().item()
    assert total == pytest.approx(float(stored["weighted_total"]), rel=1e-5)
