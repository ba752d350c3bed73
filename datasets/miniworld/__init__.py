"""The embedded default: a miniature world that needs no download, and a small CLIP that was pre-trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from zsbench.dataset import Dataset, Defaults, EvalProtocol, Sample
from zsbench.errors import UserError, did_you_mean
from zsbench.registry import register_dataset

from .scene import Scene, scene
from .world import CLASSES, PALETTE, SPLITS, STUFF, THINGS, UNSEEN

HERE = Path(__file__).parent


class World(Dataset):
    """The names, the CLIP and the recipe that both data sets share; `splits` says where a data set's own scenes are."""

    classes = CLASSES
    unseen = UNSEEN
    palette = PALETTE
    groups = {
        "unseen things": tuple(name for name in THINGS if name in UNSEEN),
        "unseen stuff": tuple(name for name in STUFF if name in UNSEEN),
    }
    defaults = Defaults(
        clip=str(HERE / "clip.json"),
        weights=str(HERE / "clip.safetensors"),
        words=str(HERE / "words.npz"),
        trained_on="other scenes of the same world, with captions that name all classes (datasets/miniworld/CLIP.md)",
        templates="single",
        protocol=EvalProtocol(short_side=None, crop=None, stride=None),
        recipe={
            "iterations": 600,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "warmup_iterations": 30,
            "crop": 96,
            "short_side": None,
            "scale": (1.0, 1.0),
            "category_limit": 1.0,
            "photometric": False,
            "workers": 0,
        },
    )
    splits: Mapping[str, str]
    """The scenes (`world.SPLITS`) of each split."""

    def ids(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            raise UserError(
                f"{self.name} has no split {split!r}: {', '.join(self.splits)}.{did_you_mean(split, self.splits)}"
            )
        return [f"{split}-{number:04d}" for number in range(SPLITS[self.splits[split]].size)]

    def read(self, split: str, image_id: str) -> Sample:
        drawn = rendered(self.splits[split], int(image_id.rpartition("-")[2]))
        return Sample(image_id, drawn.image, drawn.label.astype(np.int32))


@register_dataset("miniworld")
class Miniworld(World):
    """48 drawn things over 12 textures at 96 px, 50 seen and 10 unseen classes, made on the fly: one or two large things."""

    splits = {name: name for name in ("train", "val", "single", "pretrain-single", "pretrain")}


@register_dataset("miniworld-scenes")
class MiniworldScenes(World):
    """The same things and textures, crowded: two to five small things on one or two stuffs."""

    like = "miniworld"
    splits = {"train": "scenes-train", "val": "scenes-val"}


@lru_cache(maxsize=2400)
def rendered(split: str, index: int) -> Scene:
    """A scene, drawn once: training passes over the same ones again and again."""
    return scene(split, index)
