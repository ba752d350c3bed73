"""Images as they are stored: decoded whole, RGB, never turned by EXIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from zsbench.errors import UserError

EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""Values of the EXIF orientation that swap height and width."""

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""PIL's modes with more than 8 bits per channel: `convert("RGB")` would clip them silently."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of an image file; grey, palette and CMYK images become RGB, alpha is dropped.

    Raises `UserError` naming the file when it is missing, no image, truncated, too large, deeper than 8 bits.
    """
    with open_picture(path, "image") as picture:
        if picture.mode in DEEP_MODES:
            raise UserError(
                f"{path}: an image of PIL mode {picture.mode!r} has more than 8 bits per channel; expected 8."
            )
        return np.array(picture.convert("RGB"))


def open_picture(path: Path, what: str) -> Image.Image:
    """The decoded PIL image of a file; `what` (`image`, `mask`) names it in the errors."""
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: expected a {what}, found a folder.") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image file in a known format ({path.stat().st_size} bytes).") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: refused as too large to be a {what}: {error}") from None
    except PermissionError:
        raise UserError(f"{path}: permission to read it denied.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what PIL's decoders raise on broken files
        raise UserError(f"{path}: the {what} is damaged ({error}); fetch it again.") from None
    return picture


def turned_by_exif(path: Path) -> bool:
    """Whether viewers show the image with height and width swapped, because its EXIF orientation says so."""
    with Image.open(path) as picture:
        return picture.getexif().get(EXIF_ORIENTATION) in TURNED
