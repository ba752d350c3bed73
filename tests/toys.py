"""Toys that many tests play with: a CLIP of a few thousand parameters, a dataset of coloured squares, a small result."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from zsbench.class_names import NameSet
from zsbench.dataset import IGNORE, Dataset, Defaults, EvalProtocol, Sample
from zsbench.method import Losses, Method
from zsbench.metrics.class_counts import Ints
from zsbench.metrics.counts import count
from zsbench.metrics.fingerprint import labels_fingerprint
from zsbench.metrics.intervals import Support, bootstrap
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts, accuracy, dice, iou, summary
from zsbench.optimisation import build_optimiser
from zsbench.result import Result
from zsbench.settings import Phase

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


class PixelClassifier(Method):
    """A 1x1 convolution; dropout makes it depend on the random state."""

    trainable = True

    def __init__(self, classes: int = 3, dropout: float = 0.2) -> None:
        super().__init__(None, None)
        self.head = nn.Conv2d(3, classes, 1)
        self.dropout = nn.Dropout(dropout)

    def predict(self, images):
        return self.head(images)

    def losses(self, images, labels):
        loss = F.cross_entropy(self.head(self.dropout(images)), labels, ignore_index=IGNORE)
        return Losses({"ce": loss}, (labels != IGNORE).sum())


class WordColours(Method):
    """Learns a colour for each word."""

    trainable = True

    def __init__(self, clip, options):
        super().__init__(clip, options)
        self.map = nn.Conv2d(3, clip.dim, 1)

    def predict(self, images):
        return torch.einsum("bdhw,cd->bchw", self.map(images), self.vocabulary.embeddings)

    def losses(self, images, labels):
        return {"ce": nn.functional.cross_entropy(self.predict(images), labels.clamp(min=-1), ignore_index=-1)}


class Phased(PixelClassifier):
    """All that a method may do while it trains, in three phases: the usual steps; labels made anew, two optimisers, steps
    without images, as many updates as an image has classes; a teacher."""

    def __init__(self) -> None:
        super().__init__(4)
        self.generator = nn.Linear(2, 3)
        self.teacher: tuple[Method, ...] = ()
        self.register_buffer("drawn", torch.zeros(()))

    @classmethod
    def phases(cls, setting, recipe, options):
        sgd = recipe.model_copy(update={"optimiser": "sgd", "schedule_every": 2, "gradient_clip": 1.0})
        return (
            Phase("usual", "inductive", "all", recipe),
            Phase("generate", "inductive", "all", sgd),
            Phase("imitate", "inductive", "all", sgd),
        )

    def begin_phase(self, phase, view):
        if phase.name == "generate":
            nn.init.uniform_(self.head.weight)  # drawn anew, from the random state
            view.relabel(self.relabelled)
        if phase.name == "imitate":
            self.teacher = (self.frozen_copy(),)

    @torch.no_grad()
    def relabelled(self, sample):
        scores = self.predict(torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255)
        return np.where(sample.label == IGNORE, scores[0].argmax(0).numpy(), sample.label)

    def optimisers(self, phase):
        if phase.name == "usual":
            return super().optimisers(phase)
        adam = phase.recipe.model_copy(update={"optimiser": "adam"})
        constant = [{"params": self.generator.parameters(), "scheduled": False}]
        return {
            "head": build_optimiser(phase.recipe, [{"params": self.head.parameters()}]),
            "generator": build_optimiser(adam, constant),
        }

    def train_step(self, step):
        if step.phase.name == "usual":
            return super().train_step(step)
        if step.number % 2:  # from noise alone
            noise = torch.rand(5, 2)
            fake = self.generator(noise)[..., None, None]
            unseen = F.cross_entropy(self.head(fake)[..., 0, 0], torch.full((5,), 3))
            step.update(generator=fake.square().mean(), head=unseen)
            return {"fake": fake.mean()}
        images, labels, _ = step.batch()
        self.drawn += 1
        for wanted in labels.unique():
            step.update(generator=(self.generator(torch.rand(5, 2)) - wanted).abs().mean())
        if self.teacher:
            labels = self.teacher[0].predict(images).argmax(1)
        loss = F.cross_entropy(self.predict(self.dropout(images)), labels, ignore_index=IGNORE)
        step.update(head=loss)
        return {"ce": loss}


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
            "classes_sha256": NameSet.plain("xy").sha256,
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


def recorded_result(records: Records, **changes: Any) -> Result:
    """What an evaluation makes of records of two classes, of which the second is unseen."""
    counts, about = Counts.of(records, 2), {"images": len(records.ids), "labels_sha256": labels_fingerprint(records)}
    whole = {
        "dataset": {**build_result().dataset.model_dump(), **about},
        "metrics": {name: asdict(found) for name, found in bootstrap(records, 2, np.array([True, False])).items()},
        "note": Support.of(records, 2).warning,
        "records_sha256": records.sha256(),
    }
    return build_result(counts=counts, **{**whole, **changes})


HALVES_SOURCE = '''\
@register_dataset("halves")
class Halves(Dataset):
    """Two coloured halves."""

    classes = ("red", "green", "blue")
    unseen = ("blue",)
    palette = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    defaults = Defaults(
        clip=os.environ.get("TINY_CLIP", Defaults.clip),
        weights="random",
        protocol=EvalProtocol(short_side=None, crop=None, stride=None),
        recipe={"iterations": 20, "batch_size": 4, "crop": 16, "short_side": None, "scale": (1, 1), "workers": 0,
                "learning_rate": 0.1, "warmup_iterations": 0, "category_limit": 1.0, "photometric": False},
    )

    def ids(self, split):
        return [f"{split}{i:02d}" for i in range(24)]

    def read(self, split, image_id):
        rng = np.random.default_rng([len(split), int(image_id[-2:])])
        top, bottom = rng.choice(3, 2, replace=False)
        label = np.full((16, 16), top, np.int32)
        label[8:] = bottom
        image = (np.array(self.palette)[label] * rng.uniform(0.6, 1)).astype(np.uint8)
        return Sample(image_id, image, label)
'''
"""A dataset of coloured halves, for plugins that tests write; it needs numpy, os and the names that a dataset needs."""


def some_rows(image_id: str, num_classes: int = 9) -> Ints:
    """The same rows for the same id, always; none for some."""
    rng = random.Random(ascii(image_id))
    label = np.array([rng.randrange(-1, num_classes) for _ in range(rng.choice([0, 12, 40]))], dtype=np.int32)
    prediction = np.array([rng.choice([c, rng.randrange(num_classes)]) for c in label.tolist()], dtype=np.int32)
    return count(label, prediction, num_classes)


def some_records(ids: list[str]) -> Records:
    return Records.of(ids, [some_rows(image_id) for image_id in ids])


ids_lists = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=[]), max_size=6), unique=True)
"""Ids of images, of any letters."""
