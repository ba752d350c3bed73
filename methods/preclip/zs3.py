"""ZS3: features of unseen classes are generated from their words (Bucher et al., NeurIPS 2019; valeoai/ZS3, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from zsbench.dataset import IGNORE, UNLABELLED, Sample
from zsbench.optimisation import MAIN, Step, build_optimiser
from zsbench.recipe import Recipe
from zsbench.registry import register_method
from zsbench.settings import Phase, Setting, TrainingView

from ..deeplab import DeepLabV2, DeepLabV3Plus, aligned, caffe_pixels, imagenet_pixels
from .base import WordMethod, only, split
from .graph import GraphGenerator, RegionGraph, region_graph
from .labels import cross_entropy, shrunk
from .mmd import discrepancy
from .options import Zs3Options

VARIANCES = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
SAMPLES = 128
"""Pixels of a class in an image whose generated and real features are compared, drawn with replacement."""
NODE_WEIGHT = 0.1
"""Of the classifier's loss on the nodes of the graphs."""


class Generator(nn.Module):
    """Features (N, out) of pixels, from their words and noise (N, words + noise). Its dropout is always on."""

    def __init__(self, words: int, noise: int, out: int, hidden: int = 256) -> None:
        super().__init__()
        self.noise = noise
        self.model = nn.Sequential(
            nn.Linear(words + noise, hidden), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(hidden, out)
        )
        for layer in self.model:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.constant_(layer.bias, 0.01)

    def forward(self, words: Tensor) -> Tensor:
        """For words (N, words); the noise is uniform in 0..1, drawn anew for each row."""
        return self.model(torch.cat([words, torch.rand(len(words), self.noise, device=words.device)], 1))


Learn = Callable[[Tensor], None]
"""Takes a step of a generator down a loss."""


def generate(generator: Generator, real: Tensor, labels: Tensor, words: Tensor, learn: Learn | None) -> Tensor:
    """Generated features (D, h, w) of an image whose real ones are `real` (D, h, w); zero where there is no label.

    Labels int64 (h, w); `words` (C, W). For each class, once its features are made, the generator may `learn`.
    """
    fake = torch.zeros_like(real)
    for label in torch.unique(labels[labels >= 0]).tolist():
        inside = labels == label
        made = generator(words[label].expand(int(inside.sum()), -1))
        if learn is not None:
            pick = torch.randint(0, len(made), (SAMPLES,), device=made.device)
            learn(discrepancy(made[pick], real[:, inside].T[pick], VARIANCES))
        fake[:, inside] = made.detach().T.to(fake.dtype)
    return fake


def generate_nodes(
    generator: GraphGenerator, real: Tensor, labels: Tensor, words: Tensor, learn: Learn | None
) -> tuple[Tensor, RegionGraph] | None:
    """Generated features (N, D) of the regions of an image, with their graph; None for an image of one region.

    A region's real feature is that of its first cell. An unlabelled region is a node with the word of class 0.
    """
    graph = region_graph(labels)
    if len(graph.labels) < 2:
        return None
    device = real.device
    made = generator(words[graph.labels.clamp(min=0).to(device)], graph.edges.to(words))
    if learn is not None:
        learn(discrepancy(made, first_cells(real, graph), VARIANCES))
    return made.detach(), graph


def first_cells(features: Tensor, graph: RegionGraph) -> Tensor:
    """Features (N, D) of the regions' first cells, of (D, h, w)."""
    rows, columns = graph.first.to(features.device).unbind(1)
    return features[:, rows, columns].T


def class_weights(seen: Tensor, unseen_weight: float) -> Tensor:
    """Of the classifier's cross-entropy, float (C,): 1 for the `seen`, bool (C,)."""
    return torch.where(seen, 1.0, unseen_weight)


