"""Regions of COCO annotations, run-length encoded or polygons, as boolean masks; every length is checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as cocomask

MAX_SIDE = 1 << 15


def decode_region(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """bool (height, width) of an annotation's `segmentation`: polygons, plain counts, or compressed counts.

    Raises `ValueError` saying what is wrong; nothing is decoded beyond the image.
    """
    if isinstance(segmentation, list):
        return decode_polygons(segmentation, height, width)
    return decode_runs(region_runs(segmentation, height, width), height, width)


def region_runs(segmentation: Any, height: int, width: int) -> NDArray[np.int64]:
    """int64 lengths of a region's alternating runs of 0 and 1, plain or compressed ones, which fill the image exactly.

    Raises `ValueError` saying what is wrong.
    """
    check_size(height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError("neither polygons nor run-length counts")
    if list(segmentation.get("size", (height, width))) != [height, width]:
        raise ValueError(f"its size {segmentation['size']} is not that of the image, {[height, width]}")
    counts = segmentation["counts"]
    runs = parse_counts(counts) if isinstance(counts, str | bytes) else plain_counts(counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(f"its runs add up to {runs.sum()}, not to the {height * width} pixels of the image")
    return runs


def check_size(height: int, width: int) -> None:
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"impossible image size {width}x{height}")


def decode_polygons(polygons: list[Any], height: int, width: int) -> NDArray[np.bool_]:
    """bool (height, width): the union of polygons `[x0, y0, x1, y1, ...]`, by pycocotools."""
    check_size(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs three or more pairs of coordinates")
        if not all(isinstance(value, int | float) and abs(value) < 2 * MAX_SIDE for value in polygon):
            raise ValueError("a polygon with coordinates that are no numbers, or far outside of the image")
    if not polygons:
        return np.zeros((height, width), dtype=np.bool_)
    encoded = cocomask.merge(cocomask.frPyObjects(polygons, height, width))
    return decode_runs(region_runs(encoded, height, width), height, width)


def decode_runs(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """bool (height, width) from the lengths of alternating runs of 0 and 1 in column order."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def plain_counts(counts: Any) -> NDArray[np.int64]:
    """int64 run lengths from a JSON list."""
    if not isinstance(counts, list) or not all(isinstance(run, int) and run < 1 << 31 for run in counts):
        raise ValueError("run-length counts that are no whole numbers")
    return np.array(counts, dtype=np.int64)


def parse_counts(text: str | bytes) -> NDArray[np.int64]:
    """int64 run lengths from COCO's compressed string.

    Each number is written in characters of 5 bits, lowest first, offset by 48; bit 5 says that more follow,
    bit 4 of the last one is the sign. From the fourth number on, a number is the difference to the one before
    last.
    """
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    symbols = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if not len(symbols) or symbols.min() < 0 or symbols.max() > 63 or symbols[-1] & 32:
        raise ValueError("a compressed run-length string with characters that cannot be in one")
    last = np.flatnonzero(symbols & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 7:
        raise ValueError("a compressed run-length string with a run beyond any image")
    place = np.arange(len(symbols)) - np.repeat(first, lengths)
    values = np.add.reduceat((symbols & 31) << (5 * place), first)
    values -= np.where(symbols[last] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
