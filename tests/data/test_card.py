"""Cards: a user's own folders, described by a TOML file, run like any dataset."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsbench.data.card import dataset_class, load_card
from zsbench.dataset import IGNORE
from zsbench.errors import UserError

CARD = """\
name = "my-leaves"
description = "Leaves and their damage."
classes = ["ground", "leaf", "damage"]
values = [0, 100, 200]
unseen = ["damage"]
root = "leaves"

[splits.val]
images = "photos/{id}.*"
masks = "masks/{id}.png"
count = 2

[names]
long = ["soil, ground", "green leaf", "damaged leaf; rust"]

[protocol]
short_side = 64
whole = true
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    for folder in ("photos", "masks"):
        (tmp_path / "leaves" / folder).mkdir(parents=True)
    for name, value, form in (("a", 100, "jpg"), ("b", 255, "png")):
        Image.new("RGB", (9, 7), (value, 0, 0)).save(tmp_path / f"leaves/photos/{name}.{form}")
        Image.new("L", (9, 7), value).save(tmp_path / f"leaves/masks/{name}.png")
    path = tmp_path / "leaves.toml"
    path.write_text(CARD)
    return path


def test_a_card_is_a_dataset(card: Path) -> None:
    dataset = dataset_class(str(card))(Path("not-needed"))
    dataset.validate()
    assert (dataset.name, dataset.unseen, list(dataset.ids("val"))) == ("my-leaves", ("damage",), ["a", "b"])
    assert (dataset.read("val", "a").label == 1).all()
    assert (dataset.read("val", "b").label == IGNORE).all()
    assert dataset.names("long").synonyms[2] == ("damaged leaf", "rust")
    assert (dataset.defaults.protocol.short_side, dataset.defaults.protocol.crop) == (64, None)


def test_a_mark_before_the_text_does_no_harm(card: Path) -> None:
    card.write_text("\ufeff" + CARD, encoding="utf-8")
    assert load_card(card).classes == ("ground", "leaf", "damage")


def test_a_card_reaches_worker_processes(card: Path) -> None:
    dataset = pickle.loads(pickle.dumps(load_card(card)(None)))
    assert (dataset.read("val", "a").label == 1).all()


def test_without_a_root_of_its_own_a_card_uses_the_data_root(card: Path) -> None:
    card.write_text(CARD.replace('root = "leaves"\n', ""))
    assert len(load_card(card)(card.parent / "leaves").ids("val")) == 2
    with pytest.raises(UserError, match="does not exist"):
        load_card(card)(Path("nowhere")).ids("val")


def test_black_and_white_masks_need_a_threshold(card: Path) -> None:
    two = (
        CARD.replace("values = [0, 100, 200]\n", "threshold = 127\n")
        .replace(', "damage"]', "]")
        .replace('"damage"', "")
    )
    card.write_text(two.replace(', "damaged leaf; rust"', ""))
    drawn = np.zeros((7, 9), np.uint8)
    drawn[2:5] = 255
    for name in "ab":
        Image.fromarray(drawn).save(card.parent / f"leaves/masks/{name}.png")
    assert np.array_equal(load_card(card)(None).read("val", "a").label, drawn // 255)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name = ", "nome = ", r"name: Field required(.|\n)*nome: Extra inputs"),
        ("values = [0, 100, 200]", "values = [0, 100]", "values must be 3 different numbers"),
        ("values = [0, 100, 200]", "values = [0, 100, 255]", "255 is both ignored and a class"),
        ("values = [0, 100, 200]", "threshold = 9", "two classes"),
        ("values = [0, 100, 200]", "values = [0, 100, 9223372036854775808]", "values.2: Input should be less than"),
        ("values = [0, 100, 200]", "ignored = [-1]", "ignored.0: Input should be greater than or equal to 0"),
        ("name = ", "palette = [[0, 0, 256]]\nname = ", "palette.0.2: Input should be less than"),
        ("photos/{id}.*", "photos/{id}" + 300 * "x", "at most 200 characters"),
        ("photos/{id}.*", "../photos/{id}.*", "must lie below the root"),
        ("photos/{id}.*", "photos/x.png", "hold {id} once"),
        ("whole = true", "short = 1", "short: Extra inputs"),
        ("[names]", "[names", "not a readable dataset card in TOML"),
    ],
)
def test_faulty_cards_name_the_entry(card: Path, old: str, new: str, message: str) -> None:
    card.write_text(CARD.replace(old, new))
    with pytest.raises(UserError, match=rf"leaves\.toml(.|\n)*{message}"):
        load_card(card)


