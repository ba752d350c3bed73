"""Masks as they are stored: raw integers, never colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.image import BIT_DEPTH, DEEP_MODES, open_picture
from zsbench.errors import UserError
from zsbench.utils.colours import voc_palette

RGB = tuple[int, int, int]
Raw = NDArray[np.integer[Any]]
"""(H, W) label values as annotated, in the integer type of the file."""

INDEX_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I;16N", "I")
"""PIL's modes in which a pixel is one integer."""

EXACT_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
"""Formats whose values PIL hands over as stored. PGM is not among them: its values are stretched to 255."""

TIFF_BITS = 258

VOC_COLOURS = {colour: value for value, colour in enumerate(voc_palette(256))}
"""Most tools draw label maps in these."""
GREYS = {(value, value, value): value for value in range(1, 255)}

GREY_TOLERANCE = 8
"""How far the channels of a black and white JPEG may differ (chroma is compressed too)."""


def read_mask(path: Path, meant: Mapping[RGB, int] = MappingProxyType({})) -> Raw:
    """(H, W) values stored in a mask file: palette indices stay indices, 16 bits stay 16 bits.

    `meant`: the value that a colour stands for, in files with a palette. Raises `UserError` naming the file when it is
    missing, damaged, compressed with loss, has colours instead of values, or a palette in another order than its values.
    """
    picture = open_mask(path)
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
    if picture.mode == "P":
        check_palette(path, picture, values, meant)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    factor = stretched(picture) if picture.mode == "L" else 1
    return values if factor == 1 else values // factor


def open_mask(path: Path) -> Image.Image:
    """The picture in a mask file. Raises `UserError` as `open_picture` does, and where there are several."""
    picture = open_picture(path, "mask")
    try:
        count = getattr(picture, "n_frames", 1)
    except Exception as error:  # a first picture that is whole, and more that are not
        raise UserError(f"{path}: the mask is damaged or cut short ({error}); fetch it again.") from None
    if count > 1:
        raise UserError(f"{path}: {count} pictures in one file; expected one mask for each image.")
    if picture.mode.startswith("RGB") and picture.info.get(BIT_DEPTH) == 16:
        raise UserError(
            f"{path}: a mask of three channels with 16 bits each, of which half would be lost: save one channel."
        )
    if picture.mode in ("LA", "RGBA"):
        low, high = picture.getchannel("A").getextrema()
        if low != high:
            raise UserError(
                f"{path}: a mask that is transparent in some pixels; what its values or colours mean there nobody says. "
                "Save it without an alpha channel."
            )
    return picture


def check_palette(path: Path, picture: Image.Image, values: Raw, meant: Mapping[RGB, int]) -> None:
    """Raise `UserError` where a tool has packed the palette anew, so that indices no longer are values.

    Such a palette has no more colours than it needs, and draws an index in the colour that is `meant` for another value,
    or, where nothing is meant by any, all of them in colours of PASCAL VOC or in greys, out of order or with gaps.
    """
    palette = [tuple(colour) for colour in np.array(picture.getpalette("RGB")).reshape(-1, 3).tolist()]
    used = [value for value in np.flatnonzero(np.bincount(values.ravel())).tolist() if value < len(palette)]
    if len(palette) > 2 * len(used):  # at most filled up to a power of two
        return
    drawn = {value: meant[palette[value]] for value in used if palette[value] in meant}
    for usual in () if drawn else (VOC_COLOURS, GREYS):
        places = [usual.get(palette[value], -1) for value in used]
        steps = {place - value for value, place in zip(used, places, strict=True)}  # counted from any number: one
        if min(places, default=-1) >= 0 and (places != sorted(places) or (len(used) > 2 and len(steps) > 1)):
            drawn = dict(zip(used, places, strict=True))
    wrong = next((value for value, place in drawn.items() if place != value), None)
    if wrong is not None:
        raise UserError(
            f"{path}: its palette is in another order than its values: {wrong} is drawn in the colour of {drawn[wrong]}. A "
            "tool (a PNG optimiser, or one that writes GIF) has packed it anew: save the original annotation as PNG, or the "
            "values in grey if they are right."
        )


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

    For masks of one object that are drawn in black and white; those may be JPEGs, grey or grey as RGB. An exact file of
    zeros and ones means these. Raises `UserError` naming the file when it is missing or damaged, when it has colours or
    more than 8 bits, or when it is not black and yet nothing in it reaches the threshold.
    """
    picture = open_mask(path)
    if picture.mode in DEEP_MODES:
        raise UserError(f"{path}: a black and white mask of more than 8 bits (PIL mode {picture.mode!r}).")
    colours = np.asarray(picture.convert("RGB")).astype(np.int32)
    spread = int((colours.max(axis=2) - colours.min(axis=2)).max(initial=0))
    if spread > GREY_TOLERANCE:
        raise UserError(f"{path}: a mask with colours; expected black for the ground and white for the object.")
    brightest, exact = int(colours.max(initial=0)), picture.format in EXACT_FORMATS
    if exact and brightest == 1:
        return colours[:, :, 0].astype(np.uint8)
    if (0 if exact else GREY_TOLERANCE) < brightest < threshold:
        raise UserError(
            f"{path}: its brightest grey is {brightest}, where the object is drawn in {threshold} or more: none of it would "
            "be found. Is it a mask of class values? A card says so by `values`, without a threshold."
        )
    return (colours[:, :, 0] >= threshold).astype(np.uint8)
