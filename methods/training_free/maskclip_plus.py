"""MaskCLIP+: a DeepLab learns what MaskCLIP says, then what it says itself (Zhou et al., ECCV 2022; Apache-2.0).

It stands beside MaskCLIP, its teacher, though it is trained; at test time CLIP's image encoder takes no part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.clip.vit import IMAGENET_MEAN, IMAGENET_STD, normalise
from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.errors import UserError
from zsbench.method import Losses, Method
from zsbench.recipe import Recipe, learning_rate
from zsbench.registry import register_method
from zsbench.settings import Phase, Setting, TrainingView

from ..deeplab import resized
from .frames import enlarged
from .maskclip import MaskClip
from .options import MaskClipOptions, MaskClipPlusOptions, TeacherOptions
from .student import Student

GUIDED, SELF = "guided", "self-train"


@register_method("maskclip-plus")
class MaskClipPlus(Method):
    """A DeepLab that learns seen classes from labels, unseen ones from MaskCLIP, then from itself (ECCV 2022).

    Logits are the dot products of pixels, of any length, with texts of length 1: no temperature, no bias.
    """

    Options = MaskClipPlusOptions
    trainable = True
    settings = ("transductive", "supervised")  # it learns with the names of all classes
    options: MaskClipPlusOptions
    teacher: tuple[MaskClip, ...] = ()
    """MaskCLIP in the guided phase, else nothing."""

    def __init__(self, clip: Clip, options: MaskClipPlusOptions) -> None:
        super().__init__(clip, options)
        self.network = Student(options.backbone, options.backbone_weights, options.network, clip.dim)
        self.background = None if options.background is None else nn.Parameter(torch.randn(1, clip.dim))

    @property
    def background_place(self) -> int | None:
        """Where among the words the one is whose row is learnt."""
        words = self.vocabulary.words
        return words.index(self.options.background) if self.options.background in words else None

    @property
    def rows(self) -> Tensor:
        """What pixels are compared with, (W, D) of length 1: texts, and for background a learnt row."""
        texts, place = self.vocabulary.embeddings, self.background_place
        if self.background is None or place is None:
            return texts
        return torch.cat([texts[:place], F.normalize(self.background), texts[place + 1 :]])

    @property
    def candidates(self) -> Tensor:
        """Places int64 (U,) of the words that a pixel without a label may be given."""
        unlabelled = ~self.vocabulary.seen
        if not self.options.annotations:
            unlabelled = torch.ones_like(unlabelled)
        if self.background_place is not None:
            unlabelled = unlabelled.clone()
            unlabelled[self.background_place] = False
        return unlabelled.nonzero()[:, 0]

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D, h, w) of the network."""
        return self.network(normalise(images, IMAGENET_MEAN, IMAGENET_STD))

    def compared(self, features: Tensor) -> Tensor:
        """Logits (B, W, h, w) of features (B, D, h, w)."""
        return torch.einsum("bdhw,cd->bchw", features, self.rows.to(features.dtype))

    def predict(self, images: Tensor) -> Tensor:
        logits = self.compared(self.features(images))
        return enlarged(logits, images.shape[-2:]) if self.options.resize == "twice" else logits

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: MaskClipPlusOptions) -> tuple[Phase, ...]:
        """MaskCLIP's labels for the share `self_training_from` of the steps, then its own.

        Without annotations there is no self-training, as released, and nothing looks at a label, be it to choose a crop.
        """
        if setting == "supervised":
            return super().phases(setting, recipe, options)
        if not options.annotations:
            void = "all" if options.void == "hidden" else recipe.pseudo_labels
            blind = {"self_training_from": 1.0, "category_limit": 1.0, "pseudo_labels": void}
            return (Phase(GUIDED, "transductive", "all", recipe.model_copy(update=blind)),)
        steps = round(recipe.iterations * recipe.self_training_from)
        first, rest = (recipe.model_copy(update={"iterations": n}) for n in (steps, recipe.iterations - steps))
        both = Phase(GUIDED, "transductive", "all", first), Phase(SELF, "transductive", "all", rest)
        return tuple(phase for phase in both if phase.recipe.iterations)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        if self.background is not None and self.background_place is None:
            raise UserError(
                f"{self.name}: no class has the word {self.options.background!r}, whose row is to be learnt. Give the word "
                "of the background by -o background=WORD, or -o background=none."
            )
        self.teacher = (self.build_teacher(),) if phase.name == GUIDED else ()

    def build_teacher(self) -> MaskClip:
        """MaskCLIP that knows the words for pixels without a label, and no others."""
        shared = self.options.model_dump(include=set(TeacherOptions.model_fields))
        teacher = MaskClip(self.clip, MaskClipOptions(**shared))
        told, chosen = self.vocabulary, self.candidates
        words = tuple(told.words[place] for place in chosen.tolist())
        teacher.set_vocabulary(Vocabulary(words, told.embeddings[chosen], told.seen[chosen]))
        return teacher.to(told.embeddings.device).eval()

    def learning_rate(self, phase: Phase, optimiser: str, step: int, peak: float) -> float:
        """One schedule over both phases."""
        share = phase.recipe.self_training_from
        if phase.name not in (GUIDED, SELF):
            return super().learning_rate(phase, optimiser, step, peak)
        steps = round(phase.recipe.iterations / (share if phase.name == GUIDED else 1 - share))
        before = steps - phase.recipe.iterations if phase.name == SELF else 0
        return learning_rate(phase.recipe, before + step, steps, peak)

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Cross-entropy at the labels' size, over those that are given and those that are made."""
        if not self.options.annotations:
            labels = labels.masked_fill(labels >= 0, UNLABELLED)
        features = self.features(images)
        if self.teacher and self.options.distil:
            return self.distilled(features, images, labels)
        logits = self.compared(features)
        targets = self.targets(images, logits.detach(), labels)
        total = F.cross_entropy(resized(logits, labels.shape[-2:]), targets, ignore_index=IGNORE, reduction="sum")
        if self.options.loss_mean == "all":
            return Losses({"ce": total / targets.numel()})
        labelled = (targets != IGNORE).sum()
        return Losses({"ce": total / labelled.clamp(min=1)}, labelled)

    @torch.no_grad()
    def targets(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Labels int64 (B, H, W), with one of `candidates` where they are `UNLABELLED`: the teacher's, or by `logits`."""
        missing = labels == UNLABELLED
        if not missing.any():
            return labels
        candidates = self.candidates
        scores = self.teacher[0].predict(images) if self.teacher else logits[:, candidates]
        scores = enlarged(scores, labels.shape[-2:])
        best, choice = scores.max(1)
        made = candidates[choice]
        if self.teacher and self.options.confidence is not None:
            made = made.masked_fill(best < self.options.confidence, IGNORE)
        return torch.where(missing, made, labels)

    def distilled(self, features: Tensor, images: Tensor, labels: Tensor) -> Losses:
        """Mean absolute difference between features (B, D, h, w), and CLIP's, of length 1, at the labels' size."""
        with torch.no_grad():
            aim = resized(self.teacher[0].embedded(images), labels.shape[-2:])
        kept = labels != IGNORE
        apart = (resized(features, labels.shape[-2:]) - aim).abs().mean(1)
        total = (apart * kept).sum()
        return Losses({"distil": total / kept.sum().clamp(min=1)}, kept.sum())
