"""Checkpoints hold what was learnt, and refuse what does not fit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zsbench.checkpoint import (
    CheckpointInfo,
    load_trainable_state_dict,
    read_checkpoint,
    read_info,
    save_checkpoint,
    trainable_state_dict,
)
from zsbench.errors import UserError

INFO = CheckpointInfo(
    zsbench_version="0",
    method="m",
    options={"a": 1},
    clip="c",
    clip_sha256=None,
    dataset="d",
    classes=["x", "y"],
    unseen=["y"],
    names_sha256="0",
    templates="single",
    setting="inductive",
    seed=0,
    recipe={},
)


def module(width=3):
    net = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    net[0].bias.requires_grad_(False)
    return net


def test_only_what_may_have_changed_is_kept():
    assert set(trainable_state_dict(module())) == {
        "0.weight",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }


def test_round_trip(tmp_path):
    net, other = module(), module()
    save_checkpoint(tmp_path / "c.safetensors", net, INFO)
    info, state = read_checkpoint(tmp_path / "c.safetensors")
    load_trainable_state_dict(other, state, "c")
    assert info == INFO
    assert torch.equal(net[0].weight, other[0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.weight"), "missing 0.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            lambda s: s.update({"0.weight": torch.zeros(5, 2)}),
            r"0.weight is \(5, 2\), the method has \(3, 2\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state = dict(trainable_state_dict(module()))
    change(state)
    with pytest.raises(UserError, match=message):
        load_trainable_state_dict(module(), state, "c")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "absent.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with pytest.raises(UserError, match="no zsbench checkpoint"):
        read_checkpoint(tmp_path / "junk.safetensors")


def test_equal_checkpoints_are_equal_files(tmp_path):
    net = module()
    for name in "abcd":
        save_checkpoint(tmp_path / name, net, INFO)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


def test_no_flipped_bit_is_taken_for_weights(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, module(), INFO)
    data = path.read_bytes()
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        with pytest.raises(UserError, match=r"c\.safetensors( is|:)"):
            read_checkpoint(path)
    for size in range(0, len(data), 50):
        path.write_bytes(data[:size])
        with pytest.raises(UserError):
            read_checkpoint(path)


def test_a_checkpoint_made_elsewhere_needs_no_digest(tmp_path):
    net = module()
    tensors = {name: tensor.clone() for name, tensor in trainable_state_dict(net).items()}
    save_file(tensors, tmp_path / "c.safetensors", {"zsbench": INFO.model_dump_json()})
    info, state = read_checkpoint(tmp_path / "c.safetensors")
    assert info == INFO and torch.equal(state["0.weight"], net[0].weight)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("false", "expected a JSON object"),
        ('"x"', "expected a JSON object"),
        ("{", "not a readable description"),
        ("[" * 100_000, "not a readable description"),
        ("{}", "zsbench_version: Field required"),
        (json.dumps({**INFO.model_dump(), "seed": "²"}), "seed='²'"),
        (json.dumps({**INFO.model_dump(), "classes": "xy"}), "classes='xy'"),
        (json.dumps({**INFO.model_dump(), "method": "\ud800"}), "not a description"),
        (
            json.dumps({**INFO.model_dump(), "recipe": "R"}).replace('"R"', '{"a":' * 900 + "1" + "}" * 900),
            "description",
        ),
        (
            json.dumps(INFO.model_dump(exclude={"request"}) | {"command": "rm -rf /"}),
            "no command line",
        ),
    ],
)
def test_what_a_checkpoint_says_is_checked(tmp_path, said, message):
    save_file({"w": torch.zeros(1)}, tmp_path / "c.safetensors", {"zsbench": said})
    with pytest.raises(UserError, match=rf"c\.safetensors: .*{message}"):
        read_info(tmp_path / "c.safetensors")
