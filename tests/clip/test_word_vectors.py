"""Word vectors in the place of a text encoder: one rule from names to vectors, whatever the file, and no CLIP at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toys import HALVES_SOURCE
from typer.testing import CliRunner

from zsbench import Result
from zsbench.class_names import NameSet
from zsbench.cli.app import app
from zsbench.clip.word_vectors import WordVectors, read_word_vectors, side_by_side, write_word_vectors
from zsbench.errors import UserError
from zsbench.result import Profile

WORDS = ("red", "Green", "blue", "dining_table", "dining", "table", "sky")


def make_table(words: tuple[str, ...] = WORDS, width: int = 5) -> WordVectors:
    """Rows of any norm, as real tables have them."""
    return WordVectors(words, 3 * np.random.default_rng(0).standard_normal((len(words), width), np.float32), "toy.npz")


def name_set(*names: str) -> NameSet:
    return NameSet.parse("names", names)


@pytest.mark.parametrize(
    ("name", "row"),
    [("red", 0), ("GREEN", 1), ("dining_table", 3), ("dining table", 3), ("Dining-Table", 3), ("diningtable", 3)],
)
def test_an_entry_is_found_by_its_letters_and_stays_as_it_is(name: str, row: int) -> None:
    table = make_table()
    assert np.array_equal(table.vector(name), table.vectors[row])


def test_the_exact_spelling_goes_before_all_others() -> None:
    table = make_table(("TV", "tv", "t.v."))
    assert [table.vector(name).tolist() for name in ("TV", "tv", "t.v.")] == table.vectors.tolist()
    assert np.array_equal(table.vector("Tv"), table.vectors[0]), (
        "of several, the first: tables begin with frequent words"
    )


@pytest.mark.parametrize("name", ["blue table", "blue-table", "Blue_TABLE"])
def test_a_name_of_several_words_is_their_normalised_sum(name: str) -> None:
    table = make_table()
    total = table.vectors[2].astype(np.float64) + table.vectors[5]
    np.testing.assert_allclose(table.vector(name), total / np.linalg.norm(total), rtol=1e-6)


def test_an_unknown_word_is_told_with_its_class_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"toy\.npz has no vector for 'tabel', which the class .board. needs.*: table"):
        make_table().of(name_set("red", "blue tabel"), ("red", "board"))
    with pytest.raises(UserError, match=r"no vector for '--'.*--classes"):
        make_table().of(name_set("--"), ("--",))


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_refused(value: float) -> None:
    table = make_table()
    table.vectors[0] = value
    with pytest.raises(UserError, match=r"'red', which the class .* needs, is zero or not finite"):
        table.of(name_set("red"), ("red",))


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, unique=True))
def test_a_small_file_says_what_the_large_one_said(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("words") / "small.npz"
    chosen = name_set(*names)
    small = make_table().of(chosen, names)
    write_word_vectors(path, small, {"from": "toy"})
    again = read_word_vectors(path).of(chosen, names)
    assert again.sha256 == small.sha256
    assert np.array_equal(again.vectors, small.vectors)
    assert json.loads(str(np.load(path)["provenance"])) == {"from": "toy"}


def test_the_hash_is_of_words_and_numbers() -> None:
    table, other = make_table(), make_table()
    assert table.sha256 == WordVectors(list(WORDS), table.vectors.astype(">f4"), "elsewhere").sha256
    other.vectors[0, 0] += 1
    assert len({table.sha256, other.sha256, make_table(WORDS[::-1]).sha256}) == 3


def test_tables_side_by_side() -> None:
    one, two = make_table(width=3), make_table(width=2)
    assert np.array_equal(side_by_side([one, two]).vectors, np.hstack([one.vectors, two.vectors]))


def save_text(path: Path, table: WordVectors, header: bool) -> None:
    rows = [f"{name} {' '.join(map(repr, row.tolist()))}" for name, row in zip(table.names, table.vectors, strict=True)]
    path.write_text("\n".join([*([f"{len(rows)} {table.vectors.shape[1]}"] if header else []), *rows]) + "\n")


def save_binary(path: Path, table: WordVectors) -> None:
    rows = [f"{name} ".encode() + row.tobytes() for name, row in zip(table.names, table.vectors, strict=True)]
    path.write_bytes(b"%d %d\n" % table.vectors.shape + b"\n".join(rows) + b"\n")


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    table = make_table()
    write_word_vectors(tmp_path / "table.npz", table, {})
    save_text(tmp_path / "fasttext.vec", table, header=True)
    save_text(tmp_path / "glove.txt", table, header=False)
    save_binary(tmp_path / "word2vec.bin", table)
    for path in tmp_path.iterdir():
        found = read_word_vectors(path)
        assert (found.source, found.sha256) == (path.name, table.sha256), path


def test_models_of_fasttext_are_read_by_their_words(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext")
    model = fasttext.FastText(vector_size=4, min_count=1, bucket=50)
    model.build_vocab([["cat", "dog"]])
    fasttext.save_facebook_model(model, str(tmp_path / "model.bin"))
    table = read_word_vectors(tmp_path / "model.bin")
    np.testing.assert_allclose(table.vector("cat"), model.wv["cat"], rtol=1e-6)
    with pytest.raises(KeyError):
        table.vector("cats")  # fastText would make one up of its letters


def test_of_several_arrays_one_is_named(tmp_path: Path) -> None:
    table, path = make_table(), tmp_path / "two.npz"
    np.savez(path, names=np.array(WORDS), one=table.vectors, two=-table.vectors, seen=np.arange(3))
    assert np.array_equal(read_word_vectors(Path(f"{path}:two")).vectors, -table.vectors)
    for wrong in (str(path), f"{path}:three", f"{path}:seen"):
        with pytest.raises(UserError, match=r"it has one, two\. Of several, name one: .*two\.npz:one"):
            read_word_vectors(Path(wrong))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.npz", lambda path: None, "no file of word vectors"),
        ("words.pkl", lambda path: path.touch(), r"\.npz, \.vec, \.txt and \.bin"),
        ("no_names.npz", lambda path: np.savez(path, vectors=np.eye(3)), "cannot be read as an .npz"),
        ("numbers.npz", lambda path: np.savez(path, names=np.arange(3), vectors=np.eye(3)), "expected `names`"),
        ("short.npz", lambda path: np.savez(path, names=np.array(WORDS), vectors=np.eye(3)), "it has none"),
        ("pickle.npz", lambda path: np.savez(path, names=np.array([{}, None])), "cannot be read as an .npz"),
        ("cut.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "cannot be read as an .npz"),
        ("empty.vec", lambda path: path.touch(), "cannot be read as word vectors"),
        ("huge.vec", lambda path: path.write_text("9999999999 9999999\nred 1\n"), "cannot be read as word vectors"),
        ("cut.bin", lambda path: path.write_bytes(b"3 3\nred 0000"), "cannot be read as word vectors"),
        (
            "prose.txt",
            lambda path: path.write_text("all that glitters\nis not gold\n"),
            "cannot be read as word vectors",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    if not name.endswith("npz"):
        pytest.importorskip("gensim")
    write(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        read_word_vectors(tmp_path / name)
    assert name in str(caught.value)


def test_a_missing_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gensim.models", None)
    save_text(tmp_path / "glove.txt", make_table(), header=False)
    with pytest.raises(UserError, match=r"gensim is not installed: pip install 'zsbench\[words\]'"):
        read_word_vectors(tmp_path / "glove.txt")


def test_real_vectors_know_what_is_alike(shared: Path) -> None:
    """Multi-word names of SPNet's tables are entries; the numbers are those of the tables' own description."""
    file = shared / "data" / "wordvectors" / "spnet_cocostuff_182.npz"
    table = read_word_vectors(Path(f"{file}:fasttext"))
    names = ("cat", "dog", "bus", "traffic light", "Fire_Hydrant", "cat-dog")
    rows = table.of(name_set(*names), names).vectors
    assert (rows[0] @ rows[1], rows[0] @ rows[2]) == pytest.approx((0.672, 0.158), abs=1e-3)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)


PLUGIN = '''
"""Coloured halves, and a linear head on pixels that is compared with word vectors."""

import os

import numpy as np
import torch.nn.functional as F
from torch import nn

from zsbench.dataset import Dataset, Defaults, EvalProtocol, Sample
from zsbench.method import Method
from zsbench.registry import register_dataset, register_method


# HALVES


@register_method("pixel-words")
class PixelWords(Method):
    """A linear map from a pixel's colour to word vectors."""

    trainable = True
    needs_clip = False

    def __init__(self, clip, options):
        super().__init__(clip, options)
        assert clip is None
        self.head = nn.Conv2d(3, 4, 1)

    def predict(self, images):
        return F.conv2d(self.head(images), self.vocabulary.embeddings[:, :, None, None])

    def losses(self, images, labels):
        return {"ce": F.cross_entropy(self.predict(images), labels, ignore_index=-1)}
