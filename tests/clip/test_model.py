"""Building CLIP and filling it: every form of file, and every way in which weights and model may differ."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from toys import TINY_CLIP

from zsbench.clip import pretrained
from zsbench.clip.model import load_clip, read_config
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 64, "heads": 1, "layers": 2},
}
WORDS = ["a", "photo", "of", "cat", "dog"]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """A function that writes a model config with changes, and names it."""

    def write(**changes: Any) -> str:
        path = tmp_path / "tiny.json"
        path.write_text(json.dumps(CONFIG | changes))
        return str(path)

    return write


def make_model(**changes: Any) -> Any:
    torch.manual_seed(7)
    return open_clip.CLIP(**(CONFIG | changes)).eval()


def save_as_openai(model: Any, path: Path) -> None:
    """A TorchScript archive as OpenAI released them: traced, float16, three numbers among the buffers."""
    for key, number in (("input_resolution", 32), ("context_length", 8), ("vocab_size", 9)):
        delattr(model, key) if hasattr(model, key) else None
        model.register_buffer(key, torch.tensor(number))
    for block in model.transformer.resblocks:  # OpenAI's blocks keep their causal mask as an attribute
        block.attn_mask = torch.zeros(8, 8)
    inputs = {"encode_image": torch.zeros(1, 3, 32, 32), "encode_text": torch.zeros(1, 8, dtype=torch.int64)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace_module(model, inputs, check_trace=False)
        traced.half()
        torch.jit.save(traced, str(path))


def saved(state: dict[str, Tensor], path: Path, form: str) -> Path:
    """Save a state dict in one of the forms that occur."""
    if form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif form == "training":
        torch.save({"epoch": 3, "name": "x", "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save(state, path)
    return path


def assert_same_outputs(model: Any, reference: Any, tolerance: float = 0) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = torch.tensor([[1, 3, 4, 8, 0, 0, 0, 0]])
    with torch.no_grad():
        for encode, inputs in (("encode_image", images), ("encode_text", texts)):
            expected = getattr(reference, encode)(inputs)
            torch.testing.assert_close(getattr(model, encode)(inputs), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("form", ["plain", "training", "safetensors"])
def test_a_local_file_fills_the_model(config: Callable[..., str], tmp_path: Path, form: str) -> None:
    reference = make_model()
    path = saved(reference.state_dict(), tmp_path / "weights.pt", form)
    clip = load_clip(config(), str(path))
    assert_same_outputs(clip.model, reference)
    assert clip.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == clip.fingerprint
    assert clip.weights.source == str(path) and not clip.weights.random
    assert clip.weights.missing == clip.weights.unexpected == ()
    assert (clip.image_size, clip.patch_size, clip.dim) == (32, 8, 16)
    assert clip.mean == open_clip.OPENAI_DATASET_MEAN and clip.std == open_clip.OPENAI_DATASET_STD


def test_the_model_is_frozen_and_in_float32(config: Callable[..., str], tmp_path: Path) -> None:
    half = {key: tensor.half() for key, tensor in make_model().state_dict().items()}
    clip = load_clip(config(), str(saved(half, tmp_path / "half.pt", "plain")))
    assert not clip.model.training
    for key, parameter in clip.model.named_parameters():
        assert parameter.dtype == torch.float32 and not parameter.requires_grad
        assert torch.equal(parameter, half[key].float())


def test_an_openai_archive_fills_the_model(config: Callable[..., str], tmp_path: Path) -> None:
    reference = make_model()
    expected = {key: tensor.half().float() for key, tensor in reference.state_dict().items()}
    save_as_openai(make_model(), tmp_path / "ViT-tiny.pt")
    clip = load_clip(config(), str(tmp_path / "ViT-tiny.pt"))
    assert clip.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in clip.model.state_dict().items())
    assert {"context_length", "input_resolution", "vocab_size"} <= set(clip.weights.unexpected)
    reference.load_state_dict(expected)
    assert_same_outputs(clip.model, reference)


def test_an_archive_is_read_as_torchscript_itself_reads_it(tmp_path: Path) -> None:
    save_as_openai(make_model(), tmp_path / "archive.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = torch.jit.load(str(tmp_path / "archive.pt")).state_dict()
    tensors = read_tensors(tmp_path / "archive.pt")
    assert reference.keys() <= tensors.keys()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in reference.items())
    assert all(key.endswith("attn_mask") for key in tensors.keys() - reference.keys())


class Hostile(nn.Module):
    """A module whose archive runs code when TorchScript loads it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        raise RuntimeError("code of the archive was run")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_code_in_an_archive_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    torch.jit.save(torch.jit.script(Hostile()), str(path))
    with pytest.raises(torch.jit.Error, match="code of the archive was run"):
        torch.jit.load(str(path))
    with pytest.raises(UserError) as error:
        read_tensors(path)
    assert "code of the archive" not in str(error.value)


def test_pickled_objects_are_refused(config: Callable[..., str], tmp_path: Path) -> None:
    torch.save({"state_dict": make_model()}, tmp_path / "whole.pt")
    with pytest.raises(UserError, match="objects other than tensors"):
        load_clip(config(), str(tmp_path / "whole.pt"))


