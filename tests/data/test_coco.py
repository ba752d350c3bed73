"""COCO annotation files as labels; what they decode to is tested with the data sets that have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zsbench.data import Annotations, LabelMap
from zsbench.errors import UserError


def image(number: int, name: str) -> dict[str, object]:
    return {"id": number, "file_name": name, "height": 4, "width": 4}


def opened(home: Path, *images: dict[str, object], encoding: str = "utf-8") -> list[str]:
    (home / "a.json").write_text(json.dumps({"images": images, "annotations": []}), encoding=encoding)
    source = Annotations(labels=LabelMap({0: 0}), image="images/{id}.jpg", files=("a.json",))
    return list(source.open(home).ids())


@pytest.mark.parametrize("other", ["day/x.jpg", "x.png"])
def test_images_of_one_name_are_refused(tmp_path: Path, other: str) -> None:
    """Their regions would be painted into one image."""
    with pytest.raises(UserError, match=r"a\.json: 2 images are called x, apart from folder and extension"):
        opened(tmp_path, image(1, "x.jpg"), image(2, other))


def test_a_mark_before_the_text_does_no_harm(tmp_path: Path) -> None:
    assert opened(tmp_path, image(1, "x.jpg"), encoding="utf-8-sig") == ["x"]


def test_an_image_id_given_twice_loses_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json.*two of its images have the same id"):
        opened(tmp_path, image(1, "x.jpg"), image(1, "y.jpg"))
    with pytest.raises(UserError, match=r"a\.json: an image has no file name"):
        opened(tmp_path, image(1, ""))


def test_an_image_is_found_by_its_extension_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/x.JPG").touch()
    opened(tmp_path, image(1, "x.JPG"))
    source = Annotations(labels=LabelMap({0: 0}), image="images/{id}.jpg", files=("a.json",))
    assert source.open(tmp_path).pair("x").image == tmp_path / "images/x.JPG"
