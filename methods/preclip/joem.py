"""JoEm: words and pixels in one space, whose nearest prototype wins (Baek et al., "Joint", ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from zsbench.errors import UserError
from zsbench.optimisation import Step, build_optimiser
from zsbench.recipe import Recipe
from zsbench.registry import register_method
from zsbench.settings import Phase, Setting, TrainingView

from ..deeplab import DeepLabV2, DeepLabV3Plus, aligned, imagenet_pixels, resized
from .base import WordMethod, only
from .labels import cross_entropy, shrunk
from .options import JoEmOptions

CHUNK = 64
"""Channels of a feature map that are upsampled at once where only their squares' sum is asked for."""


def boundary_loss(
    features: Tensor, labels: Tensor, vectors: Tensor, encode: Callable[[Tensor], Tensor], ratio: float
) -> Tensor:
    """Squared distance of pixels from prototypes that are mixed near the boundaries of classes, a mean over channels too.

    `features` (B, D, h, w); labels int64 (B, H, W), negative where there is none; `vectors` (C, W) of words, `encode` takes
    them to D. The word vectors of cells that are `1 / ratio` times as large (a zero vector where there is no label) are
    interpolated to the features' size, then encoded.
    """
    height, width = features.shape[-2:]
    cells = shrunk(labels, (int(height * ratio), int(width * ratio)))
    table = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])  # a negative label takes the last row
    mixed = resized(table[cells.clamp(min=-1)].movedim(-1, 1), (height, width)).movedim(1, -1)
    labelled = shrunk(labels, (height, width)) >= 0
    errors = (encode(mixed[labelled]) - features.movedim(1, -1)[labelled]).square()
    return errors.sum() / max(1, errors.numel())


def relation_loss(vectors: Tensor, prototypes: Tensor, tau: float, form: Literal["mean", "squared"] = "mean") -> Tensor:
    """How far the distances between `prototypes` (K, D) are from those between their word `vectors` (K, W).

    Mean over classes of the divergence KL(softmax(-tau |e_i - e_j|) || softmax(-|g_i - g_j|)). `squared`: divided by K once
    more, and with 1e-8 under the root of the prototypes' distances, as released for PASCAL Context.
    """
    words, ours = torch.cdist(vectors, vectors), torch.cdist(prototypes, prototypes)
    if form == "squared":
        ours = ((prototypes[:, None] - prototypes) ** 2).sum(-1).add(1e-8).sqrt()
    target, log = (-tau * words).softmax(1), (-ours).log_softmax(1)
    divergence = (target * (target.log() - log)).sum()
    return divergence / len(vectors) ** (1 if form == "mean" else 2)


