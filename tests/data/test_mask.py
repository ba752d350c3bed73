"""Masks: exact values in, exact values out; anything else is an error that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from zsbench.data import read_binary, read_mask
from zsbench.errors import UserError
from zsbench.utils.colours import voc_palette

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def png(values: NDArray[np.uint8], bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, written byte by byte: PIL writes none."""
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in values]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@quick
@given(values=arrays(np.uint8, shapes), mode=st.sampled_from(["L", "P"]), form=st.sampled_from(["png", "tif", "bmp"]))
def test_masks_of_8_bits_are_read_as_stored(tmp_path: Path, values: NDArray[np.uint8], mode: str, form: str) -> None:
    picture = Image.fromarray(values)
    if mode == "P":
        picture = Image.frombytes("P", picture.size, values.tobytes())
        picture.putpalette([channel for colour in voc_palette(256) for channel in colour])
    assert np.array_equal(read_mask(save(picture, tmp_path / f"mask.{form}")), values)


@quick
@given(values=arrays(np.uint16, shapes), form=st.sampled_from(["png", "tif"]))
def test_masks_of_16_bits_are_read_as_stored(tmp_path: Path, values: NDArray[np.uint16], form: str) -> None:
    assert np.array_equal(read_mask(save(Image.fromarray(values), tmp_path / f"mask.{form}")), values)


@quick
@given(bits=st.sampled_from([1, 2, 4]), data=st.data())
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int, data: st.DataObject) -> None:
    """PIL turns the value 3 of a 2-bit PNG into 255; a label must stay 3."""
    values = data.draw(arrays(np.uint8, shapes, elements=st.integers(0, 2**bits - 1)))
    path = tmp_path / "mask.png"
    path.write_bytes(png(values, bits))
    assert np.array_equal(read_mask(path), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "F"])
def test_masks_with_colours_are_refused(tmp_path: Path, mode: str) -> None:
    path = save(Image.new(mode, (4, 3)), tmp_path / "mask.tif")
    with pytest.raises(UserError, match=r"mask\.tif.*has colours"):
        read_mask(path)


@pytest.mark.parametrize("form", ["jpg", "webp", "pgm"])
def test_masks_that_lose_values_are_refused(tmp_path: Path, form: str) -> None:
    path = save(Image.new("L", (4, 3)), tmp_path / f"mask.{form}")
    with pytest.raises(UserError, match=rf"mask\.{form}.*exact values"):
        read_mask(path)


@quick
@given(cut=st.floats(0, 1), flip=st.integers(0, 255), place=st.floats(0, 1))
def test_a_damaged_png_is_never_a_wrong_mask(tmp_path: Path, cut: float, flip: int, place: float) -> None:
    values = np.arange(30 * 40, dtype=np.uint8).reshape(30, 40)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "png")
    content = bytearray(stream.getvalue()[: int(cut * len(stream.getvalue()))] if cut < 0.9 else stream.getvalue())
    if content:
        content[int(place * (len(content) - 1))] ^= flip
    path = tmp_path / "mask.png"
    path.write_bytes(bytes(content))
    try:
        found = read_mask(path)
    except UserError as error:
        assert "mask.png" in str(error)
    else:
        assert np.array_equal(found, values)


def test_binary_masks_may_be_grey_jpegs_but_not_coloured(tmp_path: Path) -> None:
    drawn = np.zeros((32, 32, 3), np.uint8)
    drawn[8:24, 8:24] = 255
    found = read_binary(save(Image.fromarray(drawn), tmp_path / "mask.jpg"))
    assert np.array_equal(found, (drawn[..., 0] == 255).astype(np.uint8))
    drawn[..., 0] = 0
    with pytest.raises(UserError, match="colours"):
        read_binary(save(Image.fromarray(drawn), tmp_path / "colour.png"))


GREYS = {(value, value, value): value for value in range(1, 255)}
VOC = {colour: value for value, colour in enumerate(voc_palette(21))}


def indexed(path: Path, indices: list[int], palette: list[tuple[int, int, int]]) -> Path:
    picture = Image.fromarray(np.array([indices], np.uint8))
    picture.putpalette([channel for colour in palette for channel in colour])
    return save(picture, path)


@pytest.mark.parametrize("values", [(0, 2), (2, 0, 11), (1, 0)])
def test_a_gif_of_greys_is_refused_or_right(tmp_path: Path, values: tuple[int, ...]) -> None:
    """PIL packs the palette: the value 2 becomes the index 1."""
    path = save(Image.fromarray(np.array([values], np.uint8)), tmp_path / "mask.gif")
    try:
        assert read_mask(path, GREYS)[0].tolist() == list(values)
    except UserError as error:
        assert "mask.gif: its palette is in another order" in str(error)


