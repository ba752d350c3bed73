"""Pictures for people: pixel on pixel, with the names of classes where these are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from zsbench.utils import figures
from zsbench.utils.figures import (
    ABSTAINED,
    STRIPE,
    GalleryRow,
    Key,
    coloured,
    enlarged,
    free_corner,
    loss_limits,
    overlay,
    regions,
    room,
    row_height,
    save_gallery,
    write_names,
)

NAMES = [r"$\frac$", "_background_", "[/red]", "two\nlines", "half \ud800", "\x00", "a$b", "語"]
PALETTE = [(30 * number, 0, 90) for number in range(len(NAMES))]


@pytest.fixture
def written(monkeypatch):
    """Every text that is drawn."""
    texts, draw = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, *rest, **words: (texts.append((text, xy)), draw(self, xy, text, *rest, **words))[0],
    )
    return texts


def test_names_of_all_kinds_are_drawn_as_they_are_and_none_is_left_out_of_the_legend(tmp_path, written):
    label = np.arange(len(NAMES), dtype=np.int32)[None].repeat(4, 0)
    image = np.zeros((*label.shape, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_gallery(
            tmp_path / "gallery.png", [GalleryRow(image, label, [label], "id")], Key(NAMES, PALETTE), r"$\oops$"
        )
    with Image.open(tmp_path / "gallery.png") as picture:
        picture.verify()
    shown = {text for text, _ in written}
    assert {r"$\frac$", "_background_", "[/red]", "two lines", "half", "a$b", "語", r"$\oops$", "id"} <= shown


def test_what_is_ignored_is_hatched_and_what_is_predicted_there_is_striped():
    label, truth = np.zeros((16, 16), int), np.zeros((16, 16), int)
    truth[:8], label[12:] = -1, -1
    palette = [(200, 100, 0)]
    assert {tuple(c) for c in coloured(truth, palette)[:8].reshape(-1, 3)} == {(224, 224, 224), STRIPE}
    painted = coloured(label, palette, truth)
    assert {tuple(c) for c in painted[:8].reshape(-1, 3)} == {(200, 100, 0), (100, 50, 0)}
    assert (painted[8:12] == palette[0]).all() and (painted[12:] == ABSTAINED).all()


def test_an_overlay_is_the_image_pixel_on_pixel(written):
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)
    label = np.zeros((120, 200), int)
    label[:, 150:] = 1
    key = Key(["cat", "dog"], [(200, 0, 0), (0, 0, 200)])
    found = np.asarray(overlay(image, label, key, alpha=0.25))
    assert found.shape == image.shape
    np.testing.assert_allclose(found[0, 0], 0.75 * image[0, 0] + [50, 0, 0], atol=1)
    places = dict(written)
    assert 0 < places["cat"][0] < 150 < places["dog"][0] < 200
    np.testing.assert_array_equal(np.asarray(overlay(image, label, key, alpha=0))[0], image[0])


def test_a_class_without_room_for_its_name_stands_in_a_corner(written):
    label = np.zeros((150, 300), int)
    label[2:5, 2:5], label[140:, :4] = 1, -1
    overlay(np.zeros((150, 300, 3), np.uint8), label, Key(["grass", "ladybug"], [(0, 200, 0), (200, 0, 0)]))
    assert [text for text, _ in written] == ["grass", "ladybug", "ignored"]


def test_the_box_in_the_corner_covers_no_name_that_it_can_spare():
    bottom_left, whole = (0, 80, 30, 100), (0, 0, 100, 100)
    assert free_corner((100, 100), (40, 20), []) == (0, 80)
    assert free_corner((100, 100), (40, 20), [bottom_left]) == (60, 80)
    assert free_corner((100, 100), (40, 20), [bottom_left, (70, 90, 100, 100)]) == (0, 0)
    assert free_corner((100, 100), (40, 20), [whole]) == (0, 80)


@pytest.mark.parametrize(
    ("losses", "limits"),
    [
        ({"loss": [700.0, 100, *[1.0] * 100]}, (-0.075, 1.5)),
        ({"loss": [3.0, 2.5, *[1.0] * 100]}, None),
        ({"loss": [700.0, *[1.0] * 100], "mask": [90.0, *[2.0] * 100], "none": [float("nan")]}, (-0.15, 3.0)),
        ({"loss": [700.0, *[1.0] * 100, -1.0]}, (-1.125, 1.5)),
        ({"loss": [float("nan")] * 3}, None),
        ({}, None),
    ],
)
def test_the_axis_of_losses_leaves_a_steep_beginning_out(losses, limits):
    assert loss_limits(losses) == (limits if limits is None else pytest.approx(limits))


def test_a_name_lies_in_its_region():
    ring = np.ones((60, 60), bool)
    ring[10:50, 10:50] = False
    assert room(ring, 12, 30) is None and room(ring, 10, 70) is None
    row, _ = room(ring, 10, 30)
    assert row in (5, 55)
    assert room(np.ones((20, 40), bool), 10, 30) == (10, 20)
    label = np.zeros((100, 400), int)
    label[:, 200:] = -1
    picture = Image.fromarray(coloured(label, [(0, 0, 0)]))
    before = np.asarray(picture)
    assert write_names(picture, label, Key(["word"], [(0, 0, 0)])).keys() == {0}
    changed = np.nonzero((np.asarray(picture) != before).any(axis=(0, 2)))[0]
    assert 60 < changed.min() < changed.max() < 140


def test_large_regions_alone_are_named_each():
    label = np.full((100, 100), -1)
    label[:20, :20] = label[50:70, 50:70] = 3
    label[90, 90] = 5
    assert [(cls, place) for cls, _, place in regions(label)] == [(3, (0, 0)), (3, (50, 50))]


def test_rows_are_equally_high_and_small_images_grow_by_whole_factors(tmp_path, monkeypatch):
    assert [row_height([high]) for high in (96, 100, 128, 256, 300)] == [192, 200, 256, 256, 256]
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(enlarged(image, (15, 12))), image.repeat(3, 0).repeat(3, 1))
    heights, paste = [], figures.strip
    monkeypatch.setattr(figures, "strip", lambda pictures, *rest: (heights.append(pictures), paste(pictures, *rest))[1])
    rows = [
        GalleryRow(np.zeros((*s, 3), np.uint8), np.zeros(s, int), [np.zeros(s, int)], "x")
        for s in ((30, 20), (60, 90), (5, 500))
    ]
    save_gallery(tmp_path / "g.png", rows, Key(["a"], [(9, 99, 9)]), "t")
    sizes = [{picture.size for picture in pictures} for pictures in heights]
    assert sizes[:2] == [{(160, 240)}, {(360, 240)}] and sizes[2] == {(960, 10)}
