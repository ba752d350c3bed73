"""Checkpoints and weights, damaged or altered: tensors, or what is wrong with the file; code in them never runs."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from fuzzing import altered, as_json, damaged, fuzz
from torch import nn
from toys import TINY_CLIP

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo, load_trainable_state_dict, read_checkpoint, save_checkpoint
from zsbench.clip.model import load_clip
from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError
from zsbench.runs.own_classes import own_request
from zsbench.utils.torch_files import read_torch

pytestmark = pytest.mark.slow
STATE = {"decode_head.q_proj.weight": torch.zeros(2, 2), "backbone.prompt_embeddings": torch.zeros(1, 10, 4)}
STATE |= {"decode_head.decoder_1.layers.0.multihead_attn.q.weight": torch.zeros(2, 2), "x": torch.arange(9.0)}
DETECTRON = {"sem_seg_head.predictor.projection_layer.weight": torch.zeros(2, 2), "pixel_mean": torch.zeros(3, 1, 1)}
DETECTRON |= {"criterion.empty_weight": torch.ones(3), "backbone.res4.0.conv1.weight": torch.zeros(1)}
INFO = {
    **{"zsbench_version": "0", "method": "spnet", "options": {}, "clip": None, "clip_sha256": None, "seed": 0},
    **{"dataset": "miniworld", "classes": ["x", "y"], "unseen": ["y"], "names_sha256": "0", "templates": "single"},
    **{"setting": "inductive", "recipe": {}, "request": {"method": "spnet"}, "command": "zsbench train"},
}


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.inner(pixels)


def torch_files() -> list[bytes]:
    """Every form in which people save: zip, before 2020, TorchScript; bare, under names, with notes."""
    contents = (
        STATE,
        {"state_dict": STATE, "meta": {"CLASSES": ("a",), "config": "x"}},
        {"model": DETECTRON},
        {"ema": STATE},
        [1, {}],
    )
    found = []
    for content in contents:
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            found.append(stream.getvalue())
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(Scripted()), stream)
    return [*found, stream.getvalue()]


def within_a_zip(content: bytes, rng) -> bytes:
    """The entries of a zip file damaged, its directory and checksums whole."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(stream, "w") as made:
        for name in packed.namelist():
            inside = packed.read(name)
            made.writestr(name, damaged(inside, rng) if rng.random() < 0.4 else inside)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("inside", [False, True])
def test_files_of_torch(tmp_path: Path, inside: bool) -> None:
    path, seeds = tmp_path / "c.pth", torch_files()
    seeds = [each for each in seeds if each[:2] == b"PK"] if inside else seeds
    methods = [registry.load_method_class(name) for name in ("zegclip", "zegformer", "zsseg")]

    def make(rng) -> bytes:
        return (within_a_zip if inside else damaged)(seeds[int(rng.integers(len(seeds)))], rng)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_torch(path)
        for method in methods:
            if released := method.read_released(path):
                with suppress(UserError):
                    released.check(2, 3)
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_tensors(path).values())

    fuzz(make, read)


def test_model_configs(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    pixels = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "size": 32}
    forms = (TINY_CLIP, {"model_cfg": TINY_CLIP, "preprocess_cfg": pixels}, {**TINY_CLIP, "preprocess_cfg": pixels})

    def read(content) -> None:
        path.write_bytes(as_json(content))
        clip = load_clip(str(path), "random")
        assert clip.dim > 0 and len(clip.mean) == len(clip.std) == 3

    fuzz(lambda rng: altered(forms[int(rng.integers(len(forms)))], rng), read)


def test_our_own(tmp_path: Path) -> None:
    """By bytes, by the header of safetensors, and by what it says about itself."""
    path, net = tmp_path / "c.safetensors", nn.Linear(2, 3)
    save_checkpoint(path, net, CheckpointInfo(**INFO))
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])

    def make(rng) -> bytes:
        kind = rng.random()
        if kind < 0.3:
            return damaged(whole, rng)
        content = (
            header if kind < 0.5 else {**header, "__metadata__": {"zsbench": as_json(altered(INFO, rng)).decode()}}
        )
        text = as_json(altered(content, rng) if kind < 0.5 else content)
        return struct.pack("<Q", len(text)) + text + whole[8 + length :]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        info, state = read_checkpoint(path)
        own_request(["sky"], None, None, {"checkpoint": path})
        load_trainable_state_dict(net, state, str(path))
        assert info.classes is not None

    fuzz(make, read)
