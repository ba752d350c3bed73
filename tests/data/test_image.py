"""Images as they are stored; anything else is an error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from zsbench.data import read_binary, read_image, read_mask
from zsbench.errors import UserError

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


@quick
@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"GIF89a", b"BM"]),
)
def test_random_bytes_are_an_error_naming_the_file(tmp_path: Path, head: bytes, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(head + content)
    for read in (read_image, read_mask, read_binary):
        try:
            assert read(path).size > 0, "a few bytes may happen to be an image"
        except UserError as error:
            assert "broken.png" in str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_jpegs_are_an_error(tmp_path: Path, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / "photo.jpg")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"photo\.jpg"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    image = read_image(save(Image.new(mode, (5, 3)), tmp_path / "image.tif"))
    assert image.shape == (3, 5, 3) and image.dtype == np.uint8


@pytest.mark.parametrize(
    "head", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xc5\xd0\xd3\xc6", b"%PDF-1.4\n", b"<svg>"]
)
def test_what_another_program_would_have_to_open_is_no_image(tmp_path: Path, head: bytes) -> None:
    """PIL would start Ghostscript for the first."""
    (tmp_path / "photo.jpg").write_bytes(head + bytes(64))
    with pytest.raises(UserError, match=r"photo\.jpg: no image in a known format"):
        read_image(tmp_path / "photo.jpg")


def test_deep_images_are_refused(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.full((3, 4), 300, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png.*more than 8 bits"):
        read_image(path)


def test_a_tiff_without_strips_for_all_pixels_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(np.ones((12, 10), np.uint8)).save(path)
    assert read_image(path).shape == (12, 10, 3)
    content = path.read_bytes()
    height = content.index(b"\x01\x01\x04\x00\x01\x00\x00\x00\x0c") + 8
    path.write_bytes(content[:height] + (500_000).to_bytes(4, "little") + content[height + 4 :])
    with pytest.raises(UserError, match=r"x\.tif: .*strips do not make up its 10x500000 pixels"):
        read_image(path)
