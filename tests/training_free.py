"""Reference outputs of the released training-free methods, and CLIP under the weights that they were made with."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsbench.clip.model import Clip, load_clip
from zsbench.clip.text import Vocabulary
from zsbench.dataset import EvalProtocol
from zsbench.evaluation.evaluator import as_classes
from zsbench.evaluation.prediction import predict_labels
from zsbench.method import ImageBatch
from zsbench.registry import load_method_class

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens"
ROUNDED = ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323))
"""CLIP's mean and deviation in grey levels, as mmsegmentation's configurations write them."""


@cache
def rules() -> ModuleType:
    """The rules from which weights, images and texts of the reference outputs follow."""
    path = GOLDENS / "training-free" / "fill.py"
    if not path.is_file():
        pytest.skip("the golden outputs are not here")
    spec = importlib.util.spec_from_file_location("golden_rules", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(name: str) -> Any:
    """A file of reference outputs."""
    rules()
    return np.load(GOLDENS / name)


def fill(module: Any, rule: Callable[[str, tuple[int, ...]], Any], prefix: str = "") -> None:
    """Give every tensor of the module the value that its name has by the rule."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            value = rule(prefix + key, tuple(tensor.shape))
            if value is not None:
                tensor.copy_(torch.from_numpy(np.asarray(value)))


@cache
def ruled_clip() -> Clip:
    """ViT-B/16 whose image encoder follows the rule."""
    rule = rules().rule
    clip = load_clip("ViT-B-16-quickgelu", "random")
    fill(clip.model.visual, rule, "visual.")
    return clip


def build(clip: Clip, name: str, texts: Any, rounded: bool = True, **options: Any) -> Any:
    """A method that knows `texts`, a row for each word; `rounded`: with CLIP's normalisation in rounded grey levels."""
    cls = load_method_class(name)
    method = cls(clip, cls.Options(**options)).eval()
    if rounded and (method.mean, method.std) == (clip.mean, clip.std):
        method.mean, method.std = (tuple(level / 255 for level in levels) for levels in ROUNDED)
    rows = torch.from_numpy(np.asarray(texts, np.float32))
    method.set_vocabulary(Vocabulary(tuple(map(str, range(len(rows)))), rows, torch.ones(len(rows), dtype=torch.bool)))
    return method


def picture(height: int, width: int, tag: str) -> Tensor:
    """One image as methods see it: float32 (1, 3, H, W), 0..1."""
    return torch.from_numpy(rules().image(height, width, tag))[None] / 255


@torch.inference_mode()
def labelled(
    method: Any, image: Tensor, size: tuple[int, int], owners: Sequence[int] | None = None, **protocol: Any
) -> NDArray[np.int32]:
    """The label map of an image as the harness makes it. `owners`: the class of each word; background by threshold is 0."""
    whole = {"short_side": None, "crop": None, "stride": None}
    classes = [*(range(len(method.vocabulary)) if owners is None else owners), 0]
    words = predict_labels(
        method, ImageBatch(image), [size], EvalProtocol(**(whole | protocol)), word_to_class=classes
    )[0]
    return as_classes(words, classes).numpy()


def assert_same_labels(found: NDArray[Any], expected: NDArray[Any], pixels: int = 6) -> None:
    assert found.shape == expected.shape
    assert (found != expected).sum() <= pixels


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance, rtol=0)
