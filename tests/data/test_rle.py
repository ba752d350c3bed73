"""Regions of COCO annotations against pycocotools, and what must not be decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as cocomask

from zsbench.data.rle import decode_region

masks = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


@settings(deadline=None)
@given(mask=masks)
def test_compressed_counts(mask: NDArray[np.uint8]) -> None:
    encoded = cocomask.encode(np.asfortranarray(mask))
    for counts in (encoded["counts"], encoded["counts"].decode()):
        found = decode_region({"size": list(mask.shape), "counts": counts}, *mask.shape)
        assert np.array_equal(found, mask.astype(bool))


@settings(deadline=None)
@given(mask=masks)
def test_plain_counts(mask: NDArray[np.uint8]) -> None:
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    counts = [0, *counts] if flat[0] else counts
    assert np.array_equal(decode_region({"counts": counts}, *mask.shape), mask.astype(bool))


def test_polygons() -> None:
    found = decode_region([[2, 1, 8, 1, 8, 5, 2, 5], [10, 10, 12, 10, 12, 12, 10, 12]], 15, 20)
    assert found.sum() == 6 * 4 + 2 * 2 and found[1:5, 2:8].all()
    assert not decode_region([], 3, 4).any()


@given(counts=st.one_of(st.binary(max_size=30), st.text(max_size=30), st.lists(st.integers(-5, 100), max_size=9)))
def test_random_counts_never_reach_beyond_the_image(counts: Any) -> None:
    """pycocotools reads uninitialised memory for counts that end too early."""
    try:
        found = decode_region({"size": [7, 9], "counts": counts}, 7, 9)
    except ValueError:
        return
    assert found.shape == (7, 9)


@pytest.mark.parametrize(
    "region",
    [
        None,
        "x",
        {},
        {"counts": [1, 2.5]},
        {"counts": [63], "size": [9, 7]},
        [[1, 2, 3]],
        [[1, 2, 3, 4]],
        [["a"] * 6],
        [[float("nan")] * 6],
        [[1e30] * 6],
    ],
)
def test_what_is_no_region_is_refused(region: Any) -> None:
    with pytest.raises(ValueError):
        decode_region(region, 7, 9)


def test_real_coco_stuff_annotations(shared: Path) -> None:
    content = json.loads((shared / "data/lists/cocostuff-rle-examples/stuff_examples.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        found = decode_region(annotation["segmentation"], *sizes[annotation["image_id"]])
        assert found.sum() == annotation["area"]
        assert np.array_equal(found, cocomask.decode(annotation["segmentation"]))
