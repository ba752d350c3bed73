"""ZegCLIP as a method: prompted encoder, relationship descriptor, decoder, losses (Zhou et al., CVPR 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsbench.clip.model import Clip
from zsbench.method import Losses, Method, ReleasedCheckpoint, Scoring
from zsbench.recipe import Recipe
from zsbench.registry import register_method
from zsbench.settings import Phase, TrainingView

from .checkpoint import read_released
from .decoder import Decoder
from .encoder import PromptedEncoder
from .losses import mask_losses, pseudo_labels, softmax_loss
from .options import ZegClipOptions
from .queries import RelationshipDescriptor

RELEASED_CALIBRATION = 0.1


@register_method("zegclip")
class ZegClip(Method):
    """One stage: prompts in a frozen CLIP, and class queries whose attention scores are the masks (CVPR 2023)."""

    Options = ZegClipOptions
    trainable = True
    options: ZegClipOptions
    knows_unseen: Tensor
    """bool (): whether unseen classes took part in training (self-training, supervision); then nothing is calibrated."""

    def __init__(self, clip: Clip, options: ZegClipOptions) -> None:
        super().__init__(clip, options)
        self.encoder = PromptedEncoder(clip, options)
        self.descriptor = RelationshipDescriptor(clip.dim, options.rd)
        self.decoder = Decoder(clip.dim, options)
        self.register_buffer("knows_unseen", torch.tensor(False))

    def masks(self, images: Tensor, every_layer: bool = False) -> list[Tensor]:
        """Mask logits (B, C, h, w) at the patches, of the last decoder layer or of every one."""
        patch = self.clip.patch_size
        image, patches = self.encoder(images)
        queries = self.descriptor(self.vocabulary.embeddings, image)
        shape = (images.shape[-2] // patch, images.shape[-1] // patch)
        return [scores.unflatten(-1, shape) for scores in self.decoder(queries, patches, every_layer)]

    @classmethod
    def read_released(cls, path: Path) -> ReleasedCheckpoint | None:
        file = read_released(path)
        return (
            None
            if file is None
            else ReleasedCheckpoint(file.options, file.setting, file.check, file.fill, file.dataset, file.names)
        )

    def predict(self, images: Tensor) -> Tensor:
        return self.masks(images)[-1]

    @property
    def scoring(self) -> Scoring:
        """The sigmoid of sigmoid losses (for softmax the logits), less the calibration of seen classes."""
        return Scoring(self.options.nel != "off", self.calibration * self.vocabulary.seen.to(self.calibration.device))

    @property
    def logit_scale(self) -> float | None:
        return 1.0 if self.options.nel == "off" else None

    @property
    def calibration(self) -> Tensor:
        """What is subtracted from the scores of seen classes: float ()."""
        if self.options.calibration is not None:
            return torch.full_like(self.knows_unseen, self.options.calibration, dtype=torch.float32)
        return RELEASED_CALIBRATION * ~self.knows_unseen * (self.options.nel != "off")

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        masks = self.masks(images, self.options.deep_supervision)
        start, step = self.options.loss_stride // 2, self.options.loss_stride
        labels = pseudo_labels(masks[-1], labels[:, start::step, start::step], self.vocabulary.seen.to(labels.device))
        last = self.losses_of(masks[-1], labels)
        values = dict(last.values)
        for layer, auxiliary in enumerate(masks[:-1]):
            values |= {f"{name}_{layer}": loss for name, loss in self.losses_of(auxiliary, labels).values.items()}
        return Losses(values, last.terms)

    def losses_of(self, masks: Tensor, labels: Tensor) -> Losses:
        """The losses of one layer's masks (B, C, h, w)."""
        return softmax_loss(masks, labels) if self.options.nel == "off" else mask_losses(masks, labels, self.options)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        """Note whether the vocabulary to be learnt has unseen classes."""
        self.knows_unseen.fill_(not self.vocabulary.seen.all())

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """One group, as released; a finetuned CLIP is a second one with a lower rate."""
        if self.options.encoder == "frozen":
            return super().parameter_groups(recipe)
        clip = [p for name, p in self.encoder.named_parameters() if not name.startswith("prompts.")]
        own = {id(p) for p in clip}
        others = [p for p in self.parameters() if id(p) not in own]
        decay = recipe.weight_decay
        return [
            {"params": others, "lr": recipe.learning_rate, "weight_decay": decay},
            {"params": clip, "lr": recipe.learning_rate * self.options.encoder_rate, "weight_decay": decay},
        ]
