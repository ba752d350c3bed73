"""Files of torch in whatever form people save them; damaged ones, bombs and code are refused in a sentence."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from zsbench import registry
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError
from zsbench.utils.torch_files import find_state, is_torchscript, read_torch

STATE = {"a.weight": torch.arange(3.0), "b.bias": torch.zeros(2)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"model_ema": {"module": state, "decay": 0.9}},
        lambda state: {"ema": {"n_averaged": torch.tensor(3), **{f"module.{n}": t for n, t in state.items()}}},
        lambda state: {"model_state_dict": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_weights_are_found_however_they_are_wrapped(tmp_path, wrap, zipped):
    torch.save(wrap(STATE), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "w.pth")
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_what_lies_in_itself_is_no_state_dict():
    endless = {"epoch": 1}
    endless["model"] = endless
    assert find_state(endless) == {} == find_state([STATE]) == find_state({1: torch.zeros(1)})


def torchscript(path: Path, padding: int = 0) -> Path:
    """A TorchScript archive, with an entry of zeros that packs very well."""
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    with zipfile.ZipFile(stream) as packed, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in packed.namelist():
            made.writestr(name, packed.read(name))
        if padding:
            made.writestr(f"{name.split('/')[0]}/data/9", bytes(padding))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = torchscript(tmp_path / "bomb.pt", 1 << 24)
    assert is_torchscript(path) and path.stat().st_size < 1 << 16
    unpacked = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, entry, *_: unpacked.append(entry) or b"")
    with pytest.raises(UserError, match=r"bomb\.pt cannot be read .*bytes would unpack to"):
        read_torch(path)
    assert not unpacked


@pytest.mark.parametrize("damage", ["directory", "end", "middle"])
def test_damaged_archives_are_told(tmp_path, damage):
    path = tmp_path / "w.pth"
    torch.save(STATE, path)
    content = path.read_bytes()
    entry = content.rindex(b"PK\1\2") + 28
    wrong = {"directory": content[:entry] + b"\xff\xff\xff\xff" + content[entry + 4 :], "end": content[:-30]}
    path.write_bytes(wrong.get(damage, content[: len(content) // 2]))
    is_torchscript(path)
    with pytest.raises(UserError, match=r"w\.pth cannot be read as a torch file"):
        read_torch(path)


@pytest.mark.parametrize(("method", "wrapper"), [("zegclip", "state_dict"), ("zegformer", "model")])
def test_releases_with_something_else_than_tensors_are_told(tmp_path, method, wrapper):
    zeg = {"decode_head.decoder_1.layers.0.multihead_attn.q.weight": STATE["b.bias"], "decode_head.q_proj.weight": 3}
    d2 = {"sem_seg_head.predictor.projection_layer.weight": "x"}
    torch.save({wrapper: zeg if method == "zegclip" else d2}, tmp_path / "r.pth")
    with pytest.raises(UserError, match=r"r\.pth: '.*' is no tensor"):
        registry.load_method_class(method).read_released(tmp_path / "r.pth")


def test_a_release_without_what_its_options_follow_from_is_told(tmp_path):
    state = {"decode_head.decoder_1.layers.0.multihead_attn.q.weight": STATE["b.bias"]}
    torch.save({"model": {**state, "decode_head.q_proj.weight": STATE["b.bias"]}}, tmp_path / "r.pth")
    with pytest.raises(UserError, match=r"r\.pth: backbone\.prompt_embeddings: expected a tensor of shape"):
        registry.load_method_class("zegclip").read_released(tmp_path / "r.pth")
