"""CaGNet: features are generated from words and from codes of a pixel's context (Gu et al., ACM MM 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.optimisation import Step, build_optimiser
from zsbench.recipe import Recipe
from zsbench.registry import register_method
from zsbench.settings import Phase, Setting, TrainingView

from ..deeplab import DeepLabV2, caffe_pixels, resized
from .adversaries import (
    WIDTHS,
    Adversaries,
    Classify,
    Discriminator,
    Generator,
    Weights,
    drawn_labels,
    image_losses,
    plain,
    ranked_labels,
    transfer_loss,
)
from .base import WordMethod, only, split
from .contextual import Context, ContextualNetwork
from .labels import shrunk
from .options import MINIATURE, CaGNetOptions
from .spnet import deeplab_groups

HIDDEN, CONTEXT = 1024, 256
CONTEXT_RATE = 5.0
"""Rate of the contextual module as a multiple of the backbone's."""
DISCRIMINATOR_DECAY = 5e-4
TRAIN, MIXED, SELF = "train", "mixed", "self-train"


@register_method("cagnet")
class CaGNet(WordMethod):
    """Generates features of unseen classes from words and context, for a classifier to learn (ACM MM 2020)."""

    Options: ClassVar[type[CaGNetOptions]] = CaGNetOptions
    options: CaGNetOptions
    counts_classes = True

    def __init__(self, clip: None, options: CaGNetOptions) -> None:
        super().__init__(clip, options)
        share = 8 if options.backbone == MINIATURE else 1
        backbone = DeepLabV2(options.backbone, options.norm, options.backbone_weights, options.dim)
        self.network = ContextualNetwork(
            backbone, Context(options.dim, CONTEXT // share), self.spatial(CONTEXT // share)
        )
        self.generator = Generator(options.dim, [width // share for width in WIDTHS])
        self.discriminator = Discriminator(options.dim, options.classes + 1, HIDDEN // share)
        for part in (backbone.head, self.network.context, self.network.spatial, self.generator, self.discriminator):
            for module in part.modules() if part is not None else ():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def spatial(self, width: int) -> nn.Module | None:
        """What comes between DeepLab's map and its context: nothing."""
        return None

    def predict(self, images: Tensor) -> Tensor:
        """Logits of the classifier (B, C, h, w) at stride 8 of the stretched image, without the channel that is no class."""
        pixels = caffe_pixels(images)
        if self.options.stretch is not None:
            pixels = resized(pixels, (self.options.stretch, self.options.stretch))
        return self.scores(pixels)[:, : self.options.classes]

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: CaGNetOptions) -> tuple[Phase, ...]:
        """With images; then in turns with and without; in the transductive setting on pseudo labels last."""
        only("inductive", "transductive", setting=setting, method=cls.name)
        share = 1 - recipe.self_training_from if setting == "transductive" else 0.0
        mixed = (1 - share) * options.mixed_share
        first, second, third = split(recipe, 1 - share - mixed, mixed, share)
        square = {"crop": options.self_crop, "crop_width": None} if options.self_crop else {}
        third = third.model_copy(update={"batch_size": options.self_batch, **square})
        phases = [
            Phase(TRAIN, "inductive", "all", first),
            Phase(MIXED, "inductive", "all", second),
            Phase(SELF, "transductive", "all", third),
        ]
        return tuple(phase for phase in phases if phase.recipe.iterations)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        self.note_unseen(phase)

    def optimisers(self, phase: Phase) -> Mapping[str, Optimizer]:
        """The backbone's is left out where it stands still."""
        backbone, discriminator, generator = self.rates(phase)
        adversaries = {
            "discriminator": Adam(self.discriminator.parameters(), discriminator, weight_decay=DISCRIMINATOR_DECAY),
            "generator": Adam(self.generator.parameters(), generator),
        }
        if phase.name == MIXED:
            return adversaries
        recipe = phase.recipe.model_copy(update={"learning_rate": backbone})
        groups = deeplab_groups(self.network.backbone, recipe, self.options.head_rate)
        fast, slow = self.context_parameters()
        groups[0]["params"] += slow
        context = {"params": fast, "lr": CONTEXT_RATE * backbone}
        return {**adversaries, "backbone": build_optimiser(recipe, [*groups, context])}

    def rates(self, phase: Phase) -> tuple[float, float, float]:
        """Of backbone, discriminator and generator."""
        options = self.options
        if phase.name == SELF:
            return options.self_rates
        if phase.name == MIXED:
            return phase.recipe.learning_rate, options.mixed_rate, options.mixed_rate
        return phase.recipe.learning_rate, options.discriminator_rate, options.generator_rate

    def context_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What learns of the contextual module at `CONTEXT_RATE`, and what at the backbone's own.

        As released, the weights of the three dilations stay as they were drawn.
        """
        return [each for name, each in self.network.context.named_parameters() if "weigh." not in name], []

    def learning_rate(self, phase: Phase, optimiser: str, step: int, peak: float) -> float:
        options = self.options
        if optimiser == "backbone":
            return super().learning_rate(phase, optimiser, step, peak)
        first = options.generator_decay if optimiser == "generator" and options.generator_decay else options.decay
        start, every, factor = {TRAIN: first, MIXED: options.mixed_decay, SELF: options.self_decay}[phase.name]
        return peak if step < start else peak * factor ** (1 + (step - start) // every)

    def train_step(self, step: Step) -> Mapping[str, Tensor | float]:
        turn, weights = step.number // self.options.alternate, Weights()
        if step.phase.name == MIXED and turn % 2:
            return self.step_without_images(step)
        if step.phase.name == MIXED:
            weights = Weights(*self.options.class_weights)
        if step.phase.name == SELF:
            weights = Weights(*self.options.self_weights)
        batch = step.batch()
        pixels, labels = caffe_pixels(batch.images), batch.labels
        words = self.vectors
        classify: Classify = plain
        if step.phase.name == SELF:
            labels, classify = self.pseudo_labels(pixels, labels)
            words = self.vectors * self.seen[:, None]  # as released: for a pseudo label the generator is given zeros
        with torch.set_grad_enabled(step.phase.name != MIXED):
            encoded = self.network.scales(pixels)
        losses = image_losses(
            encoded, labels, words, Adversaries(self.generator, self.discriminator, weights, classify)
        )
        moving = {"discriminator": losses.discriminator, "generator": losses.generator}
        step.update(**moving, **({} if step.phase.name == MIXED else {"backbone": losses.backbone}))
        return losses.terms

    def step_without_images(self, step: Step) -> Mapping[str, Tensor | float]:
        """The classifier learns from features generated at labels that are drawn, unseen classes among them."""
        recipe = step.phase.recipe
        size = (recipe.batch_size, *map(cells, recipe.crop_size))
        labels = drawn_labels(self.seen, self.options.unseen_rate, size).to(self.vectors.device)
        loss = transfer_loss(labels, self.vectors, Adversaries(self.generator, self.discriminator))
        for_discriminator, for_generator = self.options.transfer_weights
        step.update(discriminator=for_discriminator * loss, generator=for_generator * loss)
        return {"transfer": loss}

    @torch.no_grad()
    def pseudo_labels(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Classify]:
        """Labels int64 (B, h, w) of the cells, with what the model as it is now finds at unlabelled ones; and their loss."""
        scores = self.eval().scores(pixels)
        self.train()
        small = shrunk(labels, scores.shape[-2:])
        found = ranked_labels(scores, torch.where(small == UNLABELLED, IGNORE, small), self.seen, self.options.top)
        return torch.where(small == UNLABELLED, found, small), plain

    def scores(self, pixels: Tensor) -> Tensor:
        """Logits (B, classes + 1, h, w)."""
        return self.discriminator(self.network(pixels).features)[1]


def cells(side: int) -> int:
    """How many cells the network makes of a side of so many pixels: at stride 2, pooled (rounded up), at stride 2 again."""
    halved = (side - 1) // 2 + 1
    return -(-(halved - 1) // 2) // 2 + 1
