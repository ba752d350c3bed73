"""The tokenizer of whole words."""

from pathlib import Path

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zsbench.clip.tokenizer import WordTokenizer, unknown_words
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


def test_words_unknown_to_a_tokenizer_of_transformers_are_found(tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "##s"]))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path), 8)
    assert unknown_words(tokenizer, ["Cats", "sheep dog"]) == ["sheep"]


def test_bytes_are_known_to_all_but_what_leaves_no_token() -> None:
    """CLIP's own tokenizer spells every word, in pieces if need be."""
    tokenizer = open_clip.SimpleTokenizer()
    assert unknown_words(tokenizer, ["aeroplane", "\u65e5\u672c", "zzzq-42", "\x00"]) == ["\x00"]
