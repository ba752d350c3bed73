"""Where unseen pixels go, against counting pixel by pixel."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsbench.metrics.confusion import UnseenPixels, taken_for
from zsbench.metrics.counts import count
from zsbench.metrics.records import Records

CLASSES = 6
pixels = st.lists(st.tuples(st.integers(-1, CLASSES - 1), st.integers(-1, CLASSES - 1)), max_size=60)
Pairs = list[tuple[int, int]]


def confusion(pairs: Pairs) -> np.ndarray:
    label, prediction = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Records.of(["image"], [count(label, prediction, CLASSES)]).confusion(CLASSES)


@settings(deadline=None)
@given(pairs=pixels, seen=st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES))
def test_every_pixel_of_an_unseen_class_goes_somewhere(pairs: Pairs, seen: list[bool]) -> None:
    goes: Counter[str] = Counter()
    for truth, guess in pairs:
        if truth >= 0 and not seen[truth]:
            of_wrong = "abstained" if guess < 0 else "seen" if seen[guess] else "other_unseen"
            goes["right" if truth == guess else of_wrong] += 1
    found = UnseenPixels.of(confusion(pairs), np.array(seen))
    for where in ("right", "other_unseen", "seen", "abstained"):
        expected = 100 * goes[where] / goes.total() if goes else math.nan
        assert getattr(found, where) == pytest.approx(expected, nan_ok=True)
    assert not goes or sum(astuple(found)) == pytest.approx(100)


@settings(deadline=None)
@given(pairs=pixels)
def test_what_a_class_is_taken_for(pairs: Pairs) -> None:
    found = taken_for(confusion(pairs), range(CLASSES))
    for cls in range(CLASSES):
        guesses = [guess for truth, guess in pairs if truth == cls]
        wrong = Counter(guess for guess in guesses if guess not in (cls, -1))
        expected = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:3]
        assert found[cls] == [(guess, pytest.approx(100 * times / len(guesses))) for guess, times in expected]
