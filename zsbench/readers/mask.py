"""Masks as they are stored: raw integers, never colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.readers.image import DEEP_MODES, open_picture

INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I;16N", "I")
"""PIL's modes in which a pixel is one integer."""

LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000")

GREY_TOLERANCE = 8
"""How far the channels of a black and white JPEG may differ (chroma is compressed too)."""


def read_mask(path: Path) -> NDArray[np.int32]:
    """int32 (H, W) of the values stored in a mask file: palette indices stay indices, 16 bits stay 16 bits.

    Raises `UserError` naming the file when it is missing, damaged, compressed with loss, or has colours
    instead of values.
    """
    with open_picture(path, "mask") as picture:
        if picture.format in LOSSY_FORMATS:
            raise UserError(
                f"{path}: a mask saved as {picture.format} has lost its exact values; "
                "it must be saved without loss (PNG) from the original annotation."
            )
        if picture.mode not in INDEX_MODES:
            raise UserError(
                f"{path}: a mask of PIL mode {picture.mode!r} has colours, not class values; expected one "
                "channel. If it went through convert('RGB') or an image editor, go back to the original file."
            )
        return np.asarray(picture).astype(np.int32)


def read_binary(path: Path, threshold: int = 127) -> NDArray[np.int32]:
    """int32 (H, W): 1 where the mask is at least `threshold` of 255, else 0.

    For masks of one object that are drawn in black and white; those may be JPEGs, grey or grey as RGB. Raises
    `UserError` naming the file when it is missing or damaged, when it has colours, or when it has more than 8
    bits.
    """
    with open_picture(path, "mask") as picture:
        if picture.mode in DEEP_MODES:
            raise UserError(f"{path}: a black and white mask of more than 8 bits (PIL mode {picture.mode!r}).")
        colours = np.asarray(picture.convert("RGB")).astype(np.int32)
        spread = int((colours.max(axis=2) - colours.min(axis=2)).max(initial=0))
        if spread > GREY_TOLERANCE:
            raise UserError(f"{path}: a mask with colours; expected black for the ground and white for the object.")
        return (colours[:, :, 0] >= threshold).astype(np.int32)
