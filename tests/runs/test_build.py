"""What a method is told when it is built from a plan."""

from dataclasses import replace

import numpy as np
import pytest

from zsbench.class_names import NameSet
from zsbench.clip.word_vectors import WordVectors, write_word_vectors
from zsbench.errors import UserError
from zsbench.registry import load_dataset_class
from zsbench.runs.build import build_told
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request


def test_a_method_hears_which_word_is_the_background(tmp_path, squares, monkeypatch):
    """By the name that the dataset gives it: a classifier of the other classes has no channel for it."""
    monkeypatch.setattr(type(squares), "background", "grey")
    words = tmp_path / "words.npz"
    write_word_vectors(words, WordVectors(squares.classes, np.eye(4, dtype=np.float32), "words"), {})
    options = {"backbone": "miniature", "norm": "batch", "dim": 4}
    plans = [
        make_plan("profile", Request(method="zs3", words=words, options={**options, "classes": count}), squares)
        for count in (3, 4)
    ]
    with pytest.raises(UserError, match=r"zs3: no channel is left for the background class 'grey': .* -o classes=4"):
        build_told(plans[0])
    assert build_told(plans[1])[0].vocabulary.background == "grey"


def test_a_method_hears_how_often_the_list_has_a_word(tmp_path, squares):
    """Which is told once: COCO-Object's released list has "bed" for a thing, and again for the background."""
    released = load_dataset_class("coco-object")().names("sclip")
    assert [word for word, count in released.counts.items() if count > 1] == ["bed"]
    words = tmp_path / "words.npz"
    write_word_vectors(words, WordVectors(("a", "b", "c", "d"), np.eye(4, dtype=np.float32), "words"), {})
    options = {"backbone": "miniature", "norm": "batch", "dim": 4}
    plan = make_plan(
        "profile", Request(method="spnet", words=words, classes=str(own_names(tmp_path)), options=options), squares
    )
    assert build_told(plan)[0].vocabulary.counts is None
    twice = NameSet("twice", (("a", "b"), ("b",), ("c",), ("d",)))
    assert build_told(replace(plan, names=twice))[0].vocabulary.counts.tolist() == [1, 2, 1, 1]


def own_names(folder):
    (folder / "names.txt").write_text("a\nb\nc\nd\n")
    return folder / "names.txt"
