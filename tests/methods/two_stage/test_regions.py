"""Crops against plain statements of how they are sampled; encoding in chunks."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zsbench.methods.two_stage.regions import ClipInput, RegionEncoder, zegformer_crops, zsseg_crops

TO = ClipInput(8, torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1))


def box_mask(height, width, top, left, bottom, right):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[0, top:bottom, left:right] = True
    return mask


def bilinear(plane, y, x):
    """The value of `plane` at a point, where pixel (0, 0) has its centre at (0, 0), and the border is repeated."""
    y, x = np.clip(y, 0, plane.shape[0] - 1), np.clip(x, 0, plane.shape[1] - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, plane.shape[0] - 1), min(x0 + 1, plane.shape[1] - 1)
    dy, dx = y - y0, x - x0
    top = plane[y0, x0] * (1 - dx) + plane[y0, x1] * dx
    return top * (1 - dy) + (plane[y1, x0] * (1 - dx) + plane[y1, x1] * dx) * dy


@pytest.mark.parametrize(("top", "left", "bottom", "right"), [(2, 1, 9, 8), (0, 0, 5, 7), (3, 4, 10, 12), (4, 4, 6, 6)])
def test_zegformer_crop_samples_the_masked_normalised_box(top, left, bottom, right):
    image = torch.rand(3, 10, 12)
    mask = box_mask(10, 12, top, left, bottom, right)
    crop = zegformer_crops(image, mask, TO)[0].numpy()
    source = (((image - TO.mean) / TO.std) * mask).numpy()
    height, width = bottom - 1 - top, right - 1 - left  # the box ends in the last pixel
    for row in range(8):
        for column in range(8):
            y, x = top - 0.5 + (row + 0.5) * height / 8, left - 0.5 + (column + 0.5) * width / 8
            expected = [bilinear(plane, y, x) for plane in source]
            np.testing.assert_allclose(crop[:, row, column], expected, atol=1e-5)


def test_zegformer_crop_of_an_empty_mask_is_the_mean_colour():
    assert zegformer_crops(torch.rand(3, 10, 12), torch.zeros(1, 32, 32, dtype=torch.bool), TO).abs().max() == 0


def test_zegformer_styles():
    image, mask = torch.rand(3, 16, 16), box_mask(16, 16, 4, 4, 12, 12)
    normalised = TO.normalise(image)
    crop, masked = zegformer_crops(image, mask, TO, "crop"), zegformer_crops(image, mask, TO, "mask")
    whole = F.interpolate((normalised * mask)[None], (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(masked, whole)
    inner = zegformer_crops(image, mask, TO)
    torch.testing.assert_close(crop[..., 1:, 1:], inner[..., 1:, 1:])  # only the first samples reach beyond the mask
    assert not torch.equal(crop[..., 0, :], inner[..., 0, :])


def test_padding_is_mean_colour_to_zegformer_and_unknown_to_zsseg():
    image = torch.rand(3, 20, 20)
    padded = torch.ones(1, 32, 32, dtype=torch.bool)
    crop = zegformer_crops(image, padded, TO)
    assert crop[..., -2:].abs().max() == 0 and crop[..., :4, :4].abs().max() > 0
    torch.testing.assert_close(zsseg_crops(image, padded, TO), zsseg_crops(image, padded[:, :20, :20], TO))


def test_zsseg_crop_is_the_filled_box_resized_bicubically():
    image, mask = torch.rand(3, 20, 24), box_mask(20, 24, 3, 5, 14, 11)
    mask[0, 3:6, 5:7] = False
    filled = torch.where(mask, image, TO.mean)[:, 3:14, 5:11]
    expected = F.interpolate(((filled - TO.mean) / TO.std)[None], (8, 8), mode="bicubic", align_corners=False)
    torch.testing.assert_close(zsseg_crops(image, mask, TO), expected)


def test_zsseg_expanded_crop_shows_mean_colour_around_the_mask():
    image, mask = torch.rand(3, 20, 24), box_mask(20, 24, 8, 10, 12, 14)
    filled = torch.where(mask, image, TO.mean)[:, 6:14, 8:16]
    expected = F.interpolate(((filled - TO.mean) / TO.std)[None], (8, 8), mode="bicubic", align_corners=False)
    torch.testing.assert_close(zsseg_crops(image, mask, TO, expand=2.0), expected)


@pytest.mark.parametrize("crop", [partial(zegformer_crops, style="mask"), partial(zsseg_crops, expand=9.0)])
def test_outside_a_region_is_black_where_asked_for(crop):
    image, mask = torch.rand(3, 16, 16), box_mask(16, 16, 4, 4, 12, 12)
    black = crop(image, mask, replace(TO, size=16, fill="black"))
    torch.testing.assert_close(black, crop(image * mask, torch.ones_like(mask), replace(TO, size=16)))


def test_zsseg_crop_of_one_pixel_is_that_colour():
    image, mask = torch.rand(3, 20, 24), box_mask(20, 24, 7, 9, 8, 10)
    crop = zsseg_crops(image, mask, TO)[0]
    torch.testing.assert_close(crop, TO.normalise(image)[:, 7:8, 9:10].expand(3, 8, 8))


def test_zsseg_refuses_an_empty_mask():
    with pytest.raises(ValueError, match="empty"):
        zsseg_crops(torch.rand(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool), TO)


@pytest.mark.parametrize("crop", [zegformer_crops, zsseg_crops])
def test_chunks_change_nothing(tiny_clip, crop):
    image = torch.rand(3, 32, 40)
    masks = torch.rand(7, 32, 40) > 0.5
    whole, parts = RegionEncoder(tiny_clip, crop, 7), RegionEncoder(tiny_clip, crop, 2)
    torch.testing.assert_close(whole(image, masks), parts(image, masks), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts(image, masks).norm(dim=-1), torch.ones(7))


def test_encoder_stays_frozen_and_in_eval_mode(tiny_clip):
    encoder = RegionEncoder(tiny_clip, zegformer_crops, None)
    encoder.train()
    assert not encoder.visual.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