def confident(probabilities: Tensor, labels: Tensor, share: float) -> Tensor:
    """Labels int64 (H, W), with the best of probabilities (C, H, W) at the surest `share` of the `UNLABELLED` pixels.

    ZS5's rule for one image, which has such pixels; the others of them get `IGNORE`. A class that may not be chosen has
    probability 0.
    """
    best, choice = probabilities.max(0)
    free = labels == UNLABELLED
    count = max(1, round(share * int(free.sum())))
    bound = best[free].topk(count).values[-1]
    return torch.where(free, torch.where(best >= bound, choice, IGNORE), labels)


def imagined(labels: Tensor, seen: Tensor) -> Tensor:
    """Labels int64 (H, W) some of whose classes are renamed, each with one chance in two, to unseen ones at random.

    `seen`: bool (C,). So features of unseen classes are generated where some seen class lies: nobody knows where they do.
    """
    unseen = (~seen).nonzero()[:, 0]
    present = torch.unique(labels[labels >= 0])
    if not len(unseen) or not len(present):
        return labels
    names = torch.arange(len(seen), device=labels.device)
    renamed = torch.randint(0, len(unseen), (len(present),), device=labels.device)
    chosen = torch.rand(len(present), device=labels.device) < 0.5
    chosen[torch.randint(0, len(present), (1,), device=labels.device)] = True
    names[present] = torch.where(chosen, unseen[renamed], present)
    return torch.where(labels >= 0, names[labels.clamp(min=0)], labels)


SEGMENT, GENERATE, SELF = "segment", "generate", "self-train"


