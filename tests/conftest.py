"""Fixtures that many tests share; the toys that they hand out are in `toys.py`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toys import TINY_CLIP, Squares, build_result

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary
from zsbench.result import Result

SHARED = Path(__file__).resolve().parents[2] / "shared"

GOLDENS = (Path(__file__).parent / "goldens", SHARED / "goldens")
"""Reference outputs: the committed ones, then the full sets beside the checkout."""


def pytest_configure(config: pytest.Config) -> None:
    """The processes that share the tests out, and what they start, have a thread each."""
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("ZSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


_OPENED: list[str] = []


@pytest.fixture(scope="session")
def opened() -> list[str]:
    """The files that Python has opened, by the path that it was given."""
    sys.addaudithook(lambda event, words: _OPENED.append(str(words[0])) if event == "open" else None)
    return _OPENED


@pytest.fixture
def bait(tmp_path: Path, opened: list[str]) -> Iterator[Path]:
    """A file that other files name. Nobody may open it, and so nobody can import it."""
    path = tmp_path / "bait.py"
    path.write_text("raise SystemExit('imported')\n")
    opened.clear()
    yield path
    assert str(path) not in opened


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of facts, goldens and real data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent")
    return SHARED


class Goldens:
    """A folder of reference outputs, wherever each of its files is; a test that asks for an absent one is skipped."""

    def __init__(self, system: str) -> None:
        self.system = system

    def __truediv__(self, name: str) -> Path:
        found = [folder / self.system / name for folder in GOLDENS if (folder / self.system / name).is_file()]
        if not found:
            pytest.skip(f"no reference outputs {self.system}/{name} beside the checkout")
        return found[0]


@pytest.fixture(scope="session")
def goldens_of() -> type[Goldens]:
    """The reference outputs of a system, by the name of its folder."""
    return Goldens


@pytest.fixture(scope="session")
def tiny_clip_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "tiny.json"
    path.write_text(json.dumps(TINY_CLIP))
    return str(path)


@pytest.fixture(autouse=True)
def brief_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs within a test's process measure their speed for a moment; nothing of a test hangs on how well."""
    execution = sys.modules.get("zsbench.runs.execution")  # a test that needs none shall not wait for its imports
    if execution is not None:
        monkeypatch.setattr(execution.Run.profile, "__defaults__", (0.2,))


@pytest.fixture
def tiny_clip(tiny_clip_config: str) -> Clip:
    return load_clip(tiny_clip_config, "random")


@pytest.fixture(scope="session")
def subset() -> Callable[[Vocabulary, Tensor], Vocabulary]:
    """The words of a vocabulary where a bool (W,) is True, in order: what a method is told while it learns."""

    def choose(whole: Vocabulary, keep: Tensor) -> Vocabulary:
        words = tuple(word for word, kept in zip(whole.words, keep.tolist(), strict=True) if kept)
        return Vocabulary(words, whole.embeddings[keep], whole.seen[keep])

    return choose


@pytest.fixture
def squares() -> Squares:
    return Squares()


@pytest.fixture
def make_result() -> Callable[..., Result]:
    return build_result
