"""How well a CLIP knows the miniature world: measured on scenes that pre-training never shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .scene import Scene, scene
from .world import CLASSES, SPLITS, STUFF, THINGS

PROMPT = "a photo of a {}."
CROWDED = "scenes-train"

Tokenizer = Callable[[list[str]], Tensor]


def to_input(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (N, H, W, 3) to the normalised float32 (N, 3, H, W) that the image encoder takes."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


class Probe:
    """Scenes that pre-training does not show: `singles` of the split of that name, and `multi` crowded ones, of those that
    methods learn from: what they are measured on is not looked at."""

    def __init__(self, singles: int, multi: int, mean: Sequence[float], std: Sequence[float]) -> None:
        self.singles = [scene("single", i) for i in range(min(singles, SPLITS["single"].size))]
        self.multi = [scene(CROWDED, i) for i in range(min(multi, SPLITS[CROWDED].size))]
        self.normalisation = mean, std

    @torch.no_grad()
    def measure(self, model: Any, tokenizer: Tokenizer, prompt: str = PROMPT) -> dict[str, float]:
        """Percentages: `things` and `stuff`, zero-shot accuracy on single things (48-way) and their ground
        (12-way); `map_things` and `map_stuff`, mean average precision of finding them in crowded scenes."""
        training = model.training
        model.eval()
        texts = model.encode_text(tokenizer([prompt.format(name) for name in CLASSES]), normalize=True)
        similarity = self._similarity(model, self.singles, texts)
        things = torch.tensor([THINGS.index(s.things[0].name) if s.things else -1 for s in self.singles])
        ground = torch.tensor([STUFF.index(s.stuffs[0]) for s in self.singles])
        cut = len(THINGS)
        result = {
            "things": (similarity[:, :cut].argmax(1) == things)[things >= 0].float().mean().item(),
            "stuff": (similarity[:, cut:].argmax(1) == ground).float().mean().item(),
        }
        if self.multi:
            present = torch.tensor([[name in names(s) for name in CLASSES] for s in self.multi]).float()
            precision = average_precision(self._similarity(model, self.multi, texts), present)
            result["map_things"] = precision[:cut].nanmean().item()
            result["map_stuff"] = precision[cut:].nanmean().item()
        model.train(training)
        return {key: 100 * value for key, value in result.items()}

    def _similarity(self, model: Any, scenes: Sequence[Scene], texts: Tensor) -> Tensor:
        images = to_input(np.stack([s.image for s in scenes]), *self.normalisation)
        return torch.cat([model.encode_image(batch, normalize=True) @ texts.T for batch in torch.split(images, 80)])


def names(scene: Scene) -> set[str]:
    """The classes that are visible."""
    return {*(thing.name for thing in scene.things), *scene.stuffs}


def average_precision(scores: Tensor, present: Tensor) -> Tensor:
    """Of each column of (N, C) scores against 0/1; NaN for a column without any 1."""
    order = scores.argsort(0, descending=True)
    hits = present.gather(0, order)
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)[:, None]
    return (precision * hits).sum(0) / hits.sum(0)
