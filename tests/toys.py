"""Toys that many tests play with: a CLIP of a few thousand parameters, a dataset of coloured squares, a small result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from zsbench.dataset import IGNORE, Dataset, Defaults, EvalProtocol, Sample
from zsbench.metrics.scores import Counts, accuracy, dice, iou, summary
from zsbench.result import Result

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 14, "width": 16, "heads": 2, "layers": 1},
    "words": ["a", "photo", "of", "red", "green", "blue", "square", "the", "grey", "black"],
}


class Squares(Dataset):
    """Grey images with one square in each of three colours; blue is unseen, the top row is void."""

    name = "squares"
    classes = ("grey", "red", "green", "blue")
    unseen = ("blue",)
    palette = ((128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255))
    groups = MappingProxyType({"unseen things": ("blue",)})
    side = 32
    counts = MappingProxyType({"train": 12, "val": 8})

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        self.defaults = Defaults(
            clip="",
            weights="random",
            protocol=EvalProtocol(short_side=None, crop=None, stride=None),
            recipe={
                "iterations": 4,
                "batch_size": 2,
                "crop": 32,
                "short_side": None,
                "scale": (1, 1),
                "workers": 0,
            },
        )

    def ids(self, split: str) -> Sequence[str]:
        return [f"{split}{i}" for i in range(self.counts[split])]

    def read(self, split: str, image_id: str) -> Sample:
        rng = np.random.default_rng([len(split), int(image_id.removeprefix(split))])
        label = np.zeros((self.side, self.side), np.int32)
        for colour in (1, 2, 3):
            top, left = rng.integers(1, self.side - 10, 2)
            label[top : top + 9, left : left + 9] = colour
        image = np.array(self.palette, np.uint8)[label]
        label[0] = IGNORE
        return Sample(image_id, image, label)


def build_result(percent: float = 50.0, counts: Counts | None = None, **changes: Any) -> Result:
    """A small valid result that its counts of two classes bear out, by default with an IoU of `percent` each; `changes`
    replace its fields."""
    right = round(10 * percent)
    counts = counts or Counts(*(np.array([number, number]) for number in (right, right, 1000)))
    columns = {"iou": iou(counts), "accuracy": accuracy(counts), "dice": dice(counts)}
    error = {"stderr": 1.0, "low": 0.0, "high": 100.0}
    weights = {"source": "w", "sha256": "0" * 64, "random": False, "missing": [], "unexpected": []}
    content = {
        "date": "2026-01-01T00:00:00+00:00",
        "verb": "run",
        "request": {},
        "command": "zsbench run",
        "method": {
            "name": "m",
            "variant": None,
            "options": {},
            "clip": "c",
            "templates": "single",
            "weights": weights,
            "checkpoint_sha256": None,
        },
        "dataset": {
            "name": "d",
            "split": "val",
            "images": 2,
            "complete": True,
            "classes": 2,
            "unseen": ["y"],
            "groups": {},
            "names": "plain",
            "classes_sha256": "a" * 64,
            "labels_sha256": "b" * 64,
        },
        "setting": "inductive",
        "shown": {"pixels": "seen", "names": "seen"},
        "protocol": {},
        "seed": 0,
        "metrics": {
            name: {"value": value, **error} for name, value in summary(counts, np.array([True, False])).items()
        },
        "classes_scored": 2,
        "per_class": [
            {"name": name, "seen": name == "x"}
            | {column: int(getattr(counts, column)[index]) for column in ("tp", "pred", "gt")}
            | {column: values[index] for column, values in columns.items()}
            for index, name in enumerate("xy")
        ],
        "timing": {"data": 0, "model": 0, "post": 0, "metrics": 0},
        "environment": {
            "zsbench": "0",
            "commit": None,
            "dirty": None,
            "versions": {},
            "device": "cpu",
            "device_name": "x",
            "threads": 1,
            "dtype": "float32",
        },
        "records_sha256": "c" * 64,
    }
    return Result.model_validate({**content, **changes})