@pytest.mark.parametrize("name", ["a.pt", "b.safetensors"])
def test_damaged_files_are_refused(config: Callable[..., str], tmp_path: Path, name: str) -> None:
    path = saved(make_model().state_dict(), tmp_path / name, "safetensors" if name[0] == "b" else "plain")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_clip(config(), str(path))
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="damaged"):
        load_clip(config(), str(path))
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no state dict"):
        load_clip(config(), str(tmp_path / "list.pt"))


def test_random_weights_follow_the_seed_alone(config: Callable[..., str]) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load_clip(config(), "random")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = load_clip(config(), "random"), load_clip(config(), "random", seed=1)
    assert_same_outputs(again.model, first.model)
    assert first.weights.random and first.weights.sha256 is None and first.weights.source == "random"
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_words_and_normalisation_come_from_the_config(config: Callable[..., str]) -> None:
    name = config(words=WORDS, preprocess_cfg={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]})
    clip = load_clip(name, "random")
    assert clip.mean == (0.5, 0.4, 0.3) and clip.std == (0.2, 0.2, 0.1)
    assert clip.tokenizer(["a photo of cat"]).tolist() == [[1, 3, 4, 5, 6, 8, 0, 0]]
    with pytest.raises(UserError, match=r"vocab_size of 10, but text_cfg says 9"):
        load_clip(config(words=[*WORDS, "tree"]), "random")


def test_without_words_clips_own_tokenizer_is_used(config: Callable[..., str]) -> None:
    tokens = load_clip(config(), "random").tokenizer(["a cat"])
    assert torch.equal(tokens, open_clip.SimpleTokenizer(context_length=8)(["a cat"]))


@pytest.mark.parametrize(
    ("name", "weights", "right"),
    [
        ("ViT-B-16", "openai", "ViT-B-16-quickgelu"),
        ("ViT-B-16", "metaclip_fullcc", "ViT-B-16-quickgelu"),
        ("ViT-L-14-336", "openai", "ViT-L-14-336-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "ViT-B-16"),
    ],
)
def test_a_tag_of_another_activation_is_refused_before_any_download(
    monkeypatch: pytest.MonkeyPatch, name: str, weights: str, right: str
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("a download was started")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(UserError, match=f"use --clip {right}\\."):
        load_clip(name, weights)


def test_all_known_pairs_are_judged_as_open_clip_would() -> None:
    for model, tag in open_clip.list_pretrained():
        config, notes = open_clip.get_model_config(model), open_clip.get_pretrained_cfg(model, tag)
        fits = bool(config.get("quick_gelu")) == bool(notes.get("quick_gelu")) or model == "roberta-ViT-B-32"
        if fits:
            pretrained.check_activation(model, tag, config, notes)
            continue
        with pytest.raises(UserError, match=f"use --clip {model}-quickgelu"):
            pretrained.check_activation(model, tag, config, notes)
        assert open_clip.get_pretrained_cfg(f"{model}-quickgelu", tag)


def test_an_openai_archive_in_a_plain_model_is_refused(config: Callable[..., str], tmp_path: Path) -> None:
    save_as_openai(make_model(), tmp_path / "tiny.pt")
    with pytest.raises(UserError, match=r'QuickGELU, but .* has plain GELU.* set "quick_gelu": true'):
        load_clip(config(quick_gelu=False), str(tmp_path / "tiny.pt"))
    with pytest.raises(UserError, match=r"use --clip ViT-B-16-quickgelu\."):
        load_clip("ViT-B-16", str(tmp_path / "tiny.pt"))


@pytest.mark.parametrize(
    ("url", "quick"),
    [
        ("https://openaipublic.azureedge.net/clip/models/{}/ViT-B-16.pt", True),
        (
            "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/vit_b_16-x-{:.8}.pt",
            False,
        ),
    ],
)
def test_a_published_file_is_known_by_its_hash(
    config: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, quick: bool
) -> None:
    path = saved(make_model().state_dict(), tmp_path / "renamed.pt", "plain")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    notes = {"url": url.format(digest), "quick_gelu": quick, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: [("some-model", "some-tag")])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, _: notes if model == "some-model" else {})
    assert load_clip(config(quick_gelu=quick), str(path)).mean == (0.1, 0.2, 0.3)
    with pytest.raises(UserError, match='set "quick_gelu"'):
        load_clip(config(quick_gelu=not quick), str(path))


def test_openais_address_holds_its_hash() -> None:
    """What recognising by hash relies on, in the open_clip that is installed."""
    notes = open_clip.get_pretrained_cfg("ViT-B-16", "openai")
    assert "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f" in notes["url"]
    assert notes["quick_gelu"]


def test_a_tag_is_downloaded_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(make_model().state_dict(), tmp_path / "downloaded.pt", "plain")
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: json.loads(json.dumps(CONFIG)))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda notes: str(path) if notes["url"] else "")
    clip = load_clip("ViT-B-16-quickgelu", "openai")
    assert clip.weights.source == "openai"
    assert clip.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(UserError, match=r"https://.*ViT-B-16\.pt.*--weights path/to/file"):
        load_clip("ViT-B-16-quickgelu", "openai")
    with pytest.raises(UserError, match=r"huggingface\.co/laion/CLIP-ViT-B-16-laion2B.*--weights path/to/file"):
        load_clip("ViT-B-16", "laion2b_s34b_b88k")


