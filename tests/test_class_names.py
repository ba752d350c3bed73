"""Name sets: parsing, synonyms by arg max, files of a user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.class_names import NameSet, read_names
from zsbench.errors import UserError

words = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True), min_size=1, max_size=5)


@given(synonyms=words, data=st.data())
def test_arg_max_over_words_is_arg_max_over_classes(synonyms: list[list[str]], data: st.DataObject) -> None:
    """Looking the best word up in `word_to_class` is a max over each class's synonyms, then an arg max (first on
    ties).
    """
    names = NameSet("x", tuple(map(tuple, synonyms)))
    integers = st.lists(st.integers(0, 3), min_size=len(names.words), max_size=len(names.words))
    scores = dict(zip(names.words, data.draw(integers), strict=True))
    by_class = [max(scores[word] for word in group) for group in synonyms]
    best_word = int(np.argmax([scores[word] for word in names.words]))
    assert names.word_to_class[best_word] == int(np.argmax(by_class))


def test_separators_and_blanks() -> None:
    names = NameSet.parse("x", ["cat", "person, man ;woman;", " dining table "])
    assert names.synonyms == (("cat",), ("person", "man", "woman"), ("dining table",))
    assert NameSet.parse("x", ["-", "cat"]).synonyms == ((), ("cat",))


def test_hash_without_synonyms_is_that_of_the_plain_list() -> None:
    names = NameSet.parse("x", ["cat", "dog"])
    assert names.sha256 == hashlib.sha256(b"cat\ndog").hexdigest()
    assert names.sha256 != NameSet.parse("x", ["cat, dog", "dog"]).sha256


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("kitten, cat\npuppy\n\n")
    names = read_names(path, ["cat", "dog"])
    assert (names.name, names.synonyms) == ("mine", (("kitten", "cat"), ("puppy",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", "1 lines for 2 classes"),
        ("a\n ; \n", "line 2 has no name"),
        ("a, b\nb\n", "'b' is given to two"),
    ],
)
def test_faulty_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_names(path, ["cat", "dog"])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt"):
        read_names(tmp_path / "none.txt", ["cat"])
