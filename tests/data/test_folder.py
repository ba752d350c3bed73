"""Datasets that are folders: pairs by id, and one clear message for whatever is not as described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zsbench.data import Files, FolderDataset, LabelMap, Masks
from zsbench.errors import UserError
from zsbench.utils.colours import voc_palette


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


def test_masks_of_another_kind_are_named_where_none_fits(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "val.txt").unlink()
    for name in ("one", "two"):
        (tiny.root / f"masks/{name}.png").rename(tiny.root / f"masks/{name}.npy")
    with pytest.raises(
        UserError, match=r"lacks val\.txt \(or\) masks like masks/\{id\}\.png \(found one\.npy, two\.npy\)"
    ):
        tiny.ids("val")


def test_an_image_and_a_mask_in_other_case_are_found(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "masks/one.png").rename(tiny.root / "masks/one.PNG")
    (tiny.root / "images/one.jpg").rename(tiny.root / "images/one.JPG")
    assert (tiny.read("val", "one").label == 2).all()
    (tiny.root / "val.txt").unlink()
    assert (Tiny(tiny.root).read("val", "one").label == 2).all()


def test_two_files_of_one_id_are_refused(tiny: Tiny) -> None:
    assert tiny.root is not None
    (tiny.root / "val.txt").unlink()
    Image.new("RGB", (8, 6)).save(tiny.root / "images/one.png")
    with pytest.raises(UserError, match=r"one\.jpg and one\.png both go by the id 'one'"):
        tiny.read("val", "one")
    Image.new("L", (8, 6)).save(tiny.root / "masks/two.PNG", format="PNG")
    with pytest.raises(UserError, match=r"two\.PNG and .*two\.png: the id 'two' is given twice"):
        Tiny(tiny.root).ids("val")


def test_values_packed_into_a_palette_are_refused_by_the_masks_of_a_dataset(tiny: Tiny) -> None:
    """The third class, of value 2, as an optimiser stores it: index 0 of a palette with one grey."""
    assert tiny.root is not None
    packed = Image.new("P", (8, 6))
    packed.putpalette([2, 2, 2])
    packed.save(tiny.root / "masks/one.png")
    with pytest.raises(UserError, match=r"one\.png: its palette is in another order"):
        tiny.read("val", "one")