@pytest.mark.parametrize("field", ["clip", "weights", "templates", "default_names", "list", "images", "masks"])
@pytest.mark.parametrize("absolute", [True, False])
def test_no_file_but_below_the_root_is_opened(card: Path, bait: Path, field: str, absolute: bool) -> None:
    """Nor are names taken for paths."""
    path = str(bait) if absolute else "../bait.py"
    split = field in ("list", "images", "masks")
    old, new = ("count = 2", f"count = 2\n{field} = '{path}{{id}}'") if split else ("root", f"{field} = '{path}'\nroot")
    if field == "list":
        new = new.replace("{id}", "")
    text = (
        CARD
        if field in ("list", "clip", "weights", "templates", "default_names")
        else re.sub(f"{field} = .*\n", "", CARD)
    )
    card.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"leaves\.toml.*({field}|must lie below the root)"):
        load_card(card)


def test_an_empty_list_is_an_error_and_not_all_images(card: Path) -> None:
    card.write_text(CARD.replace("count = 2", 'list = "./val.txt"'))
    listed = card.parent / "leaves/val.txt"
    listed.write_text("\n")
    with pytest.raises(UserError, match=r"val\.txt: the list is empty"):
        load_card(card)(None).ids("val")
    listed.write_text("b.png\n")
    assert list(load_card(card)(None).ids("val")) == ["b"]


def test_paths_may_begin_with_the_folder_itself(card: Path) -> None:
    card.write_text(CARD.replace("masks/{id}", "./masks//{id}").replace("photos/{id}", "./photos/{id}"))
    assert list(load_card(card)(None).ids("val")) == ["a", "b"]


@pytest.mark.parametrize("name", ["", "  "])
def test_every_class_has_a_name(card: Path, name: str) -> None:
    card.write_text(CARD.replace('"leaf"', f'"{name}"'))
    with pytest.raises(UserError, match="expected a tuple of names"):
        load_card(card)(None).validate()


def test_a_word_of_two_classes_is_refused(card: Path) -> None:
    card.write_text(CARD.replace("damaged leaf; rust", "damaged leaf; green leaf"))
    with pytest.raises(UserError, match=r"leaves\.toml, names\.long: 'green leaf' is given to two classes, 'leaf'"):
        load_card(card)


def test_missing_card() -> None:
    with pytest.raises(UserError, match=r"none\.toml: no such dataset card"):
        dataset_class("none.toml")


def test_a_python_file_is_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "own_squares.py"
    path.write_text(
        '"""One dataset."""\n'
        "from zsbench.data import Files, FolderDataset, LabelMap, Masks\n"
        "from zsbench.registry import register_dataset\n\n"
        '@register_dataset("own-squares")\n'
        "class Own(FolderDataset):\n"
        '    """Squares."""\n'
        '    classes = ("a", "b")\n'
        "    palette = ((0, 0, 0), (255, 0, 0))\n"
        "    splits = {'val': (Masks(files=(Files('{id}.jpg', '{id}.png'),), labels=LabelMap.consecutive(2)),)}\n"
    )
    assert dataset_class(str(path)).name == "own-squares"
    with pytest.raises(UserError, match="no such Python file"):
        dataset_class(str(tmp_path / "none.py"))
