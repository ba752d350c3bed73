"""What a run is: told apart by all that decides its numbers, by the content of files, and by nothing else."""

from __future__ import annotations

import json

import pytest
from toys import PixelClassifier

from zsbench import registry
from zsbench.errors import UserError
from zsbench.runs.identity import changes, check_identity, fingerprint, identify
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request


@pytest.fixture
def identity(monkeypatch, squares, tiny_clip_config, tiny_clip):
    monkeypatch.setattr(registry, "load_method_class", lambda name: PixelClassifier)
    monkeypatch.setattr(registry, "load_options", lambda name: PixelClassifier.Options)
    monkeypatch.setattr(registry, "add_file", lambda path: None)

    def of(**given):
        request = {"method": "toy", "dataset": "squares", "clip": tiny_clip_config, "weights": "random", **given}
        return identify(make_plan("run", Request.of("run", request), squares), tiny_clip)

    PixelClassifier.name = "toy"
    yield of
    del PixelClassifier.name


def test_what_changes_numbers_is_another_run_and_nothing_else(identity, tmp_path):
    base = fingerprint(identity())
    assert fingerprint(identity(out=tmp_path, workers=3, resume=True)) == base
    for change in ({"seed": 1}, {"limit": 2}, {"iterations": 9}, {"dtype": "bfloat16"}, {"eval_batch": 3}):
        assert fingerprint(identity(**change)) != base, change


def test_files_are_known_by_their_content(identity, tmp_path):
    for name, text in {"a.txt": "a {}", "b.txt": "b {}", "moved.txt": "a {}"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.py").write_text(f"# {text}")
    a, b, moved = (identity(templates=str(tmp_path / f"{name}.txt")) for name in ("a", "b", "moved"))
    assert fingerprint(a) == fingerprint(moved) != fingerprint(b) and changes(a, b) == [
        "templates was a {} and is b {}"
    ]
    a, b, moved = (identity(plugin=tmp_path / f"{name}.txt.py") for name in ("a", "b", "moved"))
    assert fingerprint(a) == fingerprint(moved) != fingerprint(b)
    (named,) = changes(a, b)
    assert named.startswith("plugins was a.txt.py (sha256 ") and "and is b.txt.py (sha256 " in named


def test_other_weights_of_one_name_are_another_run(identity, tiny_clip, tmp_path):
    before = identity()
    assert changes(before, {**before, "CLIP weights": {"name": "random", "sha256": "0" * 64}}) == [
        "CLIP weights was random and is random (sha256 000000000000)"
    ]


def test_a_run_that_goes_on_is_compared_and_each_difference_named(identity, tmp_path):
    path, around = tmp_path / "run.json", {"torch": "2", "threads": "1"}
    before = identity()
    for begun in (False, True):
        assert check_identity(path, before, around, begun, {}) == ""
    assert "torch was 2 and is 3" in check_identity(path, before, {**around, "torch": "3"}, True, {})
    other = identity(seed=4, iterations=7)
    with pytest.raises(UserError, match="another run: recipe: iterations was 4 and is 7; seed was 0 and is 4"):
        check_identity(path, other, around, True, {})
    check_identity(path, other, around, False, {})  # nothing was begun
    assert json.loads(path.read_text())["identity"] == other
    path.write_text("damaged")
    assert check_identity(path, before, around, True, {}) == ""  # journal and state know the fingerprint
