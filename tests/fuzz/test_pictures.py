"""Images and masks of any kind, damaged: the pixels that are there, or what is wrong with the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fuzzing import from_bytes, fuzz
from PIL import Image

from zsbench.data.image import read_image, turned_by_exif
from zsbench.data.mask import read_binary, read_mask
from zsbench.data.predictions import read_map

pytestmark = pytest.mark.slow
VALUES = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10) % 5


def stored(picture: Image.Image, kind: str, **how) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


def pictures() -> list[bytes]:
    """Files of every format and mode that people have."""
    colours, grey = Image.fromarray(np.stack([VALUES * 40] * 3, 2)), Image.fromarray(VALUES)
    palette, exif = grey.convert("P"), Image.Exif()
    exif[0x0112] = 6
    found = [stored(colours, kind) for kind in ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "WEBP", "PPM")]
    found += [stored(each, kind) for each in (grey, palette) for kind in ("PNG", "TIFF", "BMP", "GIF")]
    found += [stored(colours, "JPEG", exif=exif), stored(colours.convert("CMYK"), "JPEG")]
    found += [stored(Image.fromarray(VALUES.astype(np.uint16)), kind) for kind in ("PNG", "TIFF")]
    found += [stored(Image.fromarray(VALUES.astype(np.float32)), "TIFF"), stored(grey.convert("1"), "PNG")]
    return [*found, stored(colours, "TIFF", compression="tiff_lzw"), stored(grey.convert("LA"), "PNG")]


def test_images(tmp_path: Path) -> None:
    path = tmp_path / "i.png"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        image = read_image(path)
        turned_by_exif(path)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3

    fuzz(from_bytes(pictures()), read)


@pytest.mark.parametrize("reader", [read_mask, read_binary])
def test_masks(tmp_path: Path, reader) -> None:
    path = tmp_path / "m.png"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        mask = reader(path)
        assert mask.ndim == 2 and mask.dtype.kind in "iu"

    fuzz(from_bytes(pictures()), read)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_label_maps(tmp_path: Path, suffix: str) -> None:
    path, seeds = tmp_path / f"m{suffix}", []
    for dtype in ("uint8", "int64", "float32", ">i4", "bool"):
        stream = io.BytesIO()
        if suffix == ".npy":
            np.save(stream, VALUES.astype(dtype))
        else:
            np.savez_compressed(stream, VALUES.astype(dtype))
        seeds.append(stream.getvalue())

    def read(content: bytes) -> None:
        path.write_bytes(content)
        assert read_map(path).ndim == 2

    fuzz(from_bytes(seeds), read)
