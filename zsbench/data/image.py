"""Images as they are stored: decoded whole, RGB, never turned by EXIF.

JPEGs are decoded at full size: decoding them at a half or a quarter, as PIL's `draft` can, is faster but gives other
pixels than decoding and resizing, and would move every score.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from zsbench.errors import UserError

EXIF_ORIENTATION = 0x0112
UPRIGHT = 1
TURNED = (5, 6, 7, 8)
"""Values of the EXIF orientation that swap height and width."""

FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""What PIL may try; some of its other formats run programs or are read in part only."""

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""PIL's modes with more than 8 bits per channel: `convert("RGB")` would clip them silently."""

BIT_DEPTH = "bit depth"
"""Key under which the info of a PNG has its bits per channel."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of an image file; grey, palette and CMYK images become RGB, alpha is dropped.

    Raises `UserError` naming the file when it is missing, no image, damaged, too large, or deeper than 8 bits.
    """
    picture = open_picture(path, "image")
    if picture.mode in DEEP_MODES:
        raise UserError(f"{path}: an image of PIL mode {picture.mode!r} has more than 8 bits per channel; expected 8.")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def open_picture(path: Path, what: str) -> Image.Image:
    """The decoded PIL image of a file; `what` (`image`, `mask`) names it in the errors."""
    content = read_bytes(path, what)
    try:
        Image.open(io.BytesIO(content), formats=FORMATS).verify()  # checksums, which loading passes over
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.format == "TIFF" and not is_covered(picture):
            raise ValueError(f"its strips do not make up its {picture.width}x{picture.height} pixels")
        picture.load()
    except UnidentifiedImageError:
        raise UserError(f"{path}: no {what} in a known format ({len(content)} bytes).") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: refused as too large for this {what}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # PIL's decoders raise anything at all on broken files
        raise UserError(f"{path}: the {what} is damaged or cut short ({error}); fetch it again.") from None
    if picture.format == "PNG":
        picture.info[BIT_DEPTH] = content[24]
    return picture


def is_covered(picture: Image.Image) -> bool:
    """Whether a TIFF has strips or tiles for all of its pixels: PIL would leave the others black, however many."""
    parts = [part[1] or (0, 0, *picture.size) for part in picture.tile]  # type: ignore[attr-defined]
    return (
        sum((right - left) * (lower - upper) for left, upper, right, lower in parts) >= picture.width * picture.height
    )


def read_bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}.") from None
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read ({error.strerror}).") from None


def exif_orientation(path: Path) -> int:
    """How viewers turn the image, which is read as it is stored: 1 for not at all, 2 to 8 otherwise."""
    found = UPRIGHT
    with suppress(Exception):  # of a damaged one nothing is known
        found = open_picture(path, "image").getexif().get(EXIF_ORIENTATION, UPRIGHT)
    return found if found in range(2, 9) else UPRIGHT


def turned_by_exif(path: Path) -> bool:
    """Whether viewers show the image with height and width swapped, because its EXIF orientation says so."""
    return exif_orientation(path) in TURNED
