"""Files are whole or absent, and one message says why; names that stand in files are never ways out of a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from zsbench.errors import UserError
from zsbench.utils.files import LONGEST_NAME, file_within, make_folder, printable, slug, write_atomically, write_text


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


@pytest.mark.parametrize(
    ("raw", "text"), [(b"caf\xe9.toml", r"caf\xe9.toml"), ("caf\u00e9".encode(), "caf\u00e9"), (b"a b", "a b")]
)
def test_a_name_of_no_encoding_becomes_text_that_json_holds(raw, text):
    """Also of a system whose own encoding is ASCII."""
    assert printable(raw.decode("utf-8", "surrogateescape")) == text
    assert printable(raw.decode("ascii", "surrogateescape")) == text


def test_a_name_says_its_words():
    assert slug("miniworld", "", "ZegCLIP", "-o rd=off", "seed0") == "miniworld-zegclip-o-rd-off-seed0"
    assert slug("a" * 400) != slug("a" * 401)


def refuse(number):
    def write(temporary):
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EFBIG, "may not become that large"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
        (errno.ENOENT, "its folder is not there"),
    ],
)
def test_what_cannot_be_written_leaves_what_was_there_and_one_message(tmp_path, number, why):
    path = tmp_path / "result.json"
    write_text(path, "old")
    with pytest.raises(UserError, match=rf"cannot write .*result\.json: .*{why}.* is kept"):
        write_atomically(path, refuse(number))
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"] and path.read_text() == "old"


def to_stream(content, path):
    with open(path, "wb") as stream:
        torch.save(content, stream)


@pytest.mark.parametrize("write", [save_file, torch.save, to_stream], ids=["safetensors", "torch", "torch, a stream"])
def test_libraries_meet_a_limit_in_words_of_their_own(tmp_path, write):
    """safetensors speaks Rust, torch of positions in a zip file; neither raises an `OSError`."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*state: .*may not become that large"):
            write_atomically(tmp_path / "state", lambda path: write({"a": torch.zeros(100_000)}, path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("file", "file/inner"):
        with pytest.raises(UserError, match=r"cannot write .*file"):
            make_folder(tmp_path / folder)
    with pytest.raises(UserError, match="its folder is not there"):
        write_text(tmp_path / "gone" / "a.txt", "")


def test_an_error_of_another_kind_stays_what_it_is(tmp_path):
    def fail(temporary):
        raise TypeError("a mistake of ours")

    with pytest.raises(TypeError, match="a mistake of ours"):
        write_atomically(tmp_path / "a", fail)