'''.replace("# HALVES", HALVES_SOURCE.replace('"halves"', '"word-halves"').replace('"blue"', '"dark blue"'))


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "words_plugin.py"
    path.write_text(dedent(PLUGIN))
    return path


Call = Callable[..., str]


@pytest.fixture
def call(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command in a folder with files of word vectors, two of width 4, where nobody can load a CLIP."""
    rng = np.random.default_rng(1)
    for name, width in (("words", 4), ("other", 4), ("narrow", 3)):
        table = WordVectors(("red", "green", "dark", "blue"), 2 * rng.standard_normal((4, width), np.float32), name)
        write_word_vectors(tmp_path / f"{name}.npz", table, {})
    (tmp_path / "e.npy").touch()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)

    def fail(*_: object) -> None:
        raise AssertionError("a CLIP was loaded")

    monkeypatch.setattr("zsbench.runs.build.load_clip", fail)

    def run(*words: str, code: int = 0) -> str:
        outcome = CliRunner().invoke(app, [*words, "--plugin", str(plugin)])
        assert outcome.exit_code == code, outcome.output
        return " ".join(outcome.output.split())

    return run


THERE = ("--method", "pixel-words", "--dataset", "word-halves")


def test_a_method_without_clip_from_training_to_its_result(call: Call) -> None:
    call("data", "words", "word-halves", "--from", "words.npz", "--out", "small.npz")
    assert np.load("small.npz")["names"].tolist() == ["red", "green", "dark blue"]
    call("run", *THERE, "--words", "words.npz", "--out", "run")
    result = Result.load("run/result.json")
    assert result.training is not None and result.training.final_loss < 0.1, "red and green are told apart"
    assert (result.method.clip, result.method.weights) == (None, None)
    assert result.method.words is not None and result.method.words.source == "words.npz"
    assert result.method.words.sha256 == read_word_vectors(Path("small.npz")).sha256
    assert result.efficiency is not None
    assert (result.efficiency.text_params, result.efficiency.text_gmacs) == (0, 0)
    assert result.efficiency.total_params == result.efficiency.image_path_params == 3 * 4 + 4
    learnt = ("--words", "words.npz", "--checkpoint", "run/checkpoint.safetensors")
    call("eval", *THERE, "--words", "small.npz:vectors", *learnt[2:], "--out", "again")
    assert Result.load("again/result.json").records_sha256 == result.records_sha256
    call("predict", "red.png", "--classes", "green, red", *learnt, "--out", "pictures")
    assert (np.asarray(Image.open("pictures/red-labels.png")) == 1).all()


def test_each_table_is_brought_to_a_norm_before_they_stand_side_by_side(call: Call) -> None:
    """As releases made theirs: rows of length 1, or all of a table over its largest norm."""
    for norm in ("none", "unit", "largest"):
        tables = ("--from", "words.npz", "--from", "narrow.npz")
        call("data", "words", "word-halves", *tables, "--norm", norm, "--out", f"{norm}.npz")
    plain, unit, largest = (np.load(f"{norm}.npz")["vectors"] for norm in ("none", "unit", "largest"))
    for columns in (slice(0, 4), slice(4, 7)):
        norms = np.linalg.norm(plain[:, columns], axis=1, keepdims=True)
        np.testing.assert_allclose(unit[:, columns], plain[:, columns] / norms, rtol=1e-6)
        np.testing.assert_allclose(largest[:, columns], plain[:, columns] / norms.max(), rtol=1e-6)


def test_a_dataset_may_come_with_word_vectors(call: Call) -> None:
    """miniworld's have a width of their own, and one look at them is enough to be told that."""
    text = call("profile", "--method", "spnet", "--dataset", "miniworld", "-o", "dim=23", "--out", "costs", code=2)
    assert "24" in text and "--words of that width" in text


def test_a_checkpoint_wants_the_vectors_that_it_was_trained_with(call: Call) -> None:
    call("train", *THERE, "--words", "words.npz", "--iterations", "1", "--out", "run")
    given = ("--checkpoint", "run/checkpoint.safetensors", "--words", "other.npz")
    text = call("eval", *THERE, *given, code=2)
    assert "trained with other word vectors" in text and "--transfer" in text
    call("eval", *THERE, *given, "--transfer", "--out", "transferred")
    narrow = ("--checkpoint", "run/checkpoint.safetensors", "--words", "narrow.npz")
    for also in ((), ("--transfer",)):
        text = call("eval", *THERE, *narrow, *also, code=2)
        assert "vectors of 4 numbers each, and those of narrow.npz have 3: give the --words" in text


def test_the_cost_of_a_method_without_clip(call: Call) -> None:
    call("profile", *THERE, "--words", "words.npz", "--seconds", "0", "--largest-batch", "1", "--out", "costs")
    profile = Profile.load(next(Path("costs").glob("*.json")))
    assert (profile.clip, profile.weights, profile.words, profile.text_params) == (None, None, "words.npz", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "needs word vectors: --words FILE"),
        (("--words", "words.npz", "--clip", "miniworld"), "--clip: pixel-words needs no CLIP"),
        (("--words", "words.npz", "--weights", "random"), "--weights: pixel-words needs no CLIP"),
        (("--words", "words.npz", "--templates", "single"), "--templates: pixel-words needs no CLIP"),
        (("--words", "words.npz", "--text-embeddings", "e.npy"), "--text-embeddings: pixel-words needs no CLIP"),
        (("--words", "none.npz"), "there is no file of word vectors none.npz"),
    ],
)
def test_options_of_the_other_kind_are_refused(call: Call, words: tuple[str, ...], message: str) -> None:
    assert message in call("train", *THERE, *words, "--out", "run", code=2)
    assert not Path("run").exists()


def test_methods_on_clip_take_no_word_vectors(call: Call) -> None:
    text = call("eval", "--method", "maskclip", "--dataset", "word-halves", "--words", "words.npz", code=2)
    assert "--words: maskclip reads class names by the text encoder of its CLIP" in text