def squared_distances(features: Tensor, prototypes: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, H, W) of the features (B, D, h, w), upsampled to `size`, from prototypes (K, D).

    Only |f|^2 needs every channel at full size, a few at a time; the product with a prototype may be upsampled itself.
    """
    products = resized(torch.einsum("bdhw,kd->bkhw", features, prototypes), size)
    squares = torch.stack([resized(part, size).square().sum(1) for part in features.split(CHUNK, 1)]).sum(0)
    return squares[:, None] - 2 * products + prototypes.square().sum(1)[:, None, None]


def apollonius(distances: Tensor, unseen: Tensor, sigma: float) -> Tensor:
    """Scores (B, K, H, W) whose largest is the calibrated choice between the two nearest classes of squared distances.

    The second nearest wins where it is `unseen`, bool (K,), the nearest is seen, and sigma times its distance is below that
    of the nearest. No third class ever wins: this is not the calibrated minimum over all classes.
    """
    if sigma == 1 or distances.shape[1] < 2:
        return -distances
    nearest, index = distances.topk(2, dim=1, largest=False)
    first, second = unseen[index].unbind(1)
    wins = second & ~first & (sigma * nearest[:, 1] < nearest[:, 0])
    swapped = torch.where(wins[:, None], nearest.flip(1), nearest)
    return -distances.scatter(1, index, swapped)


@register_method("joem")
class JoEm(WordMethod):
    """Embeds words and pixels into one space, where the nearest prototype wins: "Joint" (ICCV 2021)."""

    Options = JoEmOptions
    options: JoEmOptions
    unit = False

    def __init__(self, clip: None, options: JoEmOptions) -> None:
        super().__init__(clip, options)
        backbone = (options.backbone, options.norm, options.backbone_weights, options.width)
        v2 = options.network == "v2"  # fed RGB over a deviation, hence torchvision's weights, as its release names them
        self.network = DeepLabV2(*backbone, "torchvision") if v2 else DeepLabV3Plus(*backbone)
        self.classifier = nn.Conv2d(options.width, options.classes, 1)
        self.semantic = nn.Linear(options.dim, options.width)
        nn.init.xavier_uniform_(self.semantic.weight)
        nn.init.constant_(self.semantic.bias, 0.01)
        if isinstance(self.network, DeepLabV2):
            for name, parameter in self.network.head.named_parameters():
                if name.endswith("weight"):
                    nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        """(B, width, h, w), at least 0."""
        return self.network(imagenet_pixels(images)).relu()

    def predict(self, images: Tensor) -> Tensor:
        """Squared distances from prototypes, negative: of calibrated ones at the size of the images (B, C, H, W).

        Without a calibration what all classes have in common, |f|^2, is left out, which makes them linear in the feature:
        then they are at the features' size.
        """
        features, prototypes = self.features(images), self.semantic(self.vectors)
        sigma = 1.0 if bool(self.knows_unseen) else self.options.sigma
        if sigma == 1:
            products = torch.einsum("bdhw,cd->bchw", features, prototypes)
            return 2 * products - prototypes.square().sum(1)[:, None, None]
        size = images.shape[-2:]
        distances = [squared_distances(each[None], prototypes, size) for each in features]  # one image at a time
        return torch.cat([apollonius(each, ~self.seen, sigma) for each in distances])

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: JoEmOptions) -> tuple[Phase, ...]:
        only("inductive", "supervised", setting=setting, method="joem")
        return super().phases(setting, recipe, options)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        self.note_unseen(phase)

    def optimisers(self, phase: Phase) -> Mapping[str, Optimizer]:
        """Of the network and its classifier, by the recipe; of the encoder of words, Adam at a constant rate."""
        recipe = phase.recipe
        backbone = list(self.network.backbone.parameters())
        held = {id(each) for each in backbone}
        others = [each for each in (*self.network.parameters(), *self.classifier.parameters()) if id(each) not in held]
        groups: list[dict[str, Any]] = [
            {"params": backbone},
            {"params": others, "lr": self.options.head_rate * recipe.learning_rate},
        ]
        words = {"params": list(self.semantic.parameters()), "scheduled": False}
        return {
            "visual": build_optimiser(recipe, groups),
            "semantic": Adam([words], lr=self.options.semantic_rate),
        }

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Of boundaries, of the auxiliary classifier, and of relations between the words shown."""
        told = len(self.vectors)
        if told > self.options.classes:
            raise UserError(
                f"joem: its auxiliary classifier has {self.options.classes} channels, too few for {told} classes: "
                f"-o classes={told} or more."
            )
        features = self.features(images)
        logits = aligned(self.classifier(features), labels.shape[-2:])
        options, related = self.options, self.vectors[self.related]
        relations = relation_loss(related, self.semantic(related), options.tau, options.relation)
        return {
            "boundary": boundary_loss(features, labels, self.vectors, self.semantic, options.ratio),
            "class": cross_entropy(logits, labels),
            "relation": options.relation_weight * relations,
        }

    @property
    def related(self) -> list[int]:
        """The words between which relations are learnt: all that are told but the background."""
        told = self.vocabulary
        return [place for place, word in enumerate(told.words) if word != told.background]

    def train_step(self, step: Step) -> Mapping[str, Tensor | float]:
        batch = step.batch()
        losses = self.losses(batch.images, batch.labels)
        total = torch.stack(list(losses.values())).sum()
        step.update(visual=total, semantic=total)
        return losses
