"""Which files belong to which id, in folders as people have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.data.layout import Lookup, match_ids, read_ids
from zsbench.errors import UserError


def touch(home: Path, *names: str) -> Path:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    return home


def test_any_extension_is_that_of_a_picture(tmp_path: Path) -> None:
    """Not that of what lies beside it: labelme's JSON, GDAL's sidecars, another id with a dot in it."""
    touch(tmp_path, "a.1.jpg", "a.jpg", "a.json", "a.png.aux.xml", "ab.png", "a.txt", "a-1.png")
    lookup = Lookup(tmp_path)
    assert lookup.one("{id}.*", "a") == tmp_path / "a.jpg"
    assert lookup.one("{id}.*", "a.1") == tmp_path / "a.1.jpg"
    assert lookup.one("{id}.*", "b") == tmp_path / "b.*"
    assert set(match_ids(tmp_path, "{id}.*")) == {"a.1", "a", "ab", "a-1"}


def test_extensions_are_told_in_any_case_and_ids_in_theirs(tmp_path: Path) -> None:
    touch(tmp_path, "masks/1.PNG", "masks/2.png", "masks/B.Png")
    lookup = Lookup(tmp_path)
    assert sorted(match_ids(tmp_path, "masks/{id}.png")) == ["1", "2", "B"]
    assert lookup.one("masks/{id}.png", "1").name == "1.PNG"
    assert lookup.one("masks/{id}.png", "b").name == "b.png", "there is no such file"


def test_several_files_of_one_id_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png")
    with pytest.raises(UserError, match=r"a\.jpg and a\.png both go by the id 'a': keep one"):
        Lookup(tmp_path).one("{id}.*", "a")


def test_further_files_of_an_id(tmp_path: Path) -> None:
    touch(tmp_path, "x/1_mask.png", "x/1_mask_1.png", "x/1_mask_2.PNG", "x/10_mask_1.png", "x/1_mask_1.txt")
    found = Lookup(tmp_path).all("{id}_mask_*.png", "x/1")
    assert [path.name for path in found] == ["1_mask_1.png", "1_mask_2.PNG"]


def test_a_folder_for_each_id(tmp_path: Path) -> None:
    touch(tmp_path, "in/a/mask.png", "in/b/mask.PNG")
    assert sorted(match_ids(tmp_path, "in/{id}/mask.png")) == ["a", "b"]
    assert Lookup(tmp_path).one("in/{id}/mask.png", "b") == tmp_path / "in/b/mask.PNG"


def test_what_is_hidden_is_passed_over(tmp_path: Path) -> None:
    """macOS leaves ._a.png beside a.png, Jupyter a folder of copies."""
    touch(tmp_path, "a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "sub/.DS_Store", "sub/b.png")
    assert sorted(match_ids(tmp_path, "{id}.png")) == ["a", "sub/b"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x.png", "masks/a.png")
    (tmp_path / "masks/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "masks/again").symlink_to(tmp_path / "masks")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "elsewhere")
    assert sorted(match_ids(tmp_path, "masks/{id}.png")) == ["a", "far/x"]


names = st.text(st.sampled_from("ab.-_ ()1"), min_size=1, max_size=4).filter(lambda name: name.strip(". ") == name)
extensions = st.sampled_from(["png", "PNG", "jpg", "Tif", "json", "txt"])


@given(files=st.sets(st.tuples(names, extensions), max_size=6), pattern=st.sampled_from(["{id}.*", "{id}.png"]))
def test_every_id_that_is_found_has_a_file(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, str]], pattern: str
) -> None:
    home = touch(tmp_path_factory.mktemp("files"), *(f"{name}.{extension}" for name, extension in files))
    found = list(match_ids(home, pattern))
    fitting = {"png"} if pattern.endswith("png") else {"png", "jpg", "tif"}
    assert sorted(found) == sorted(name for name, extension in files if extension.lower() in fitting)
    for name in found:
        if found.count(name) == 1:
            assert Lookup(home).one(pattern, name).stem == name


def test_lists_as_editors_leave_them(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("\ufeffa\r\n  b  \r\n\r\nc extra words\r\nthe d\r\n", encoding="utf-8")
    assert read_ids(path, lambda name: name == "the d") == ["a", "b", "c", "the d"]
    path.write_bytes("a\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"val\.txt: not a readable list of image ids.* save it as UTF-8"):
        read_ids(path)


@pytest.mark.parametrize(
    ("line", "on_disk", "found"),
    [
        ("a.jpg", "a", "a"),
        ("a.JPEG", "a", "a"),
        ("a.jpg", "a.jpg", "a.jpg"),  # an id with a dot
        ("a.b", "a", "a.b"),  # no extension of a picture
        ("caf\u00e9", "cafe\u0301", "cafe\u0301"),  # as macOS writes it
        ("a\u00a0b", "a\u00a0b", "a\u00a0b"),
    ],
)
def test_an_id_is_found_as_people_write_it(tmp_path: Path, line: str, on_disk: str, found: str) -> None:
    (tmp_path / "val.txt").write_text(f"{line}\n", encoding="utf-8")
    assert read_ids(tmp_path / "val.txt", lambda name: name == on_disk) == [found]


def test_what_systems_put_there_is_no_image_and_any_name_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "._a.png", "__MACOSX/a.png", "line\nbreak.png", "deep/.cache/b.png")
    assert sorted(match_ids(tmp_path, "{id}.png")) == ["a", "line\nbreak"]


def test_names_of_no_encoding_are_ids_like_others(tmp_path: Path) -> None:
    name = os.fsdecode(b"Caf\xe9")
    touch(tmp_path, f"{name}.png")
    assert list(match_ids(tmp_path, "{id}.png")) == [name]
    assert Lookup(tmp_path).one("{id}.*", name).exists()
