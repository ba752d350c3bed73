"""What a method is told when it is built from a plan."""

import numpy as np
import pytest

from zsbench.clip.word_vectors import WordVectors, write_word_vectors
from zsbench.errors import UserError
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
