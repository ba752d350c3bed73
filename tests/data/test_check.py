"""`zsbench data check` finds what goes wrong with labels, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from zsbench import registry
from zsbench.cli.data import app
from zsbench.data import FolderDataset
from zsbench.data.card import load_card
from zsbench.data.check import SplitReport, check
from zsbench.errors import UserError
from zsbench.utils.colours import voc_palette


def load(name: str, root: Path) -> FolderDataset:
    dataset = registry.load_dataset_class(name)(root)
    assert isinstance(dataset, FolderDataset)
    return dataset


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """60 images that show classes about as often as VOC's val does."""
    home = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    reference = load("voc21", home).references["val"]
    shares = np.array([reference.images[name] for name in load("pascal-voc", home).classes]) / reference.total
    rng = np.random.default_rng(3)
    ids = [f"x{i:02d}" for i in range(60)]
    for number, name in enumerate(ids):
        shown = np.flatnonzero((number + rng.random(20)) % (1 / shares) < 1) + 1
        mask = np.zeros((20, 24), np.uint8)
        for column, value in enumerate(shown):
            mask[:10, column] = value
        mask[10] = 255
        save_mask(home, name, mask)
        Image.new("RGB", (24, 20), (number, 0, 0)).save(home / f"JPEGImages/{name}.jpg")
    (home / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids))
    return home


def save_mask(home: Path, name: str, mask: NDArray[np.uint8]) -> None:
    picture = Image.fromarray(mask)
    picture.putpalette([channel for colour in voc_palette(256) for channel in colour])
    picture.save(home / f"SegmentationClass/{name}.png")


def masks(home: Path) -> list[Path]:
    return sorted((home / "SegmentationClass").iterdir())


def report(home: Path, name: str = "voc21", **options: Any) -> SplitReport:
    (found,) = check(load(name, home), ["val"], **options)
    return found


def test_nothing_wrong(voc: Path) -> None:
    found = report(voc, partial=True)
    assert found.ok and not found.warnings and found.checked == 60
    assert "compared with VOC 2012's annotations for 20 of 21 classes" in found.statistics
    assert "29 images say nothing" in report(voc, partial=True, sample=29).statistics
    assert report(voc, partial=True, workers=2).labels_sha256 == found.labels_sha256


def test_missing_images_are_a_problem_unless_they_are_known_to_be(voc: Path) -> None:
    assert "60 images, where the full split has 1,449" in report(voc).problems[0]


@pytest.mark.parametrize("name", ["voc21", "pascal-voc"])
@pytest.mark.parametrize("reduced", [1, 2])
def test_an_offset_is_found(voc: Path, name: str, reduced: int) -> None:
    """reduce_zero_label applied to the files: every value is still legal, every class is its neighbour."""
    for path in masks(voc):
        mask = np.asarray(Image.open(path))
        for _ in range(reduced):
            mask = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
            mask[mask == 254] = 255
        save_mask(voc, path.stem, mask)
    found = report(voc, name, partial=True)
    said = [*found.problems, *found.warnings]
    if reduced == 1:
        assert any("shifted by -1" in line for line in said), said
    else:
        assert any("expected" in line for line in said), said


def test_palette_turned_to_colours_or_greys(voc: Path) -> None:
    for mode, text in (("RGB", "has colours"), ("L", "greys of the palette")):
        first = masks(voc)[3]
        original = first.read_bytes()
        mask = np.zeros((20, 24), np.uint8)
        mask[:, :12] = 15
        save_mask(voc, first.stem, mask)
        Image.open(first).convert(mode).save(first)
        found = report(voc, partial=True)
        assert len(found.problems) == 1 and first.name in found.problems[0] and text in found.problems[0]
        first.write_bytes(original)


def test_truncated_missing_and_lossy_files(voc: Path) -> None:
    first, second, third, fourth = masks(voc)[:4]
    first.write_bytes(first.read_bytes()[:80])
    second.unlink()
    Image.open(third).convert("L").save(third, format="JPEG")
    photo = voc / f"JPEGImages/{fourth.stem}.jpg"
    photo.write_bytes(photo.read_bytes()[:200])
    found = report(voc, partial=True)
    joined = "\n".join(found.problems)
    for path, text in ((first, "cut short"), (second, "mask is missing"), (third, "JPEG"), (photo, "damaged")):
        assert path.name in joined and text in joined
    assert found.checked == 59


def test_many_problems_are_counted_not_listed(voc: Path) -> None:
    for path in masks(voc)[:20]:
        path.unlink()
    found = report(voc, partial=True)
    assert len(found.problems) == 6 and "15 more" in found.problems[-1]


