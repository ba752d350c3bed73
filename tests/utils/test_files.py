"""Names that stand in files become file names, and never ways out of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.errors import UserError
from zsbench.utils.files import LONGEST_NAME, file_within, slug


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", "c:d", "nul\0", "x" * 300, "half \ud800", "two\nlines"],
)
def test_what_is_no_file_name_is_refused_with_its_source(name):
    with pytest.raises(UserError, match=r"result\.json: .*cannot be part of a file name"):
        file_within(Path("board"), name, "result.json")


@given(st.text())
def test_a_name_is_taken_as_it_is_or_not_at_all(name):
    try:
        path = file_within(Path("board"), name, "here")
    except UserError:
        return
    assert path.name == name and path.parent == Path("board") and len(name.encode()) <= LONGEST_NAME


@given(st.lists(st.text(st.characters(), max_size=400), min_size=1))
def test_any_words_make_a_short_plain_name(words):
    name = slug(*words)
    assert file_within(Path("board"), f"{name}.records.npz", "here").name.startswith(name)
    assert name.isascii() and name == name.lower() and slug(name) == name


def test_a_name_says_its_words():
    assert slug("miniworld", "", "ZegCLIP", "-o rd=off", "seed0") == "miniworld-zegclip-o-rd-off-seed0"
    assert slug("a" * 400) != slug("a" * 401)
