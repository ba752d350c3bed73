"""ZegCLIP's losses against their plain statement, and what chunks, strides and pseudo labels may and may not change."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.methods.zegclip import pixel_sums
from zsbench.methods.zegclip.losses import mask_losses, pseudo_labels, softmax_loss
from zsbench.methods.zegclip.options import ZegClipOptions


def plain_losses(masks, labels, options):
    """Section 3.3 with one full-size target per class, in float64, image by image and class by class."""
    logits = F.interpolate(masks.double(), labels.shape[-2:], mode="bilinear", align_corners=False)
    pixelwise, dice, pairs = 0.0, 0.0, 0
    for image, label in zip(logits, labels, strict=True):
        valid = torch.ones(label.shape) if options.ignored == "negative" else (label != IGNORE).double()
        for index, logit in enumerate(image):
            target = (label == index).double()
            probability = torch.sigmoid(logit)
            loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
            if options.nel == "focal_dice":
                right = torch.where(target > 0, probability, 1 - probability)
                loss = torch.where(target > 0, 0.25, 0.75) * (1 - right) ** 2 * loss
            pixelwise = pixelwise + (loss * valid).sum() / valid.sum().clamp(min=1)
            if target.any():
                pairs += 1
                overlap, area = (probability * target).sum(), (probability * valid).sum() + target.sum()
                dice = dice + 1 - (2 * overlap + 1) / (area + 1)
    losses = {"mask": options.mask_weight * pixelwise / max(pairs, 1)}
    if options.nel == "focal_dice":
        losses["dice"] = options.dice_weight * torch.as_tensor(dice) / max(pairs, 1)
    return losses, pairs


def gradient(losses, masks):
    return torch.autograd.grad(torch.stack(list(losses.values())).sum(), masks, allow_unused=True)[0]


@st.composite
def batches(draw):
    """Logits float32 (B, C, h, w), and labels (B, H, W) with classes that are absent and pixels without any."""
    batch, classes = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    low = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    high = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    masks = draw(st.sampled_from([0.1, 3.0, 30.0])) * torch.randn(batch, classes, *low, generator=generator)
    present = draw(st.integers(IGNORE, classes - 1))
    labels = torch.randint(IGNORE, present + 1, (batch, *high), generator=generator)
    return masks, labels


@settings(max_examples=60, deadline=None)
@given(batches(), st.sampled_from(["focal_dice", "bce"]), st.sampled_from(["negative", "ignored"]), st.integers(1, 60))
def test_plain_statement(batch, nel, ignored, chunk):
    """Values and gradients, whatever is labelled and however few classes are in memory at a time."""
    masks, labels = batch
    options = ZegClipOptions(nel=nel, ignored=ignored, mask_weight=3, dice_weight=0.5)
    fast = masks.clone().requires_grad_()
    slow = masks.double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pixel_sums.CHUNK, "cpu", chunk)
        losses = mask_losses(fast, labels, options)
        ours = gradient(losses.values, fast)
    expected, pairs = plain_losses(slow, labels, options)
    assert losses.values.keys() == expected.keys()
    assert losses.terms == pairs
    for name, value in expected.items():
        torch.testing.assert_close(losses.values[name].double(), value.double(), rtol=1e-5, atol=1e-6)
    theirs = gradient(expected, slow)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()) + 1e-9)


def test_softplus_at_all_logits():
    logits = torch.cat([torch.linspace(-200, 200, 20_001), torch.tensor([-torch.inf, torch.inf])])
    torch.testing.assert_close(pixel_sums.softplus(logits), F.softplus(logits.double()).float(), rtol=1e-6, atol=1e-7)
    assert pixel_sums.softplus(torch.tensor([torch.nan])).isnan()


def test_gradients_in_double_precision():
    """The hand-written backward pass against finite differences, each of the four sums weighted differently."""
    torch.manual_seed(0)
    masks = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(IGNORE, 4, (2, 7, 5))
    for kind in ("focal", "bce"):
        for valid in (None, labels != IGNORE):
            assert torch.autograd.gradcheck(lambda m, v=valid, k=kind: pixel_sums.pixel_sums(m, labels, v, k), masks)


@settings(max_examples=25, deadline=None)
@given(batches())
def test_softmax(batch):
    masks, labels = batch
    masks = masks.requires_grad_()
    losses = softmax_loss(masks, labels)
    logits = F.interpolate(masks.double(), labels.shape[-2:], mode="bilinear", align_corners=False)
    labelled = labels != IGNORE
    surprise = -torch.log_softmax(logits, 1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    expected = surprise[labelled].mean() if labelled.any() else torch.zeros(())
    torch.testing.assert_close(losses.values["cross_entropy"].double(), expected.double(), rtol=1e-5, atol=1e-6)
    assert losses.terms == int(labelled.sum())
    assert gradient(losses.values, masks).isfinite().all()


@pytest.mark.parametrize("nel", ["focal_dice", "bce", "off"])
def test_parts_of_a_batch(nel):
    """Losses of parts, weighted by their terms, are those of the whole batch; also of a part without any class."""
    torch.manual_seed(1)
    masks, labels = torch.randn(5, 6, 4, 4), torch.randint(IGNORE, 6, (5, 16, 16)) // 2
    labels[0] = IGNORE
    options = ZegClipOptions(nel=nel)

    def losses_of(part):
        return (
            softmax_loss(masks[part], labels[part]) if nel == "off" else mask_losses(masks[part], labels[part], options)
        )

    whole, parts = losses_of(slice(None)), [losses_of(slice(0, 1)), losses_of(slice(1, 3)), losses_of(slice(3, 5))]
    assert parts[0].terms == 0
    assert sum(part.terms for part in parts) == whole.terms
    for name, value in whole.values.items():
        summed = sum(part.values[name] * part.terms.clamp(min=1) for part in parts)
        torch.testing.assert_close(summed / whole.terms, value)


def test_pseudo_labels_are_the_best_unseen_class():
    """Only unlabelled pixels change, only to unseen classes, also where a seen class is likelier."""
    torch.manual_seed(2)
    masks, labels = torch.randn(2, 5, 3, 3), torch.randint(UNLABELLED, 5, (2, 12, 12))
    seen = torch.tensor([True, False, True, True, False])
    found = pseudo_labels(masks, labels, seen)
    logits = F.interpolate(masks, (12, 12), mode="bilinear", align_corners=False)
    hidden = labels == UNLABELLED
    assert torch.equal(found[~hidden], labels[~hidden])
    best = torch.where(logits[:, 1] >= logits[:, 4], 1, 4)
    assert torch.equal(found[hidden], best[hidden])


def test_without_unseen_classes_nothing_is_pseudo_labelled():
    labels = torch.tensor([[[UNLABELLED, 0], [IGNORE, 1]]])
    found = pseudo_labels(torch.randn(1, 2, 1, 1), labels, torch.tensor([True, True]))
    assert found.tolist() == [[[IGNORE, 0], [IGNORE, 1]]]


def test_unlabelled_pixels_are_negatives_or_left_out():
    """With `ignored`, what is predicted at pixels without a label does not matter; as negatives it does."""
    labels = torch.full((1, 4, 4), IGNORE)
    labels[:, :, :2] = 0
    low, high = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    high[..., 3] = 9
    for ignored, same in (("ignored", True), ("negative", False)):
        options = ZegClipOptions(ignored=ignored)
        first, second = (mask_losses(masks, labels, options).values["mask"] for masks in (low, high))
        assert torch.equal(first, second) == same


def test_stride_looks_at_every_nth_pixel(small_method):
    """With a stride the losses are those of the picked labels, at their own resolution."""
    images, labels = torch.rand(2, 3, 32, 32), torch.randint(IGNORE, 5, (2, 32, 32))
    method = small_method(loss_stride=2).eval()
    with torch.no_grad():
        losses = method.losses(images, labels)
        expected = mask_losses(method.predict(images), labels[:, 1::2, 1::2], method.options)
    assert losses.values == expected.values and losses.terms == expected.terms
