"""Documents are read, or refused in a sentence that names the file: never a traceback, however deep or foreign."""

from __future__ import annotations

import pytest

from zsbench.errors import UserError
from zsbench.utils.documents import read_json, read_toml


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        *((read_json, text) for text in (b"[" * 100_000, b"{", b"", b"\xff\xfe", b"[9" + b"9" * 5000 + b"]")),
        *((read_toml, text) for text in (b"a = " + b"[" * 100_000, b"a = ", b"\xe9 = 1", b"a = 1\na = 2")),
    ],
)
def test_what_is_none_is_named(tmp_path, reader, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="x: not a readable thing"):
        reader(tmp_path / "x", "thing")


@pytest.mark.parametrize("reader", [read_json, read_toml])
def test_folders_absent_files_and_impossible_names_are_told(tmp_path, reader):
    for name, message in (("absent", "no such thing"), (".", "not a readable thing"), ("a\0b", "not a readable thing")):
        with pytest.raises(UserError, match=message):
            reader(tmp_path / name, "thing")


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(UserError, match=r"x: not a readable thing .*Permission denied"):
        read_json(tmp_path / "x", "thing")


def test_a_mark_before_the_text_does_no_harm(tmp_path):
    (tmp_path / "x").write_text("\ufeff[1]", encoding="utf-8")
    assert read_json(tmp_path / "x", "thing") == [1]
