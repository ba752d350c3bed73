"""The tokenizer of whole words."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zsbench.clip.tokenizer import WordTokenizer
from zsbench.errors import UserError

WORDS = ("a", "photo", "of", "cat", "wall-brick")


def test_ids_are_where_the_text_encoder_expects_them() -> None:
    tokenizer = WordTokenizer(WORDS, 8)
    assert tokenizer.ids["<pad>"] == 0
    assert tokenizer.ids["<eot>"] == tokenizer.vocab_size - 1 == len(WORDS) + 3
    assert tokenizer(["a photo of cat"]).tolist() == [[1, 3, 4, 5, 6, 8, 0, 0]]


def test_case_punctuation_and_spaces_make_no_difference() -> None:
    tokenizer = WordTokenizer(WORDS, 8)
    assert torch.equal(tokenizer(["A  Photo, of cat."]), tokenizer(["a photo of cat"]))
    assert tokenizer("a wall-brick !").tolist() == [[1, 3, 7, 8, 0, 0, 0, 0]]


def test_unknown_words_are_marked() -> None:
    assert WordTokenizer(WORDS, 6)(["a dog"]).tolist() == [[1, 3, 2, 8, 0, 0]]


@given(st.lists(st.lists(st.sampled_from([*WORDS, "dog"])).map(" ".join), max_size=4), st.integers(3, 9))
def test_every_row_ends_where_argmax_looks(texts: list[str], length: int) -> None:
    tokenizer = WordTokenizer(WORDS, length)
    tokens = tokenizer(texts)
    assert tokens.dtype == torch.int64 and tokens.shape == (len(texts), length)
    for text, row in zip(texts, tokens, strict=True):
        end = int(row.argmax())
        assert end == min(len(text.split()) + 1, length - 1)
        assert row[0] == 1 and row[end] == tokenizer.ids["<eot>"] and not row[end + 1 :].any()


@pytest.mark.parametrize("words", [["cat", "cat"], ["<unk>"], ["two words"], ["Cat"], ["cat."], [""]])
def test_words_that_could_not_be_told_apart_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="tokenizer"):
        WordTokenizer(words, 8)
