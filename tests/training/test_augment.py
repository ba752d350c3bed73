"""Augmentation: deterministic, label-safe, of the asked size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsbench.dataset import IGNORE, Sample
from zsbench.recipe import Recipe
from zsbench.training.augment import augment, random_crop


def sample(height, width):
    label = (np.arange(height * width).reshape(height, width) // 7 % 5).astype(np.int32)
    image = np.repeat(label[..., None] * 50, 3, axis=2).astype(np.uint8)
    return Sample("x", image, label)


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 10_000))
def test_shapes_ranges_and_determinism(height, width, seed):
    recipe = Recipe(crop=24, short_side=30, long_side=100)
    image, label = augment(sample(height, width), recipe, np.random.default_rng(seed))
    again, label_again = augment(sample(height, width), recipe, np.random.default_rng(seed))
    assert image.shape == (3, 24, 24) and label.shape == (24, 24)
    assert image.dtype == torch.float32 and label.dtype == torch.int64
    assert image.min() >= 0 and image.max() <= 1
    assert set(label.unique().tolist()) <= {IGNORE, 0, 1, 2, 3, 4}
    assert torch.equal(image, again) and torch.equal(label, label_again)


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 60), st.integers(8, 60), st.sampled_from(["corner", "centre"]), st.integers(0, 10_000))
def test_a_crop_may_be_wider_than_high(height, width, pad, seed):
    """Where an image is smaller, what is padded is ignored, and all else is the image's."""
    recipe = Recipe(crop=20, crop_width=40, short_side=None, scale=(1, 1), photometric=False, flip=0, pad=pad)
    image, label = augment(sample(height, width), recipe, np.random.default_rng(seed))
    assert image.shape == (3, 20, 40) and label.shape == (20, 40)
    assert int((label != IGNORE).sum()) == min(height, 20) * min(width, 40)
    assert torch.equal((image[0] * 255).round().long()[label != IGNORE] // 50, label[label != IGNORE])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_image_and_label_move_together(seed):
    recipe = Recipe(crop=24, short_side=None, scale=(1, 1), photometric=False)
    image, label = augment(sample(40, 50), recipe, np.random.default_rng(seed))
    assert torch.equal((image[0] * 255).round().long() // 50, label)


@pytest.mark.parametrize("colour", [None, (0.0, 0.0, 0.0), (0.5, 0.25, 1.0)])
@pytest.mark.parametrize("where", ["corner", "centre"])
def test_padding_is_ignored_and_has_its_colour(colour, where):
    """By default ImageNet's mean: the releases of ZegCLIP and MaskCLIP+ pad with zeros what is normalised."""
    given = {} if colour is None else {"pad_colour": colour}
    recipe = Recipe(crop=16, short_side=None, scale=(1, 1), flip=0, photometric=False, pad=where, **given)
    image, label = augment(sample(10, 12), recipe, np.random.default_rng(0))
    top, left = (3, 2) if where == "centre" else (0, 0)
    padded = torch.ones(16, 16, dtype=torch.bool)
    padded[top : top + 10, left : left + 12] = False
    assert (label[padded] == IGNORE).all() and (label[~padded] != IGNORE).all()
    assert (image[:, padded] == torch.tensor(colour or (0.485, 0.456, 0.406))[:, None]).all()
    whole = torch.from_numpy(sample(10, 12).image).permute(2, 0, 1).float() / 255
    assert torch.equal(image[:, top : top + 10, left : left + 12], whole)


def test_padding_may_lie_all_around():
    recipe = Recipe(crop=16, short_side=None, scale=(1, 1), flip=0, photometric=False)
    image, label = sample(10, 13).image, sample(10, 13).label
    _, corner = augment(Sample("x", image, label), recipe, np.random.default_rng(0))
    _, centre = augment(
        Sample("x", image, label), recipe.model_copy(update={"pad": "centre"}), np.random.default_rng(0)
    )
    assert torch.equal(centre[3:13, 1:14], corner[:10, :13])
    assert (centre != IGNORE).sum() == (corner != IGNORE).sum() == 130


def test_a_shrunk_image_is_filled_up_before_the_crop_where_it_lies_in_the_middle():
    """As releases that warp images to a square do: so a crop may lie in the padding, though the image is large enough."""
    recipe = Recipe(crop=16, short_side=48, stretch=True, scale=(0.5, 0.5), flip=0, photometric=False)
    for pad, ignored in (("centre", True), ("corner", False)):
        asked = recipe.model_copy(update={"pad": pad})
        crops = [augment(sample(40, 50), asked, np.random.default_rng(seed))[1] for seed in range(20)]
        assert any((crop == IGNORE).any() for crop in crops) is ignored


def test_a_stretched_image_loses_its_aspect():
    recipe = Recipe(crop=20, short_side=20, stretch=True, scale=(1, 1), flip=0, photometric=False)
    _, label = augment(sample(10, 40), recipe, np.random.default_rng(0))
    assert (label != IGNORE).all()
    assert torch.equal(label, torch.from_numpy(sample(10, 40).label[:, ::2]).repeat_interleave(2, 0).long())


def test_blur_keeps_the_mean_and_the_label():
    recipe = Recipe(crop=40, short_side=None, scale=(1, 1), flip=0, photometric=False, category_limit=1)
    sharp, label = augment(sample(40, 40), recipe, np.random.default_rng(0))
    contrasts = []
    for seed in range(5):
        blurring = recipe.model_copy(update={"blur": 1.0})
        blurred, same = augment(sample(40, 40), blurring, np.random.default_rng(seed))
        assert torch.equal(label, same) and blurred.mean().isclose(sharp.mean(), atol=1e-3)
        contrasts.append(float(blurred.std() / sharp.std()))
    assert 0.5 < min(contrasts) < 0.98 and max(contrasts) <= 1


def test_after_ten_crops_of_one_class_the_next_is_taken():
    """As mmsegmentation draws: ten are looked at, an eleventh is not."""
    label = torch.zeros(64, 64, dtype=torch.int32)
    image = torch.arange(64 * 64).reshape(1, 64, 64)
    window, _ = random_crop(image, label, Recipe(crop=16, category_limit=0.75), np.random.default_rng(5))
    rng = np.random.default_rng(5)
    top, left = [(int(rng.integers(49)), int(rng.integers(49))) for _ in range(11)][-1]
    assert torch.equal(window, image[:, top : top + 16, left : left + 16])


def test_crop_avoids_a_dominating_class():
    label = torch.zeros(64, 64, dtype=torch.int32)
    label[:, 48:] = torch.arange(16, dtype=torch.int32).repeat_interleave(1)[None] % 4
    recipe = Recipe(crop=16, category_limit=0.75)
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    mixed = 0
    for seed in range(50):
        _, window = random_crop(image, label, recipe, np.random.default_rng(seed))
        mixed += len(window.unique()) > 1
    alone = sum(
        len(
            random_crop(image, label, recipe.model_copy(update={"category_limit": 1.0}), np.random.default_rng(s))[
                1
            ].unique()
        )
        > 1
        for s in range(50)
    )
    assert mixed > alone


def test_a_picture_one_pixel_high_is_still_a_picture():
    image, label = augment(sample(1, 500), Recipe(crop=16, short_side=16), np.random.default_rng(0))
    assert image.shape == (3, 16, 16) and label.shape == (16, 16)