def test_tensors_that_do_not_fit_are_named(config: Callable[..., str], tmp_path: Path) -> None:
    def refused(state: dict[str, Tensor]) -> str:
        with pytest.raises(UserError) as error:
            load_clip(config(), str(saved(state, tmp_path / "w.pt", "plain")))
        return str(error.value)

    state = make_model().state_dict()
    cut = {key: tensor for key, tensor in state.items() if not key.startswith("visual.")}
    assert f"and {len(state) - len(cut) - 3} more" in refused(cut)
    assert "missing: visual.class_embedding, visual.conv1.weight" in refused(cut)
    assert "unexpected: visual.head.weight" in refused(state | {"visual.head.weight": torch.zeros(1)})
    misshapen = refused(state | {"ln_final.weight": torch.zeros(3)})
    assert "ln_final.weight (3,) instead of (64,)" in misshapen


def test_another_image_size_is_refused_and_named(config: Callable[..., str], tmp_path: Path) -> None:
    larger = make_model(vision_cfg=CONFIG["vision_cfg"] | {"image_size": 48})
    path = saved(larger.state_dict(), tmp_path / "larger.pt", "plain")
    with pytest.raises(UserError, match=r"images of 48x48 px, and position embeddings are not resized"):
        load_clip(config(), str(path))


def test_old_layouts_are_understood(config: Callable[..., str], tmp_path: Path) -> None:
    state = make_model().state_dict()
    state["logit_scale"] = state["logit_scale"].reshape(1)
    state["attn_mask"] = torch.zeros(8, 8)
    clip = load_clip(config(custom_text=True), str(saved(state, tmp_path / "old.pt", "plain")))
    assert clip.weights.unexpected == ("attn_mask",)
    assert_same_outputs(clip.model, make_model())


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("ViT-B/16", "random", "Did you mean 'ViT-B-16'"),
        ("absent.json", "random", r"absent\.json: no such model config"),
        ("ViT-B-16", "datacomp_xl", "Did you mean 'datacomp_xl_s13b_b90k'"),
        ("ViT-B-16", "folder/absent.pt", r"no file of weights folder/absent\.pt"),
        ("ViT-B-16", "absent.pt", r"no file of weights absent\.pt"),
        ("ViT-B-16", "opena1", "It has: openai, laion400m_e31"),
    ],
)
def test_unknown_names_get_a_suggestion(name: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_clip(name, weights)


def test_a_config_needs_a_file_of_weights(config: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="must be a local file or 'random', not 'openai'"):
        load_clip(config(), "openai")


def test_faulty_configs_are_refused(config: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="depth"):
        load_clip(config(depth=3), "random")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match=r"broken\.json: not a readable model config"):
        read_config(str(tmp_path / "broken.json"))
    (tmp_path / "other.json").write_text('{"embed_dim": 3}')
    with pytest.raises(UserError, match=r"vision_cfg, text_cfg"):
        read_config(str(tmp_path / "other.json"))


def test_a_resnet_has_no_patches(config: Callable[..., str]) -> None:
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    clip = load_clip(config(vision_cfg=resnet), "random")
    assert clip.image_size == 32
    with pytest.raises(UserError, match="vision transformer"):
        _ = clip.patch_size


def test_no_config_asks_for_code_of_its_own(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("open_clip.tokenizer.HFTokenizer", lambda name, length, **options: given.update(options) or "t")
    text = {"hf_tokenizer_name": "./evil", "tokenizer_kwargs": {"trust_remote_code": True, "clean": "lower"}}
    config = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], **text}}
    del config["words"]
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert load_clip(str(tmp_path / "c.json"), "random").tokenizer == "t"
    assert given == {"trust_remote_code": False, "clean": "lower"}


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("vision_cfg", {"width": 0}, "cannot build a model from"),
        ("vision_cfg", {"layers": "many"}, "cannot build a model"),
        ("text_cfg", {"heads": -1}, "cannot build a model"),
        (None, {"vision_cfg": None}, "vision_cfg: expected a JSON object"),
        (None, {"preprocess_cfg": [1]}, "preprocess_cfg: expected a JSON object"),
        (None, {"preprocess_cfg": {"mean": [1, 2]}}, "mean: expected three numbers"),
        (None, {"preprocess_cfg": {"std": [0, 1, 1]}}, "std: expected three numbers"),
        (None, {"words": [1, 2]}, "words: expected a list of words"),
    ],
)
def test_entries_of_a_config_that_nobody_expects_are_told(tmp_path, part, change, message):
    config = {**TINY_CLIP, **({part: {**TINY_CLIP[part], **change}} if part else change)}
    (tmp_path / "c.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message) as error:
        load_clip(str(tmp_path / "c.json"), "random")
    assert "c.json" in str(error.value)
