"""SPNet: pixels are projected into the space of word vectors (Xian et al., CVPR 2019; github.com/subhc/SPNet, MIT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.method import Scoring
from zsbench.recipe import Recipe
from zsbench.registry import register_method
from zsbench.settings import Phase, Setting, TrainingView

from ..deeplab import DeepLabV2, caffe_pixels, multiscale, resized
from .base import WordMethod, split
from .labels import cross_entropy, shrunk
from .options import SpNetOptions
from .views import agreed, taught, views


def projected(features: Tensor, vectors: Tensor) -> Tensor:
    """Logits (B, C, h, w): the dot product of each pixel of `features` (B, D, h, w) with each of `vectors` (C, D).

    Pixels are not normalised: their length stands for a temperature.
    """
    return torch.einsum("bdhw,cd->bchw", features, vectors)


@register_method("spnet")
class SpNet(WordMethod):
    """Projects pixels into the space of word vectors, with calibrated stacking (CVPR 2019)."""

    Options = SpNetOptions
    options: SpNetOptions
    teacher: tuple[SpNet, ...] = ()
    """A copy of the method as it was when self-training began, or none."""

    def __init__(self, clip: None, options: SpNetOptions) -> None:
        super().__init__(clip, options)
        self.network = DeepLabV2(options.backbone, options.norm, options.backbone_weights, options.dim)

    def maps(self, pixels: Tensor, vectors: Tensor) -> list[Tensor]:
        """Logits (B, C, h, w) at each scale of `pixels`, each at its own size, and where there are several their maximum."""
        maps = multiscale(lambda image: projected(self.network(image), vectors), pixels, self.options.scales)
        return maps if len(self.options.scales) > 1 else maps[:1]

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities of all classes (B, C, H, W) at the size of the images, which the calibration shifts."""
        pixels = caffe_pixels(images)
        if self.options.stretch is not None:
            pixels = resized(pixels, (self.options.stretch, self.options.stretch))
        return resized(self.maps(pixels, self.vectors)[-1], images.shape[-2:]).softmax(1)

    @property
    def scoring(self) -> Scoring:
        """Probabilities, those of seen classes less the calibration: float (C,)."""
        return Scoring(class_bias=self.options.calibration * (self.seen & ~self.knows_unseen).float())

    @property
    def logit_scale(self) -> None:
        return None

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: SpNetOptions) -> tuple[Phase, ...]:
        """In the transductive setting the rounds of self-training follow, of equal length."""
        if setting != "transductive":
            return super().phases(setting, recipe, options)
        share = recipe.self_training_from
        first, *others = split(recipe, share, *[(1 - share) / options.rounds] * options.rounds)
        rounds = [Phase(f"round-{n}", "transductive", "all", each) for n, each in enumerate(others, 1)]
        return (Phase("train", "inductive", "seen", first), *rounds)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        self.note_unseen(phase)
        self.teacher = (self.frozen_copy(),) if phase.pixels == "transductive" else ()

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One cross-entropy for each scale, and one for their maximum; training takes their sum."""
        pixels = caffe_pixels(images)
        maps = self.maps(pixels, self.vectors)
        pseudo = self.pseudo_labels(pixels) if self.teacher else None
        names = [*map(str, self.options.scales), "max"][: len(maps)]
        return {
            f"scale {name}": cross_entropy(logits, self.targets(labels, pseudo, logits.shape[-2:]))
            for name, logits in zip(names, maps, strict=True)
        }

    @torch.no_grad()
    def pseudo_labels(self, pixels: Tensor) -> Tensor:
        """Of the teacher, at the size of its logits: an index into unseen classes, or `IGNORE` where its views differ."""
        (teacher,) = self.teacher
        unseen = self.vectors[~self.seen]
        return agreed(
            views(lambda view: teacher.maps(view, unseen)[-1], pixels, self.options.views, self.options.mirror)
        )

    def targets(self, labels: Tensor, pseudo: Tensor | None, size: Sequence[int]) -> Tensor:
        """Labels int64 (B, h, w) at a map's size, pseudo labels among them where `labels` (B, H, W) are `UNLABELLED`."""
        small = shrunk(labels, size)
        if pseudo is None:
            return torch.where(small == UNLABELLED, IGNORE, small)
        return taught(small, shrunk(pseudo, size), (~self.seen).nonzero()[:, 0])

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        return deeplab_groups(self.network, recipe, self.options.head_rate)


def deeplab_groups(network: DeepLabV2, recipe: Recipe, head_rate: float) -> list[dict[str, Any]]:
    """The backbone at the recipe's rate, the head's weights at `head_rate` times it, its biases at twice this, undecayed."""
    head = dict(network.head.named_parameters())
    weights = [tensor for name, tensor in head.items() if name.endswith("weight")]
    biases = [tensor for name, tensor in head.items() if name.endswith("bias")]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    return [
        {"params": list(network.backbone.parameters()), "lr": rate, "weight_decay": decay},
        {"params": weights, "lr": head_rate * rate, "weight_decay": decay},
        {"params": biases, "lr": 2 * head_rate * rate, "weight_decay": 0.0},
    ]
