"""Readers: exact values in, exact values out; anything else is an error that names the file."""

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

from zsbench.data import Files, FolderDataset, LabelMap, Masks, read_binary, read_image, read_mask
from zsbench.data.label_map import UNKNOWN, voc_palette
from zsbench.dataset import IGNORE
from zsbench.errors import UserError

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
bytes_masks = arrays(np.uint8, shapes)
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
@given(values=bytes_masks, mode=st.sampled_from(["L", "P"]), form=st.sampled_from(["png", "tif", "bmp"]))
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


def test_deep_images_are_refused(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.full((3, 4), 300, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png.*more than 8 bits"):
        read_image(path)


def test_binary_masks_may_be_grey_jpegs_but_not_coloured(tmp_path: Path) -> None:
    drawn = np.zeros((32, 32, 3), np.uint8)
    drawn[8:24, 8:24] = 255
    found = read_binary(save(Image.fromarray(drawn), tmp_path / "mask.jpg"))
    assert np.array_equal(found, (drawn[..., 0] == 255).astype(np.uint8))
    drawn[..., 0] = 0
    with pytest.raises(UserError, match="colours"):
        read_binary(save(Image.fromarray(drawn), tmp_path / "colour.png"))


raw_values = st.integers(0, 70)


@quick
@given(values=st.dictionaries(raw_values, st.integers(-1, 20), min_size=1), data=st.data())
def test_label_map_is_a_dictionary(values: dict[int, int], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
    raw = data.draw(arrays(kind, shapes, elements=st.integers(-3 if kind == np.int32 else 0, 80)))
    expected = [[values.get(int(value), UNKNOWN) for value in row] for row in raw]
    assert LabelMap(values)(raw).tolist() == expected
    lenient = [[values.get(int(value), IGNORE) for value in row] for row in raw]
    assert LabelMap(values, otherwise=IGNORE)(raw).tolist() == lenient


VOC = LabelMap.consecutive(20, first=1, ignored=(0, 255))


def test_unknown_values_are_explained() -> None:
    palette = voc_palette(21)
    greys = np.asarray(Image.fromarray(np.array([palette[:21]], np.uint8)).convert("L"))
    for raw, text in (
        ([[0, 3, 21]], "21 is none of the expected 0..20, 255. Every label is one more"),
        ([[0, 255, 30]], "30 is none"),
        (greys, "greys of the palette"),
    ):
        assert text in VOC.explain(np.array(raw), palette)
    assert "binary mask" in LabelMap.consecutive(2, ignored=()).explain(np.array([[0, 255]]))


class Tiny(FolderDataset):
    """Three classes in a folder."""

    name = "tiny"
    classes = ("a", "b", "c")
    palette = voc_palette(3, first=1)
    expects = ("images", "masks")
    where = "make it yourself"
    splits = {
        "val": (
            Masks(
                files=(Files("images/{id}.jpg", "masks/{id}.png", "val.txt"),), labels=LabelMap.consecutive(3), count=2
            ),
            Masks(files=(Files("images/{id}.*", "masks/{id}.png"),), labels=LabelMap.consecutive(3), note="no list"),
        )
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", (8, 6), 2).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "val.txt").write_text("two\none extra\n\n")
    return Tiny(tmp_path)


def test_folder_reads_pairs_in_the_order_of_the_list(tiny: Tiny) -> None:
    assert list(tiny.ids("val")) == ["two", "one"]
    sample = tiny.read("val", "one")
    assert sample.image.shape == (6, 8, 3)
    assert sample.label.dtype == np.int32 and (sample.label == 2).all()
    tiny.verify("val", tiny.ids("val"))
    assert tiny.note("val") == ""


def test_folder_without_list_takes_the_next_source(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "val.txt").unlink()
    assert (list(tiny.ids("val")), tiny.note("val")) == (["one", "two"], "no list")
    assert tiny.read("val", "two").label.max() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "images/one.jpg").unlink(), r"images/one\.jpg: no such image"),
        (
            lambda root: (root / "masks/one.png").unlink(),
            r"images/one\.jpg: its mask is missing: expected .*masks/one\.png",
        ),
        (
            lambda root: Image.new("L", (8, 7), 2).save(root / "masks/one.png"),
            r"mask is 8x7 pixels .* is 8x6\. They must",
        ),
        (lambda root: Image.new("L", (8, 6), 9).save(root / "masks/one.png"), r"masks/one\.png: label value 9 is none"),
        (lambda root: Image.new("RGB", (8, 6)).save(root / "masks/one.png"), r"masks/one\.png.*has colours"),
        (lambda root: (root / "images/one.jpg").write_bytes(b""), r"images/one\.jpg"),
    ],
)
def test_faults_name_the_file(tiny: Tiny, change: Any, message: str) -> None:
    change(tiny.root)
    with pytest.raises(UserError, match=message):
        tiny.read("val", "one")
    assert tiny.read("val", "two").id == "two"


def test_missing_files_are_found_before_anything_starts(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "masks/one.png").unlink()
    with pytest.raises(UserError, match="mask is missing"):
        tiny.verify("val", tiny.ids("val"))
    tiny.verify("val", tiny.ids("val")[:1])


def test_exif_rotation_is_named_as_the_reason(tiny: Tiny) -> None:
    assert tiny.root is not None
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tiny.root / "images/one.jpg", exif=exif)
    assert tiny.read("val", "one").image.shape == (6, 8, 3), "images are never turned"
    Image.new("L", (6, 8), 2).save(tiny.root / "masks/one.png")
    with pytest.raises(UserError, match="EXIF orientation"):
        tiny.read("val", "one")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a\\b"])
def test_ids_cannot_lead_out_of_the_root(tiny: Tiny, name: str) -> None:
    assert tiny.root is not None
    (tiny.root / "val.txt").write_text(f"{name}\n")
    with pytest.raises(UserError, match="leads out of the data root"):
        tiny.ids("val")


def test_roots(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(UserError, match="--data-root"):
        Tiny(None).ids("val")
    with pytest.raises(UserError, match="does not exist"):
        Tiny(tmp_path / "no").ids("val")
    with pytest.raises(UserError, match=r"expected images, masks; found one\.jpg, two\.jpg"):
        Tiny(tmp_path / "images").ids("val")
    with pytest.raises(UserError, match=r"no split 'vall'.*Did you mean 'val'"):
        tiny.ids("vall")
    with pytest.raises(UserError, match="no image 'three'"):
        tiny.read("val", "three")


def test_absent_sources_are_listed(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "val.txt").unlink()
    for mask in (tiny.root / "masks").iterdir():
        mask.unlink()
    with pytest.raises(UserError, match=r"val\.txt \(or\)"):
        tiny.ids("val")
