"""Boxes against loops over pixels; padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zsbench.methods.two_stage.geometry import pad_to_multiple, padded_size, zegformer_boxes, zsseg_boxes

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)))


def corners(mask):
    """First and last column and row of a mask, found pixel by pixel; None where it is empty."""
    touched = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    if not touched:
        return None
    columns, rows = zip(*touched, strict=True)
    return min(columns), min(rows), max(columns), max(rows)


@settings(deadline=None, max_examples=40)
@given(MASKS)
def test_zegformer_box_ends_in_the_last_pixel_and_degenerates_to_the_whole_image(masks):
    boxes = zegformer_boxes(torch.from_numpy(masks))
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        found = corners(mask)
        degenerate = found is None or found[0] == found[2] or found[1] == found[3]
        assert box == list((0, 0, mask.shape[1], mask.shape[0]) if degenerate else found)


@settings(deadline=None, max_examples=40)
@given(MASKS)
def test_zsseg_box_ends_after_the_last_pixel_and_empty_masks_are_not_valid(masks):
    boxes, valid = zsseg_boxes(torch.from_numpy(masks))
    for mask, box, is_valid in zip(masks, boxes.tolist(), valid.tolist(), strict=True):
        found = corners(mask)
        assert is_valid == (found is not None)
        if found is not None:
            left, top, right, bottom = box
            assert (left, top, right - 1, bottom - 1) == found
            assert mask[top:bottom, left:right].sum() == mask.sum()


@pytest.mark.parametrize(
    ("expand", "box"), [(1.0, [4, 2, 8, 4]), (2.0, [2, 1, 10, 5]), (1.9, [2, 1, 9, 4]), (9.0, [0, 0, 12, 8])]
)
def test_expanded_boxes_keep_their_centre_and_end_at_the_border(expand, box):
    mask = torch.zeros(1, 8, 12, dtype=torch.bool)
    mask[0, 2:4, 4:8] = True
    assert zsseg_boxes(mask, expand)[0][0].tolist() == box


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (np.s_[0:0, 0:0], [0, 0, 6, 5]),
        (np.s_[2, 3], [0, 0, 6, 5]),
        (np.s_[2, :], [0, 0, 6, 5]),
        (np.s_[:, 3], [0, 0, 6, 5]),
        (np.s_[1:3, 2:4], [2, 1, 3, 2]),
        (np.s_[:, :], [0, 0, 5, 4]),
    ],
)
def test_zegformer_box_of_edge_cases(what, expected):
    mask = torch.zeros(1, 5, 6, dtype=torch.bool)
    mask[0][what] = True
    assert zegformer_boxes(mask)[0].tolist() == expected


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 100), st.integers(1, 100))
def test_padding_appends_zeros_and_cropping_undoes_it(height, width):
    images = torch.rand(1, 3, height, width) + 1
    padded = pad_to_multiple(images)
    assert padded.shape[-2:] == padded_size(height, width)
    assert all(
        side % 32 == 0 and 0 <= side - own < 32 for side, own in zip(padded.shape[-2:], (height, width), strict=True)
    )
    assert torch.equal(padded[..., :height, :width], images)
    assert padded.count_nonzero() == images.numel()