@pytest.mark.parametrize(
    ("indices", "palette", "meant"),
    [
        ([0, 1, 2], [(0, 0, 0), (11, 11, 11), (2, 2, 2)], GREYS),
        ([1, 0], [(1, 1, 1), (0, 0, 0)], GREYS),
        ([0, 1, 2], [(0, 0, 0), voc_palette(21)[11], voc_palette(21)[2]], VOC),
        ([1, 0, 2], [voc_palette(21)[2], voc_palette(21)[1], (0, 0, 0)], {}),
        ([0, 1, 2], [voc_palette(21)[value] for value in (0, 5, 15)], {}),
        ([0, 1], [(9, 9, 9), (3, 3, 3)], {}),
    ],
    ids=["greys", "greys in reverse", "VOC", "VOC by frequency", "VOC with gaps", "greys by frequency"],
)
def test_a_palette_packed_anew_is_refused(
    tmp_path: Path, indices: list[int], palette: list[tuple[int, int, int]], meant: dict[Any, int]
) -> None:
    with pytest.raises(UserError, match=r"mask\.png: its palette is in another order than its values: \d+ is drawn"):
        read_mask(indexed(tmp_path / "mask.png", indices, palette), meant)


@pytest.mark.parametrize(
    "palette",
    [
        [(0, 0, 0), (255, 255, 255)],
        [(9, 9, 9), (200, 0, 0)],
        [(0, 0, 0), voc_palette(21)[1]],
        [*voc_palette(256)],
        [(0, 0, 0), *[(2, 2, 2)] * 200],
    ],
    ids=["black and white", "of its own", "VOC's", "VOC's whole", "with spare colours"],
)
def test_a_palette_that_says_nothing_else_leaves_indices(tmp_path: Path, palette: list[tuple[int, int, int]]) -> None:
    path = indexed(tmp_path / "mask.png", [0, 1, 1], palette)
    assert read_mask(path, {(2, 2, 2): 2} | VOC)[0].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "palette",
    [voc_palette(3), voc_palette(3, first=1), [(0, 0, 0), (0, 128, 0)], [(128, 0, 0), (10, 10, 10), (0, 0, 0)]],
    ids=["VOC's", "VOC's without the background", "two of VOC's", "not all of VOC's"],
)
def test_usual_colours_in_their_order_leave_indices(tmp_path: Path, palette: list[tuple[int, int, int]]) -> None:
    indices = list(range(len(palette)))
    assert read_mask(indexed(tmp_path / "mask.png", indices, palette))[0].tolist() == indices


def test_transparent_pixels_and_halves_of_values_are_refused(tmp_path: Path) -> None:
    see_through = np.zeros((2, 2, 4), np.uint8)
    see_through[0, :, 3] = 255
    with pytest.raises(UserError, match=r"mask\.png: a mask that is transparent in some pixels"):
        read_binary(save(Image.fromarray(see_through), tmp_path / "mask.png"))
    deep = np.zeros((2, 1 + 2 * 6), np.uint8)  # two lines of two pixels: a filter, then three channels of two bytes
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(deep.tobytes())), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(UserError, match=r"deep\.png: a mask of three channels with 16 bits each"):
        read_binary(tmp_path / "deep.png")


def test_zeros_and_ones_are_a_binary_mask_too(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.array([[0, 1, 1]], np.uint8)), tmp_path / "mask.png")
    assert read_binary(path).tolist() == [[0, 1, 1]]
    assert read_binary(save(Image.new("L", (3, 2)), tmp_path / "black.png")).max() == 0
    assert read_binary(save(Image.new("L", (8, 8), 1), tmp_path / "noise.jpg")).max() == 0


@pytest.mark.parametrize(("grey", "form"), [(2, "png"), (100, "png"), (100, "jpg")])
def test_a_drawing_too_dark_for_the_threshold_is_refused(tmp_path: Path, grey: int, form: str) -> None:
    path = save(Image.new("L", (16, 16), grey), tmp_path / f"mask.{form}")
    with pytest.raises(UserError, match=rf"mask\.{form}: its brightest grey is {grey}.*127 or more"):
        read_binary(path)


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG"])
def test_several_pictures_in_one_file_are_no_mask(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mask"
    pages = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 1)]
    pages[0].save(path, form, save_all=True, append_images=pages[1:])
    for read in (read_mask, read_binary):
        with pytest.raises(UserError, match="2 pictures in one file; expected one"):
            read(path)