@register_method("zs3")
class Zs3(WordMethod):
    """Generates features of unseen classes from their words, for the classifier to learn; with self-training ZS5 (2019).

    As released, the true layout of unseen classes is used where their features are generated (`layout=truth`): that is a
    supervised setting, and refused in any other. The default renames regions of seen classes.
    """

    Options = Zs3Options
    options: Zs3Options
    unit = False
    counts_classes = True

    def __init__(self, clip: None, options: Zs3Options) -> None:
        super().__init__(clip, options)
        backbone = (options.backbone, options.norm, options.backbone_weights, options.width)
        self.network = DeepLabV2(*backbone) if options.network == "v2" else DeepLabV3Plus(*backbone)
        self.classifier = nn.Conv2d(options.width, options.classes, 1)
        self.generator = Generator(options.dim, options.noise, options.width)
        self.graph = GraphGenerator(options.dim, options.noise, options.width) if options.graph else None

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) at the size of the images, to which the release resizes them with corners aligned."""
        return aligned(self.classifier(self.features(images)), images.shape[-2:])

    def features(self, images: Tensor) -> Tensor:
        """(B, width, h, w), at least 0."""
        if isinstance(self.network, DeepLabV2):
            return self.network(caffe_pixels(images)).relu()
        return self.network(imagenet_pixels(images))

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: Zs3Options) -> tuple[Phase, ...]:
        """The network on seen classes; then generators and classifier; in the transductive setting pseudo labels last."""
        only("inductive", "transductive", "supervised", setting=setting, method="zs3")
        share = 1 - recipe.self_training_from if setting == "transductive" else 0.0
        segment = (1 - share) * options.segment_share
        first, *later = split(recipe, segment, 1 - share - segment, share)
        second, third = (each.model_copy(update={"batch_size": options.generation_batch}) for each in later)
        phases = [
            Phase(SEGMENT, "inductive", "all", first),
            Phase(GENERATE, "supervised" if options.layout == "truth" else "inductive", "all", second),
            Phase(SELF, "transductive", "all", third),
        ]
        return tuple(phase for phase in phases if phase.recipe.iterations)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        """The classifier begins anew where features are generated; self-training writes the pseudo labels of all images."""
        if phase.name == GENERATE:
            for parameter in self.classifier.parameters():
                nn.init.uniform_(parameter)
        if phase.name == SELF:
            self.note_unseen(phase)
            view.relabel(self.pseudo_label)

    @torch.no_grad()
    def pseudo_label(self, sample: Sample) -> NDArray[np.int32]:
        """A sample's label int32 (H, W), with unseen classes at its surest unlabelled pixels."""
        if not (sample.label == UNLABELLED).any():
            return sample.label
        image = torch.from_numpy(sample.image).to(self.vectors.device).movedim(-1, 0)[None].float() / 255
        probabilities = self.predict(image)[0].softmax(0) * ~self.seen[:, None, None]
        labels = torch.from_numpy(sample.label).to(probabilities.device).long()
        return confident(probabilities, labels, self.options.confident_share).int().cpu().numpy()

    def optimisers(self, phase: Phase) -> Mapping[str, Optimizer]:
        """Of the network while it learns; afterwards of the classifier, and of the generators, at a constant rate."""
        recipe, rate = phase.recipe, self.options.head_rate * phase.recipe.learning_rate
        if phase.name == SEGMENT:
            backbone = list(self.network.backbone.parameters())
            held = {id(each) for each in backbone}
            head = [p for part in (self.network, self.classifier) for p in part.parameters() if id(p) not in held]
            return {MAIN: build_optimiser(recipe, [{"params": backbone}, {"params": head, "lr": rate}])}
        optimisers: dict[str, Optimizer] = {
            "classifier": build_optimiser(recipe, [{"params": list(self.classifier.parameters()), "lr": rate}])
        }
        for name, generator in (("generator", self.generator), ("graph", self.graph)):
            if generator is not None:
                group: dict[str, Any] = {"params": list(generator.parameters()), "scheduled": False}
                optimisers[name] = Adam([group], lr=self.options.generator_rate)
        return optimisers

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the network's phase, over the number of images once more, as released."""
        logits = self.predict(images)
        return {"class": cross_entropy(logits, labels) / len(images)}

    def train_step(self, step: Step) -> Mapping[str, Tensor | float]:
        if step.phase.name == SEGMENT:
            return step.minimise()
        batch = step.batch()
        with torch.no_grad():  # in train mode, as released: dropout is on, and statistics of batch norm move
            real = self.features(batch.images)
        labels = batch.labels
        if step.phase.name == GENERATE and self.options.layout == "regions":
            chosen = (torch.rand(len(labels)) < self.options.imagined).tolist()
            labels = torch.stack([imagined(each, self.seen) if chosen.pop() else each for each in labels])
        losses = self.classifier_losses(real, labels, step)
        step.update(classifier=torch.stack(list(losses.values())).sum())
        return losses

    def classifier_losses(self, real: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """The classifier's losses on a batch of features (B, D, h, w), for whose images the generators take their steps.

        An image without unseen classes shows its real features, and teaches the generators; any other shows generated ones,
        of its seen classes too. After self-training's pseudo labels, all are real.
        """
        small, everything = shrunk(labels, real.shape[-2:]), step.phase.name == SELF
        shown, nodes = [], []
        for features, label in zip(real, small, strict=True):
            known = everything or bool(self.seen[label[label >= 0]].all())
            learn = (lambda loss: step.update(generator=loss)) if known else None
            fake = generate(self.generator, features, label, self.vectors, learn)
            shown.append(features if known else fake)
            if self.graph is not None:
                nodes += self.nodes_of(self.graph, features, label, step, known)
        weights = class_weights(self.seen, self.options.unseen_weight)
        logits = aligned(self.classifier(torch.stack(shown)), labels.shape[-2:])
        losses = {"class": cross_entropy(logits, labels, weights) / len(real)}
        if nodes:
            points, names = (torch.cat(parts) for parts in zip(*nodes, strict=True))
            node_logits = self.classifier(points.T[None, :, :, None])
            losses["nodes"] = NODE_WEIGHT * cross_entropy(node_logits, names[None, :, None], weights)
        return losses

    def nodes_of(
        self, graph: GraphGenerator, features: Tensor, labels: Tensor, step: Step, known: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Features (N, D) and labels (N) of an image's regions, real where its classes are `known`; none of one region."""
        made = generate_nodes(
            graph, features, labels, self.vectors, (lambda loss: step.update(graph=loss)) if known else None
        )
        if made is None:
            return []
        points, regions = made
        return [(first_cells(features, regions) if known else points, regions.labels.to(features.device))]
