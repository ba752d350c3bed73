"""Masks as they are stored: raw integers, never colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.image import BIT_DEPTH, DEEP_MODES, open_picture
from zsbench.errors import UserError

Raw = NDArray[np.integer[Any]]
"""(H, W) label values as annotated, in the integer type of the file."""

INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I;16N", "I")
"""PIL's modes in which a pixel is one integer."""

EXACT_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
"""Formats whose values PIL hands over as stored. PGM is not among them: its values are stretched to 255."""

TIFF_BITS = 258

GREY_TOLERANCE = 8
"""How far the channels of a black and white JPEG may differ (chroma is compressed too)."""


def read_mask(path: Path) -> Raw:
    """(H, W) values stored in a mask file: palette indices stay indices, 16 bits stay 16 bits.

    Raises `UserError` naming the file when it is missing, damaged, compressed with loss, or has colours instead of
    values.
    """
    picture = open_picture(path, "mask")
    if picture.format not in EXACT_FORMATS:
        raise UserError(
            f"{path}: a mask saved as {picture.format} does not keep its exact values; "
            "it must be saved as PNG (or TIFF) from the original annotation."
        )
    if picture.mode not in INDEX_MODES:
        raise UserError(
            f"{path}: a mask of PIL mode {picture.mode!r} has colours, not class values; expected one channel. "
            "If it went through convert('RGB') or an image editor, go back to the original file."
        )
    values = np.asarray(picture)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values // stretched(picture) if picture.mode == "L" else values


def stretched(picture: Image.Image) -> int:
    """By what PIL has multiplied grey values of 2 or 4 bits, to make them fill 0..255."""
    bits = 8
    if picture.format == "PNG":
        bits = picture.info.get(BIT_DEPTH, 8)
    elif picture.format == "TIFF":
        bits = picture.tag_v2.get(TIFF_BITS, (8,))[0]  # type: ignore[attr-defined]
    return 255 // (2**bits - 1)


def read_binary(path: Path, threshold: int = 127) -> Raw:
    """uint8 (H, W): 1 where the mask is at least `threshold` of 255, else 0.

    For masks of one object that are drawn in black and white; those may be JPEGs, grey or grey as RGB. Raises
    `UserError` naming the file when it is missing or damaged, when it has colours, or when it has more than 8 bits.
    """
    picture = open_picture(path, "mask")
    if picture.mode in DEEP_MODES:
        raise UserError(f"{path}: a black and white mask of more than 8 bits (PIL mode {picture.mode!r}).")
    colours = np.asarray(picture.convert("RGB")).astype(np.int32)
    spread = int((colours.max(axis=2) - colours.min(axis=2)).max(initial=0))
    if spread > GREY_TOLERANCE:
        raise UserError(f"{path}: a mask with colours; expected black for the ground and white for the object.")
    return (colours[:, :, 0] >= threshold).astype(np.uint8)
