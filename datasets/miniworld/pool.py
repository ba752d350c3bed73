"""A pool of rendered scenes on disk, so that pre-training need not wait for the renderer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import Scene, Thing, scene
from .world import SIZE, SPLITS, WORLD_VERSION

CHUNK = 500


@dataclass(frozen=True, eq=False)
class Pool:
    """`images`: uint8 (N, 96, 96, 3), read from disk on demand. `scenes`: what is in each; no labels."""

    images: NDArray[np.uint8]
    scenes: list[tuple[tuple[Thing, ...], tuple[str, ...]]]

    def __len__(self) -> int:
        return len(self.scenes)

    def scene(self, index: int) -> Scene:
        """The scene without its label, which pre-training must not see."""
        return Scene(self.images[index], np.zeros((0, 0), np.uint8), *self.scenes[index])


def open_pool(folder: Path, split: str, processes: int) -> Pool:
    """All scenes of a split, rendered into `folder` unless they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    count = SPLITS[split].size
    stem = folder / f"{split}-{count}-v{WORLD_VERSION}"
    raw, told = stem.with_suffix(".raw"), stem.with_suffix(".json")
    shape = (count, SIZE, SIZE, 3)
    if not told.exists():
        np.memmap(raw, np.uint8, "w+", shape=shape).flush()
        jobs = [(raw, shape, split, start) for start in range(0, count, CHUNK)]
        with get_context("spawn").Pool(processes) as workers:
            contents = [content for part in workers.imap(_render, jobs) for content in part]
        told.write_text(json.dumps(contents))
    scenes = [
        (tuple(Thing(*thing) for thing in things), tuple(stuffs)) for things, stuffs in json.loads(told.read_text())
    ]
    return Pool(np.memmap(raw, np.uint8, "r", shape=shape), scenes)


def _render(job: tuple[Path, tuple[int, ...], str, int]) -> list[Any]:
    raw, shape, split, start = job
    images = np.memmap(raw, np.uint8, "r+", shape=shape)
    contents = []
    for index in range(start, min(start + CHUNK, shape[0])):
        drawn = scene(split, index)
        images[index] = drawn.image
        contents.append([list(map(list, drawn.things)), list(drawn.stuffs)])
    images.flush()
    return contents
