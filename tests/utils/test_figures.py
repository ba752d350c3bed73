"""Pictures for people: whatever classes are called, they stand in the legend."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from zsbench.utils.figures import GalleryRow, legend_patches, save_gallery, save_overlay

NAMES = [r"$\frac$", "_background_", "[/red]", "two\nlines", "half \ud800", r"\\", "a$b"]
PALETTE = [(40 * number, 0, 0) for number in range(len(NAMES))]
LABEL = np.arange(len(NAMES), dtype=np.int32)[None].repeat(4, 0)


def test_names_with_markup_of_their_own_are_drawn(tmp_path):
    image = np.zeros((*LABEL.shape, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_overlay(tmp_path / "overlay.png", image, LABEL, NAMES, PALETTE)
        save_gallery(tmp_path / "gallery.png", [GalleryRow(image, LABEL, LABEL)], NAMES, NAMES[:1], PALETTE, r"$\oops$")
    for name in ("overlay", "gallery"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            picture.verify()


@pytest.mark.parametrize("name", NAMES)
def test_no_class_is_left_out_of_a_legend(name):
    legend = Figure().legend(handles=legend_patches([np.zeros((1, 1), np.int32)], [name], [], PALETTE))
    (text,) = legend.get_texts()
    assert (text.get_text().strip() and not text._parse_math) or "$" not in text.get_text().replace(r"\$", "")
