"""A two-stage method whose proposals are learnt: MaskFormer and a head that compares its queries with class names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.checkpoint import load_trainable_state_dict, trainable_state_dict
from zsbench.clip.model import Clip
from zsbench.dataset import UNLABELLED
from zsbench.method import ImageBatch, Method, ReleasedCheckpoint
from zsbench.recipe import Recipe

from .backbone import Backbone
from .base import TwoStage
from .criterion import criterion, targets_of
from .geometry import pad_to_multiple
from .maskformer import MaskFormer
from .options import ProposalOptions
from .presets import PRETRAINED, RANDOM
from .proposals import Proposals
from .regions import Cropper
from .released import check_classes, check_clip, convert, read_released, released_options


class MaskFormerMethod(TwoStage):
    """MaskFormer proposes; `make_head` says how queries are named."""

    trainable = True

    def __init__(self, clip: Clip, options: ProposalOptions, crop: Cropper) -> None:
        super().__init__(clip, options, crop)
        weights = options.backbone_weights
        if weights == PRETRAINED and clip.weights.random:  # nothing measured with a random CLIP means anything
            weights = RANDOM
        backbone = Backbone(options.backbone, options.backbone_norm, weights)
        self.network = MaskFormer(backbone, options.queries, options.decoder_layers, options.width, options.dropout)
        self.head = self.make_head(options.width, clip.dim)

    @classmethod
    def read_released(cls, path: Path) -> ReleasedCheckpoint | None:
        state = read_released(path)
        if state is None or not cls.is_own_release(state):
            return None

        def fill(method: Method) -> None:
            check_clip(state, method.clip, str(path))
            load_trainable_state_dict(method, convert(state, trainable_state_dict(method), str(path)), str(path))

        def check(seen: int, classes: int) -> None:
            check_classes(state, seen, classes, str(path))

        return ReleasedCheckpoint(options=released_options(state), setting=None, check=check, fill=fill)

    @classmethod
    @abstractmethod
    def is_own_release(cls, state: Mapping[str, Tensor]) -> bool:
        """Whether the keys of a detectron2 checkpoint are those of this method."""

    @abstractmethod
    def make_head(self, width: int, dim: int) -> nn.Module:
        """A module from queries (..., width) and text (C, dim) to logits (..., C + 1)."""

    @abstractmethod
    def query_text(self) -> Tensor:
        """Unit-norm text embeddings (C, D) with which queries are compared."""

    def propose(self, batch: ImageBatch) -> Iterator[Proposals]:
        images = batch.images
        size = pad_to_multiple(images).shape[-2:]
        queries, masks = self.network(pad_to_multiple(self.network.normalise(images)))
        for query, logits in zip(queries[-1].float(), masks[-1].float(), strict=True):
            upsampled = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
            yield Proposals(upsampled.sigmoid(), query)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Matching losses of every decoder layer; pixels marked `UNLABELLED` first get pseudo labels."""
        if bool((labels == UNLABELLED).any()):
            labels = self.pseudo_labels(images, labels)
        size = pad_to_multiple(images).shape[-2:]
        queries, masks = self.network(pad_to_multiple(self.network.normalise(images)))
        padding = (0, size[1] - labels.shape[2], 0, size[0] - labels.shape[1])
        targets = [targets_of(label) for label in F.pad(labels, padding, value=-1)]
        return criterion(self.head(queries, self.query_text()), masks, targets)

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor, labels: Tensor) -> Tensor:
        """`labels` with each `UNLABELLED` pixel set to the unseen class that the whole method, as it is now, scores highest.

        zsseg labels the training set once, with the model of the first phase, and trains anew; here the labels follow the
        model. Without unseen classes in the vocabulary the pixels are left out.
        """
        unseen = (~self.vocabulary.seen).nonzero()[:, 0].to(labels.device)
        if not len(unseen):
            return labels
        training = self.training
        self.eval()
        scores = self.predict(images)[:, unseen]
        self.train(training)
        scores = F.interpolate(scores, labels.shape[-2:], mode="bilinear", align_corners=False)
        return torch.where(labels == UNLABELLED, unseen[scores.argmax(1)], labels)

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """The backbone at its own rate; no decay on norms and on the queries' embedding."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, module in self.named_modules():
            decays = not isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d | nn.Embedding)
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad:
                    groups.setdefault((name.startswith("network.backbone"), decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (self.options.backbone_rate if in_backbone else 1),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ]
