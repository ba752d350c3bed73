"""Pre-train a small backbone as a classifier: `python -m zsbench.methods.two_stage.pretrain --out FILE`.

It stands in for ImageNet, from which the released systems start, where images are too small for ImageNet's features. Only
seen classes are learnt, from images that show no unseen one, which so stays unknown to the backbone, too.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from zsbench.dataset import IGNORE, Dataset
from zsbench.registry import load_dataset_class

from .backbone import MINIATURE, Backbone
from .maskformer import IMAGENET_MEAN, IMAGENET_STD
from .presets import RANDOM

RATE, WEIGHT_DECAY = 2e-3, 0.05
HELD_OUT = 512
"""Images at the end of the split that are measured and not learnt from."""


class Classifier(nn.Module):
    """A backbone whose last features, averaged over the image, say which classes are in it."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, "batch", RANDOM)
        self.head = nn.Linear(self.backbone.channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W), RGB in 0..255, normalised here as MaskFormer does."""
        features = self.backbone(normalize(images, IMAGENET_MEAN, IMAGENET_STD))[-1]
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class Examples:
    """Images of a split that show seen classes alone, and which: drawn again and again, mirrored by chance."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self.dataset, self.split, self.ids = dataset, split, dataset.ids(split)
        self.seen = np.flatnonzero(dataset.seen_mask)

    def batches(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images float32 (size, 3, H, W) in 0..255 and 0/1 (size, seen classes), without end."""
        rng = np.random.default_rng(seed)
        kept: list[tuple[Tensor, Tensor]] = []
        while True:
            for index in rng.integers(0, len(self.ids) - HELD_OUT, size):
                example = self.read(self.ids[index])
                if example is not None:
                    image, present = example
                    kept.append((image.flip(-1) if rng.random() < 0.5 else image, present))
            while len(kept) >= size:
                pictures, truths = zip(*kept[:size], strict=True)
                kept = kept[size:]
                yield torch.stack(pictures), torch.stack(truths)

    def held_out(self) -> list[tuple[Tensor, Tensor]]:
        """The last images of the split that show seen classes alone."""
        return [found for image_id in self.ids[-HELD_OUT:] if (found := self.read(image_id)) is not None]

    def read(self, image_id: str) -> tuple[Tensor, Tensor] | None:
        """An image float32 (3, H, W) and which seen classes are in it; None for one with an unseen class."""
        sample = self.dataset.read(self.split, image_id)
        found = np.unique(sample.label[sample.label != IGNORE])
        if not np.isin(found, self.seen).all():
            return None
        image, present = (torch.from_numpy(each) for each in (sample.image, np.isin(self.seen, found)))
        return image.permute(2, 0, 1).float(), present.float()


def pretrain(examples: Examples, backbone: str, steps: int, size: int, seed: int) -> Classifier:
    """A classifier after `steps` batches: AdamW, a rate falling as a cosine, softmax with equal shares for what is there."""
    torch.manual_seed(seed)
    model = Classifier(backbone, len(examples.seen))
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    batches, held_out = examples.batches(size, seed), examples.held_out()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2
        images, present = next(batches)
        loss = F.cross_entropy(model(images), present / present.sum(1, keepdim=True))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1}: loss {loss.item():.3f}, found {share_found(model, held_out):.1f} %", flush=True)
    return model


@torch.no_grad()
def share_found(model: Classifier, examples: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Percentage of what is in the images that is among as many best-scored classes as there are in each."""
    model.eval()
    hits, total = 0.0, 0.0
    for part in range(0, len(examples), 64):
        images, present = (torch.stack(each) for each in zip(*examples[part : part + 64], strict=True))
        ranks = model(images).argsort(1, descending=True).argsort(1)
        hits += present[ranks < present.sum(1, keepdim=True)].sum().item()
        total += present.sum().item()
    model.train()
    return 100 * hits / total


def main() -> None:
    """Train, and write the backbone alone: what is learnt in fp16, statistics of batch norm as they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--dataset", default="miniworld")
    parser.add_argument("--split", default="pretrain-single")
    parser.add_argument("--backbone", default=MINIATURE)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = load_dataset_class(options.dataset)()
    model = pretrain(Examples(dataset, options.split), options.backbone, options.steps, options.batch, options.seed)
    tensors = {name: t.half() if t.ndim > 1 else t for name, t in model.backbone.body.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, options.out)


if __name__ == "__main__":
    main()
