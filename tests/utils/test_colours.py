"""Colours: classes beside each other look different, and keep the colours that they have where these do."""

from __future__ import annotations

import numpy as np
import pytest

from zsbench.utils.colours import CLEAR, FEW, FIRST, GREY, distances, distinct_palette, told_apart, voc_palette


def apart(palette, blind):
    found = distances(palette, palette, blind)
    return found[~np.eye(len(palette), dtype=bool)].min(initial=9)


def test_distances_are_those_of_oklab():
    assert distances([(0, 0, 0)], [(255, 255, 255)], blind=False).item() == pytest.approx(1, abs=1e-3)
    red, green = [(200, 60, 0)], [(100, 110, 0)]
    assert distances(red, green, blind=True).item() < 0.06 < 0.2 < distances(red, green, blind=False).item()


def test_few_colours_are_clear_to_the_colour_blind_and_many_differ():
    assert apart(distinct_palette(FEW), blind=True) > CLEAR
    for count in (1, 3, 60, 171, 400):
        palette = distinct_palette(count)
        assert len(set(palette)) == count and palette[:3] == FIRST[:count][:3]
    assert apart(distinct_palette(60), blind=False) > 0.07
    assert distances(distinct_palette(171), [GREY], blind=False).min() > 0.05


def test_classes_that_look_alike_side_by_side_are_redrawn_and_others_keep_their_colours():
    palette = ((200, 60, 0), (100, 110, 0), (0, 0, 200), (101, 111, 0))  # the first two are one to who sees no red
    beside = np.array([[0, 0, 0, 1, 2], [0, 0, 0, 1, 2], [0, 0, 0, 1, -1]])
    found = told_apart([beside], palette)
    assert found[0] == palette[0] and found[2:] == palette[2:] and found[1] != palette[1]
    assert apart(found[:3], blind=True) > CLEAR
    distant = told_apart([np.array([[0, 2, 1]])], palette)
    assert distant == palette
    assert told_apart([np.array([[1, 2, 3]])], palette)[3] != palette[3], "all but the same colour, if far away"


def test_neighbours_differ_with_many_classes_as_well():
    label = np.kron(np.random.default_rng(0).permutation(171)[:169].reshape(13, 13), np.ones((3, 3), int))
    found = np.array(told_apart([label], voc_palette(172)))
    for a, b in ((label[:, 1:], label[:, :-1]), (label[1:], label[:-1])):
        border = a != b
        pairs = np.unique(np.stack([a[border], b[border]]), axis=1).T
        assert min(distances(found[one][None], found[other][None], blind=False).item() for one, other in pairs) > CLEAR
