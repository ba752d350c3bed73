"""Reference outputs of the released systems, the rules of their weights and inputs, and what they call our tensors."""

from __future__ import annotations

import importlib.util
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.methods.deeplab import caffe_name

GOLDENS = Path(__file__).parents[4] / "shared" / "goldens"
WORDS = GOLDENS.parent / "data" / "wordvectors"

V3_NAMES = (
    (r"aspp\.convs\.0\.0", "aspp.aspp1.atrous_conv"),
    (r"aspp\.convs\.0\.1", "aspp.aspp1.bn"),
    (r"aspp\.convs\.([123])\.0", lambda m: f"aspp.aspp{int(m[1]) + 1}.atrous_conv"),
    (r"aspp\.convs\.([123])\.1", lambda m: f"aspp.aspp{int(m[1]) + 1}.bn"),
    (r"aspp\.convs\.4\.([12])", r"aspp.global_avg_pool.\1"),
    (r"aspp\.project\.0", "aspp.conv1"),
    (r"aspp\.project\.1", "aspp.bn1"),
    (r"decoder\.project\.0", "decoder.conv1"),
    (r"decoder\.project\.1", "decoder.bn1"),
)
"""Our tensors of DeepLab v3+ (torchvision's names, which are JoEm's) in ZS3's checkpoints."""


def v2_name(name: str, backbone: str, head: str) -> str:
    """The released name of a tensor of our `DeepLabV2`."""
    if name.startswith("backbone.body."):
        return backbone + caffe_name(name.removeprefix("backbone.body."))
    branch, leaf = re.fullmatch(r"head\.branches\.(\d)\.(\w+)", name).groups()  # type: ignore[union-attr]
    return f"{head}c{branch}.{leaf}"


def v3_name(name: str, zs3: bool) -> str:
    """The released name of a tensor of our `DeepLabV3Plus`."""
    name = name.replace("backbone.body.", "backbone.")
    for pattern, new in V3_NAMES if zs3 else ():
        name = re.sub(f"^{pattern}", new, name)
    return name


def _module(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def rule() -> SimpleNamespace:
    """The rules: `fill_(module, name)`, `image(h, w, tag)`, `labels`, `blocks`, `noise`, `words`."""
    if not GOLDENS.is_dir():
        pytest.skip("reference outputs are not beside this checkout")
    shared = _module(GOLDENS / "twostage" / "fill.py", "golden_fill")
    own = _module(GOLDENS / "preclip" / "fill_preclip.py", "golden_fill_preclip")

    def fill_(module: nn.Module, name: Callable[[str], str] = str) -> None:
        with torch.no_grad():
            for key, tensor in module.state_dict().items():
                array = own.weight(name(key), tuple(tensor.shape), shared.det_array)
                if array is not None:
                    tensor.copy_(torch.from_numpy(array))

    return SimpleNamespace(
        fill_=fill_,
        image=lambda *size_and_tag: torch.from_numpy(shared.det_image(*size_and_tag)).to(torch.get_default_dtype()),
        labels=lambda *arguments: torch.from_numpy(own.labels(*arguments)),
        blocks=blocks,
        noise=noise,
    )


def noise_state(tag: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(tag.encode()) & 0x7FFFFFFF)


def blocks(height: int, width: int, choices: list[int], tag: str, cell: int = 32) -> Tensor:
    """Labels int64 (H, W) in squares of `cell` pixels."""
    rs = noise_state(f"label:{tag}")
    grid = rs.randint(0, len(choices), (-(-height // cell), -(-width // cell)))
    return torch.from_numpy(np.kron(np.array(choices)[grid], np.ones((cell, cell), np.int64))[:height, :width])


def noise(kind: str, shape: tuple[int, ...], tag: str) -> Tensor:
    """Uniform (`u`) or Gaussian (`n`), drawn in single precision."""
    rs = noise_state(f"noise:{tag}")
    array = rs.uniform(size=shape) if kind == "u" else rs.standard_normal(shape)
    return torch.from_numpy(np.asarray(array, np.float32)).to(torch.get_default_dtype())


@pytest.fixture
def double() -> Iterator[None]:
    """The test computes in double precision; inputs and weights are the single-precision ones of the rules."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=["single", "double"])
def precision(request: pytest.FixtureRequest) -> str:
    """The test runs in either. A reference in single precision is no nearer to the truth than its own rounding."""
    if request.param == "double":
        request.getfixturevalue("double")
    return str(request.param)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Any]]:
    """The arrays of a reference file."""

    def load(name: str) -> dict[str, Any]:
        path = GOLDENS / "preclip" / f"{name}.npz"
        if not path.is_file():
            pytest.skip("reference outputs are not beside this checkout")
        with np.load(path, allow_pickle=False) as stored:
            return {key: np.asarray(stored[key]) for key in stored.files}

    return load


@pytest.fixture(scope="session")
def words() -> Callable[[str], dict[str, Any]]:
    """The arrays of a file of word vectors."""

    def load(name: str) -> dict[str, Any]:
        path = WORDS / f"{name}.npz"
        if not path.is_file():
            pytest.skip("word vectors are not beside this checkout")
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)

    return load


def fastnvec(stored: dict[str, Any]) -> Tensor:
    """fastText beside word2vec, of length 1: (rows, 600)."""
    rows = torch.from_numpy(np.concatenate([stored["fasttext"], stored["word2vec"]], 1))
    return F.normalize(rows.to(torch.get_default_dtype()), dim=1)


def assert_near(ours: Tensor, stored: Any, tolerance: float) -> None:
    """Largest absolute difference."""
    stored = np.asarray(stored)
    assert tuple(ours.shape) == stored.shape
    error = float(np.abs(ours.detach().numpy().astype(np.float64) - stored).max())
    assert error <= tolerance, f"{error:.3g} > {tolerance:.3g} (largest {np.abs(stored).max():.3g})"


def distance(ours: Tensor, stored: Any) -> float:
    """Euclidean, as a share of the reference's length."""
    stored = np.asarray(stored, np.float64)
    assert tuple(ours.shape) == stored.shape
    return float(np.linalg.norm(ours.detach().numpy().astype(np.float64) - stored) / np.linalg.norm(stored))


def assert_same_labels(ours: Tensor, stored: Any, pixels: int = 2) -> None:
    assert (ours.numpy() != stored).sum() <= pixels
