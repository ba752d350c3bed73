"""What a method is: told a vocabulary once, it turns images into logits; if it trains, also into losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from zsbench.clip.text import Vocabulary
from zsbench.options import Ablation as Ablation
from zsbench.options import Options as Options
from zsbench.options import Preset as Preset

if TYPE_CHECKING:
    from zsbench.clip.model import Clip
    from zsbench.recipe import Recipe


@dataclass(frozen=True)
class Scoring:
    """Scores are the logits, or their sigmoids, less a constant of each class (a calibration of seen classes).

    `class_bias`: float32 (C,), finite; None for nothing.
    """

    sigmoid: bool = False
    class_bias: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether scores are the logits themselves."""
        return not self.sigmoid and self.class_bias is None

    def __call__(self, logits: Tensor, classes: slice) -> Tensor:
        """Scores of logits (..., c, H, W) of the classes `classes`."""
        scores = logits.sigmoid() if self.sigmoid else logits
        return scores if self.class_bias is None else scores - self.class_bias[classes, None, None].to(scores.device)


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A checkpoint in the format of a method's own release.

    `options`: those that follow from it. `setting`: how it was trained, where the file tells. `check`: raises `UserError`
    where it does not belong to `(seen, classes)` numbers of classes. `fill`: puts it into a method built on a CLIP,
    strictly. `dataset`: what it was trained on, and `classes`: the names of that data's classes, where the file tells.
    """

    options: Mapping[str, Any]
    setting: str | None
    check: Callable[[int, int], None]
    fill: Callable[[Method, Clip], None]
    dataset: str | None = None
    classes: Sequence[str] | None = None


class Method(nn.Module, ABC):
    """Base of all methods. The smallest useful one defines `predict`.

    `Options`: the class of its options. `variants`: named overrides of them (`--variant`). `presets`: overrides by
    dataset name, `*` for all. `tables`: the ablation tables of its paper, by number. A method that learns sets
    `trainable` and defines `losses`; what it learns is what has `requires_grad`.
    """

    Options: ClassVar[type[Options]] = Options
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    presets: ClassVar[Mapping[str, Preset]] = {}
    tables: ClassVar[Mapping[int, tuple[Ablation, ...]]] = {}
    trainable: ClassVar[bool] = False
    name: ClassVar[str]
    vocabulary: Vocabulary
    loss_terms: Tensor | None = None
    """int64 (): how many terms the last `losses` are means of, where that is not the number of images: micro-batches are
    weighted by it, so that their accumulated gradient is that of the whole batch. 0 where there was nothing to divide by."""

    def __init__(self, clip: Clip, options: Any) -> None:
        super().__init__()
        self.clip = clip
        self.options = options

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Be told the classes; logits from now on have one channel for each, in this order."""
        self.vocabulary = vocabulary

    @classmethod
    def preset(cls, dataset: str) -> Preset:
        """What the method changes for the dataset of that name: the preset `*`, overridden by the dataset's own."""
        every, own = cls.presets.get("*", Preset()), cls.presets.get(dataset, Preset())
        return Preset(
            {**every.options, **own.options}, {**every.recipe, **own.recipe}, {**every.protocol, **own.protocol}
        )

    @classmethod
    def read_released(cls, path: Path) -> ReleasedCheckpoint | None:
        """The checkpoint of the method's own release in `path`, recognised by its keys; None where it is none."""
        return None

    @property
    def oracle(self) -> bool:
        """Whether `predict` uses the ground truth of its images: an upper bound, never a result to rank."""
        return False

    def begin(self, ids: Sequence[str]) -> None:  # most methods have nothing to prepare
        """An evaluation begins, of all or (`--limit`) the first of the images `ids` of a split."""

    def set_image_ids(self, ids: Sequence[str]) -> None:  # most methods look at pixels alone
        """The ids of the images of the next `predict`."""

    def set_truth(self, labels: Sequence[Tensor]) -> None:
        """Ground truth int (H, W) of the images of the next `predict`: given to no method but an oracle."""
        raise TypeError(f"{type(self).__name__} is no oracle and must not see labels")

    def statistics(self) -> Mapping[str, float]:
        """Numbers about the evaluation since `begin` that belong into its result: means over images.

        Several processes are averaged, each by its images.
        """
        return {}

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Logits float (B, C, h, w) at any stride for images float32 (B, 3, H, W), RGB in 0..1."""

    @property
    def scoring(self) -> Scoring:
        """How upsampled logits become scores; by default they are the scores."""
        return Scoring()

    def score(self, logits: Tensor, classes: slice) -> Tensor:
        """A pointwise function of upsampled logits (..., c, H, W) of the classes `classes`, averaged over windows.

        Overridden only where `scoring` cannot say it. The harness applies it to chunks of classes, so it must not mix them;
        labels then take longer on CUDA, where `zsbench.evaluation.triton_argmax` cannot be used.
        """
        return self.scoring(logits, classes)

    @property
    def logit_scale(self) -> float | None:
        """What scores are multiplied by before a softmax over the words makes probabilities of them, for background by
        threshold; None where scores are probabilities already."""
        return 1.0

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named scalar losses, summed by the harness. `images` as in `predict`; `labels` int64 (B, H, W): index into the
        present vocabulary, `zsbench.dataset.IGNORE` or `UNLABELLED`."""
        raise TypeError(f"{type(self).__name__} is not trainable")

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`losses`, under the name that distributed wrappers call."""
        return self.losses(images, labels)

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Groups for the optimiser (`params`, `lr`, `weight_decay`); by default one group of all that is learnable."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"params": params, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}]
