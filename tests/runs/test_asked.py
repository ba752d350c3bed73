"""A request as data: all that was asked for, files by their content, and no folder of anybody's machine."""

from __future__ import annotations

import hashlib
import json

import pytest

from zsbench.runs.asked import as_named, asked, differences, portable
from zsbench.runs.request import ProfileRequest, Request


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret-home" / "file.txt"
    path.parent.mkdir()
    path.write_text("content")
    return path


def test_every_field_is_kept_as_json():
    data = asked(Request(options={"rd": "off"}, seed=3))
    assert data.keys() == Request.model_fields.keys() and json.loads(json.dumps(data)) == data
    assert data["options"] == {"rd": "off"} and data["seed"] == 3 and data["weights"] is None


def test_files_are_names_and_hashes(file):
    known = {"name": "file.txt", "sha256": hashlib.sha256(b"content").hexdigest()}
    options = {"proposals": str(file), "rd": "off"}
    request = Request(weights=str(file), checkpoint=file, out=file.parent, options=options, plugin=(file,))
    data = asked(request)
    assert data["weights"] == data["checkpoint"] == data["options"]["proposals"] == known and data["plugin"] == [known]
    assert data["out"] == {"name": "secret-home", "sha256": None}
    for text in (json.dumps(data), as_named(request).command("eval")):
        assert "secret-home/" not in text and str(file.parent.parent) not in text


@pytest.mark.parametrize(
    "text", ["openai", "- a {}", "a photo of a {}.", "a/{}/b", "single", "nul\0", "/absent", "x" * 5000]
)
def test_words_are_no_files(text, file, monkeypatch):
    monkeypatch.chdir(file.parent)
    (file.parent / "single").touch()
    assert portable(text) == text


def test_a_moved_file_is_the_same_request_and_a_changed_one_is_not(file, tmp_path):
    stored = asked(Request(checkpoint=file, out=tmp_path))
    moved = tmp_path / "moved.txt"
    moved.write_text("content")
    assert differences(stored, Request(checkpoint=moved, workers=4)) == []
    moved.write_text("other")
    assert differences(stored, Request(checkpoint=moved, seed=1, options={"a": "1"})) == [
        "options",
        "checkpoint",
        "seed",
    ]
    assert differences({}, Request()) == []  # a request of schema 1 holds only what was changed


def test_a_profile_says_what_was_asked_too(file):
    request = ProfileRequest(checkpoint=file, size="8x8")
    assert asked(request)["size"] == "8x8" and "secret-home" not in as_named(request).command("profile")
