"""Names to unit vectors: templates, text encoding, the cache, and stored embeddings."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.templates import SINGLE, VILD15, read_templates
from zsbench.clip.text import (
    Vocabulary,
    check_apart,
    check_known,
    default_cache_dir,
    encode_prompts,
    encode_vocabulary,
    read_vocabulary,
)
from zsbench.errors import UserError

EMBEDDINGS = Path(__file__).parents[2] / ".." / "shared" / "data" / "lists" / "zegclip"
WORDS = ["a", "photo", "of", "there", "is", "the", "in", "scene", "cat", "dog", "tree", "large", "small"]
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": len(WORDS) + 4, "width": 32, "heads": 2, "layers": 2},
    "words": WORDS,
}
NAMES = ("cat", "dog", "tree")
SEEN = (True, True, False)


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Clip]:
    def make(seed: int = 0, **changes: Any) -> Clip:
        path = tmp_path / "tiny.json"
        path.write_text(json.dumps(CONFIG | changes))
        return load_clip(str(path), "random", seed)

    return make


@pytest.mark.parametrize(
    "changes",
    [{}, {"custom_text": True}, {"text_cfg": CONFIG["text_cfg"] | {"no_causal_mask": True}}],
    ids=["causal", "custom text tower", "no causal mask"],
)
def test_prompts_are_encoded_as_clip_does(make_clip: Callable[..., Clip], changes: dict[str, Any]) -> None:
    clip = make_clip(**changes)
    prompts = [f"a photo of {name}" for name in NAMES] * 100  # more than a batch
    reference = F.normalize(clip.model.encode_text(clip.tokenizer(prompts)), dim=-1)
    encoded = encode_prompts(clip, prompts)
    assert not encoded.requires_grad
    torch.testing.assert_close(encoded, reference, atol=1e-6, rtol=0)


def test_templates_are_averaged_between_two_normalisations(make_clip: Callable[..., Clip], tmp_path: Path) -> None:
    clip = make_clip()
    vocabulary = encode_vocabulary(clip, NAMES, SEEN, "vild15", tmp_path)
    for name, row in zip(NAMES, vocabulary.embeddings, strict=True):
        total = torch.zeros(16)
        for template in VILD15:
            vector = clip.model.encode_text(clip.tokenizer([template.format(name)]))[0]
            total += vector / vector.norm()
        torch.testing.assert_close(row, total / total.norm(), atol=1e-6, rtol=0)
    assert vocabulary.words == NAMES
    assert vocabulary.seen.tolist() == list(SEEN)
    assert vocabulary.embeddings.dtype == torch.float32


def forbid_encoding(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the text encoder was called")

    monkeypatch.setattr(clip.model, "encode_text", fail)


def test_embeddings_are_computed_once(
    make_clip: Callable[..., Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode_vocabulary(make_clip(), NAMES, SEEN, "single", tmp_path)
    again = make_clip()
    forbid_encoding(again, monkeypatch)
    cached = encode_vocabulary(again, NAMES, np.array(SEEN), "single", tmp_path)
    assert torch.equal(cached.embeddings, first.embeddings)
    same_templates = encode_vocabulary(again, NAMES, SEEN, list(SINGLE), tmp_path)
    assert torch.equal(same_templates.embeddings, first.embeddings)


def test_a_text_encoder_that_learns_is_never_in_the_cache(make_clip: Callable[..., Clip], tmp_path: Path) -> None:
    """Its file says nothing of its weights any more; one whose image encoder alone learns stays there."""
    plain = encode_vocabulary(make_clip(), NAMES, SEEN, "single", tmp_path)
    learning, seeing = make_clip(), make_clip()
    learning.model.transformer.requires_grad_(True)
    with torch.no_grad():
        for parameter in learning.model.transformer.parameters():
            parameter.mul_(1.5)
    learnt = encode_vocabulary(learning, NAMES, SEEN, "single", tmp_path)
    assert not torch.allclose(learnt.embeddings, plain.embeddings)
    encode_vocabulary(learning, NAMES[::-1], SEEN, "single", tmp_path)
    seeing.model.visual.requires_grad_(True)
    assert torch.equal(encode_vocabulary(seeing, NAMES, SEEN, "single", tmp_path).embeddings, plain.embeddings)
    assert len(list(tmp_path.glob("vocabularies/*"))) == 1


def test_anything_else_is_another_cache_entry(make_clip: Callable[..., Clip], tmp_path: Path) -> None:
    encode_vocabulary(make_clip(), NAMES, SEEN, "single", tmp_path)
    encode_vocabulary(make_clip(seed=1), NAMES, SEEN, "single", tmp_path)
    encode_vocabulary(make_clip(quick_gelu=True), NAMES, SEEN, "single", tmp_path)
    encode_vocabulary(make_clip(), NAMES[::-1], SEEN, "single", tmp_path)
    encode_vocabulary(make_clip(), NAMES, SEEN, "the {}", tmp_path)
    assert len(list(tmp_path.glob("vocabularies/*.safetensors"))) == 5
    assert len(list(tmp_path.glob("vocabularies/*"))) == 5  # nothing half-written is left


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "a bit", "plain"])
def test_a_damaged_cache_is_computed_again(make_clip: Callable[..., Clip], tmp_path: Path, damage: str) -> None:
    clip = make_clip()
    first = encode_vocabulary(clip, NAMES, SEEN, "single", tmp_path)
    (path,) = tmp_path.glob("vocabularies/*.safetensors")
    whole = path.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]  # in the last digits of a number
    save_file({"embeddings": first.embeddings}, tmp_path / "plain")  # without a digest, as an earlier version wrote it
    other = {"cut": whole[:-20], "garbage": b"x" * 64, "empty": b"", "a bit": flipped}
    path.write_bytes(other[damage] if damage in other else (tmp_path / damage).read_bytes())
    with pytest.warns(UserWarning, match="is damaged, or of an earlier version: its texts are encoded again"):
        again = encode_vocabulary(clip, NAMES, SEEN, "single", tmp_path)
    assert torch.equal(again.embeddings, first.embeddings)
    assert path.read_bytes() == whole


def test_an_unwritable_cache_costs_time_only(make_clip: Callable[..., Clip], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="ZSBENCH_CACHE"):
        vocabulary = encode_vocabulary(make_clip(), NAMES, SEEN, "single", tmp_path / "file" / "folder")
    assert len(vocabulary) == 3


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ZSBENCH_CACHE", raising=False)
    assert default_cache_dir() == tmp_path / "zsbench"
    monkeypatch.setenv("ZSBENCH_CACHE", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"


def test_a_user_without_a_home_has_no_cache(make_clip: Callable[..., Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZSBENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a uid without an entry
    assert default_cache_dir() is None
    assert len(encode_vocabulary(make_clip(), NAMES, SEEN)) == 3


def test_a_cache_entry_under_another_name_is_not_taken(make_clip: Callable[..., Clip], tmp_path: Path) -> None:
    clip, other = make_clip(), make_clip(seed=1)
    wrong = encode_vocabulary(other, NAMES, SEEN, "single", tmp_path / "b").embeddings
    right = encode_vocabulary(clip, NAMES, SEEN, "single", tmp_path / "a").embeddings
    ((one,), (two,)) = ((tmp_path / name).glob("vocabularies/*") for name in "ab")
    shutil.copy(two, one)
    with pytest.warns(UserWarning, match="is damaged"):
        found = encode_vocabulary(clip, NAMES, SEEN, "single", tmp_path / "a").embeddings
    assert torch.equal(found, right) and not torch.equal(found, wrong)


PAIRS = [
    ("Cat", "cat"),
    ("cat  dog", "cat dog"),
    (f"{'the ' * 80}cat", f"{'the ' * 80}dog"),
    ("cat", "cat."),
    ("a", " a"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_classes_of_one_text_are_named(make_clip: Callable[..., Clip], pair: tuple[str, str]) -> None:
    found = encode_vocabulary(make_clip(), ("tree", *pair), SEEN)
    with pytest.raises(UserError, match="the same to the text encoder") as error:
        check_apart(found, (0, 1, 2), ("wood", "one", "two"))
    assert f"{pair[0]!r} (one) and {pair[1]!r} (two)" in str(error.value) and "tree" not in str(error.value)
    check_apart(found, (0, 1, 1), ("wood", "one"))  # words of one class may be alike
    check_apart(encode_vocabulary(make_clip(), NAMES, SEEN), (0, 1, 2), NAMES)


def test_ready_embeddings_and_word_vectors_of_two_classes_are_no_twins_either() -> None:
    vectors = torch.tensor([[3.0, 4.0], [4.0, 3.0], [3.0, 4.0]])
    with pytest.raises(UserError, match=r"'cat' \(cat\) and 'tree' \(tree\)"):
        check_apart(Vocabulary(NAMES, vectors, torch.tensor(SEEN)), (0, 1, 2), NAMES)
    nearly = torch.tensor([[3.0, 4.0], [4.0, 3.0], [3.02, 4.0]])  # a fifth of a degree apart
    with pytest.raises(UserError, match=r"'cat' \(cat\) and 'tree' \(tree\)"):
        check_apart(Vocabulary(NAMES, nearly, torch.tensor(SEEN)), (0, 1, 2), NAMES)


def test_words_that_a_clip_does_not_know_are_named(make_clip: Callable[..., Clip]) -> None:
    check_known(make_clip(), ["a cat.", "Large  dog"])
    with pytest.raises(UserError, match=r"does not know the words lion, cub of .* --classes: a, photo, of, "):
        check_known(make_clip(), ["lion", "cat", "lion cub"])
    with pytest.raises(UserError, match=r"w7, \.\.\. \(20 in all\)"):
        check_known(make_clip(), [f"w{number}" for number in range(20)])


@pytest.mark.parametrize(
    ("names", "seen", "message"),
    [
        (("cat", "dog", "cat"), SEEN, "twice: cat"),
        (("cat", " ", "dog"), SEEN, "empty"),
        ((), (), "needs class names"),
        (("cat", "dog"), SEEN, "2 class names"),
    ],
)
def test_faulty_names_are_refused(
    make_clip: Callable[..., Clip], tmp_path: Path, names: tuple[str, ...], seen: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        encode_vocabulary(make_clip(), names, seen, "single", tmp_path)
    np.save(tmp_path / "e.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(UserError, match=message):
        read_vocabulary(tmp_path / "e.npy", names, seen, 3)


def test_sets_of_templates() -> None:
    assert read_templates("single") == ("a photo of a {}",)
    assert len(set(read_templates("vild15"))) == 15
    imagenet = read_templates("imagenet80")
    assert len(set(imagenet)) == 80
    assert imagenet[0] == "a bad photo of a {}." and all(t.count("{}") == 1 for t in imagenet)


def test_templates_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a {}\n\n  the {} of {braces}\n")
    assert read_templates(str(path)) == ("a {}", "the {} of {braces}")
    path.write_text("\ufeffa photo of a {}\r\n", encoding="utf-8")
    assert read_templates(str(path)) == ("a photo of a {}",), "some editors put a mark first"
    assert read_templates("one {}") == ("one {}",)
    assert read_templates(["x {}", "y {}"]) == ("x {}", "y {}")


def test_faulty_templates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'imagenet80'"):
        read_templates("imagenet")
    with pytest.raises(UserError, match="exactly once"):
        read_templates(["a photo"])
    with pytest.raises(UserError, match="exactly once"):
        read_templates("{} and {}")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=r"empty\.txt"):
        read_templates(str(tmp_path / "empty.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bytes\.txt"):
        read_templates(str(tmp_path / "bytes.txt"))


def unit_rows(dtype: str = "float32") -> Any:
    rows = np.random.default_rng(0).standard_normal((3, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_stored_embeddings_are_not_changed(tmp_path: Path, dtype: str) -> None:
    rows = unit_rows(dtype)
    np.save(tmp_path / "e.npy", rows)
    vocabulary = read_vocabulary(tmp_path / "e.npy", NAMES, SEEN, 8)
    assert torch.equal(vocabulary.embeddings, torch.from_numpy(rows.astype(np.float32)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (unit_rows()[:2], r"float32 \(2, 8\); expected floats of shape \(3, 8\)"),
        (unit_rows()[:, :4], "expected floats"),
        (unit_rows() * np.array([[1], [1.02], [1]], np.float32), r"row 1 \(dog\) has norm 1.02"),
        (unit_rows() * np.array([[1], [1], [np.nan]], np.float32), r"row 2 \(tree\) has norm nan"),
        (np.eye(3, 8, dtype=np.int64), "int64"),
        (np.array([None, {}], dtype=object), "cannot be read"),
    ],
)
def test_faulty_stored_embeddings_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    np.save(tmp_path / "e.npy", rows)
    with pytest.raises(UserError, match=message):
        read_vocabulary(tmp_path / "e.npy", NAMES, SEEN, 8)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.npy"):
        read_vocabulary(tmp_path / "absent.npy", NAMES, SEEN, 8)
    np.savez(tmp_path / "many.npz", unit_rows())
    with pytest.raises(UserError, match="archive of arrays"):
        read_vocabulary(tmp_path / "many.npz", NAMES, SEEN, 8)


@pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="the released embeddings are not here")
@pytest.mark.parametrize(("file", "classes"), [("voc12_single", 20), ("coco_multi", 171)])
def test_the_released_embeddings(file: str, classes: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    embeddings = read_vocabulary(EMBEDDINGS / f"{file}.npy", names, [True] * classes, 512).embeddings
    assert embeddings.shape == (classes, 512) and embeddings.dtype == torch.float32
    deviation = (embeddings.norm(dim=1) - 1).abs().max()
    assert 0 < deviation < 5.2e-4  # as stored: float16, not normalised again