def test_exif_orientation_is_pointed_out(voc: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    path = voc / "JPEGImages/x00.jpg"
    Image.open(path).save(path, exif=exif)
    found = report(voc, partial=True)
    assert found.ok and "x00.jpg: EXIF orientation 3" in found.warnings[0]


def test_coco_maps_in_each_others_place(tmp_path: Path) -> None:
    (tmp_path / "images/val2017").mkdir(parents=True)
    (tmp_path / "annotations/val2017").mkdir(parents=True)
    name = "000000000001"
    Image.new("RGB", (5, 4)).save(tmp_path / f"images/val2017/{name}.jpg")
    prepared = tmp_path / f"annotations/val2017/{name}_labelTrainIds.png"
    for value, suffix, text in (
        (181, "_labelTrainIds", "raw pixel map (182 values)"),
        (11, "", "prepared labels (0..170)"),
    ):
        prepared.unlink(missing_ok=True)
        Image.new("L", (5, 4), value).save(tmp_path / f"annotations/val2017/{name}{suffix}.png")
        (found,) = check(load("coco-stuff", tmp_path), partial=True)
        assert len(found.problems) == 1 and text in found.problems[0]


def test_absent_splits(voc: Path) -> None:
    assert [each.split for each in check(load("voc21", voc), partial=True)] == ["val"]
    with pytest.raises(UserError, match=r"lacks .*train\.txt"):
        check(load("voc21", voc), ["train"])


runner = CliRunner()


def test_command_check(voc: Path) -> None:
    done = runner.invoke(app, ["check", "voc21", "--root", str(voc), "--partial", "--workers", "0", "--json"])
    (found,) = json.loads(done.stdout)
    assert done.exit_code == 0 and found["ok"] and found["images"] == 60
    done = runner.invoke(app, ["check", "voc21", "--root", str(voc), "--workers", "0"])
    assert done.exit_code == 1 and "--partial" in done.stdout


def test_command_info_and_show(voc: Path, tmp_path: Path) -> None:
    done = runner.invoke(app, ["info", "ade-full"])
    assert done.exit_code == 0 and "275 of them unseen" in done.stdout and "16-bit" in done.stdout
    facts = json.loads(runner.invoke(app, ["info", "voc21", "--json"]).stdout)
    assert facts["splits"]["train"] == [10_582, 1_464] and facts["name_sets"]["sclip"]["source"]
    picture = tmp_path / "picture.png"
    for which in ("2", "x02"):
        done = runner.invoke(app, ["show", "voc21", "--root", str(voc), "--index", which, "--out", str(picture)])
        assert done.exit_code == 0 and "x02: 24x20" in done.stdout
        assert Image.open(picture).width > 24
        picture.unlink()
    done = runner.invoke(app, ["show", "voc21", "--root", str(voc), "--index", "99"])
    assert isinstance(done.exception, UserError) and "0..59" in str(done.exception)


def test_command_prepare_says_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    done = runner.invoke(app, ["prepare", "cityscapes", "--root", str(tmp_path)])
    assert done.exit_code == 0 and "nothing to prepare" in done.stdout
    done = runner.invoke(app, ["check", "miniworld"])
    assert isinstance(done.exception, UserError) and "not read from folders" in str(done.exception)


CARD = """\
name = "leaves"
classes = ["sky", "leaf"]
root = "."
[splits.val]
images = "images/{id}.*"
masks = "masks/{id}.png"
"""


def leaves(root: Path, name: str, *values: int) -> FolderDataset:
    """A card's dataset with one mask of these values."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    Image.new("RGB", (len(values), 4)).save(root / f"images/{name}.jpg")
    Image.fromarray(np.tile(np.array(values, np.uint8), (4, 1))).save(root / f"masks/{name}.png")
    (root / "leaves.toml").write_text(CARD)
    return load_card(root / "leaves.toml")()


def test_a_class_that_never_occurs_is_named(tmp_path: Path) -> None:
    """Masks of 0 and 255: by default 255 is ignored, and the object would never be scored."""
    (found,) = check(leaves(tmp_path, "a", 0, 255))
    assert found.ok
    assert (
        "no pixel of leaf in the checked images. Are the masks black and white? Then a card needs `threshold`"
        in (found.warnings[0])
    )


def test_names_of_no_encoding_are_checked_like_others(tmp_path: Path) -> None:
    (found,) = check(leaves(tmp_path, os.fsdecode(b"Caf\xe9"), 0, 1))
    assert found.ok and found.checked == 1 and len(found.labels_sha256) == 64
