"""What a method is: told a vocabulary once, it turns images into logits; if it trains, also into losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zsbench.clip.text import Vocabulary
from zsbench.errors import UserError
from zsbench.optimisation import MAIN, Step, build_optimiser
from zsbench.optimisation import Losses as Losses
from zsbench.options import Ablation as Ablation
from zsbench.options import Options as Options
from zsbench.options import Preset as Preset
from zsbench.recipe import Recipe, learning_rate
from zsbench.settings import Phase, Setting, TrainingView, default_phases

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on

    from zsbench.clip.model import Clip
    from zsbench.refining import Refining


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


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images on their way through a method, and what it may know of them.

    `images`: float32 (B, 3, H, W), RGB in 0..1: `whole` images, or windows of some. `ids`: of the image that each is, or is
    a window of; None where they are made up, as in a profile. `labels`: the ground truth of that image, int (H', W') each,
    at its own size; None for every method but an oracle.
    """

    images: Tensor
    ids: Sequence[str] | None = None
    labels: Sequence[Tensor] | None = None
    whole: bool = True


Statistics = Callable[[], Mapping[str, Sequence[float]]]
"""Numbers about each image of a batch, by name. Asked for when the device is done with the batch, so that nothing waits."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What `Method.predict` gives, with numbers that belong into the result, which has their means over images."""

    logits: Tensor
    statistics: Statistics = dict


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A checkpoint in the format of a method's own release.

    `options`: those that follow from it. `setting`: how it was trained, where the file tells. `check`: raises `UserError`
    where it does not belong to `(seen, classes)` numbers of classes. `fill`: puts it into a method, strictly.
    `dataset`: what it was trained on, and `classes`: the names of that data's classes, where the file tells.
    """

    options: Mapping[str, Any]
    setting: str | None
    check: Callable[[int, int], None]
    fill: Callable[[Method], None]
    dataset: str | None = None
    classes: Sequence[str] | None = None


class Method(nn.Module, ABC):
    """Base of all methods. The smallest useful one defines `predict`.

    `Options`: the class of its options, with their variants and presets. A method that learns sets `trainable` and defines
    `losses`; what it learns is what has `requires_grad`, in one of `settings`, by default the first. One without CLIP sets
    `needs_clip` to False: its `clip` is None, and its vocabulary holds word vectors from a file of the user's (`--words`).
    `reads`: entries of the recipe that its own optimisers or rates read, whatever its `optimiser` and `schedule` are.
    """

    Options: ClassVar[type[Options]] = Options
    trainable: ClassVar[bool] = False
    settings: ClassVar[tuple[Setting, ...]] = ("inductive", "transductive", "supervised")
    needs_clip: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str]
    vocabulary: Vocabulary

    def __init__(self, clip: Clip | None, options: Any) -> None:
        super().__init__()
        self.clip: Clip = clip  # type: ignore[assignment]  # None is for those that say they never look at it
        self.options = options

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Be told the classes; logits from now on have one channel for each, in this order."""
        self.vocabulary = vocabulary

    @classmethod
    def read_released(cls, path: Path) -> ReleasedCheckpoint | None:
        """The checkpoint of the method's own release in `path`, recognised by its keys; None where it is none."""
        return None

    @property
    def oracle(self) -> bool:
        """Whether predictions use the ground truth of their images: an upper bound, never a result to rank."""
        return False

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Logits float (B, C, h, w) at any stride for images float32 (B, 3, H, W), RGB in 0..1."""

    def predict_batch(self, batch: ImageBatch) -> Tensor | Prediction:
        """`predict` for a method that looks at more than pixels, or has more to say than logits. Called by the harness."""
        return self.predict(batch.images)

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

    @property
    def refining(self) -> Refining | None:
        """What the harness does with scores at the label's size, beside the arg max; None for nothing."""
        return None

    def losses(self, images: Tensor, labels: Tensor) -> Mapping[str, Tensor] | Losses:
        """Named scalar losses, summed by the harness: means over images, or `Losses` that say what they are means of.

        `images` as in `predict`; `labels` int64 (B, H, W): index into the present vocabulary, `zsbench.dataset.IGNORE` or
        `UNLABELLED`.
        """
        raise TypeError(f"{type(self).__name__} is not trainable")

    def forward(self, images: Tensor, labels: Tensor) -> Mapping[str, Tensor] | Losses:
        """`losses`, under the name that distributed wrappers call."""
        return self.losses(images, labels)

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Groups for the optimiser (`params`, `lr`, `weight_decay`); by default one group of all that is learnable."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [{"params": params, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}]

    # Where one sum of losses and one optimiser do not say how a method learns, it says more of what follows.

    @classmethod
    def phases(cls, setting: Setting, recipe: Recipe, options: Any) -> tuple[Phase, ...]:
        """The phases of training, each with what it sees, what it is told, and its recipe."""
        return default_phases(setting, recipe)

    def begin_phase(self, phase: Phase, view: TrainingView) -> None:
        """Prepare for a phase: new layers, a `frozen_copy` as teacher, `view.relabel`. The method knows the phase's classes.

        A resumed run calls it again, on the weights and the random state with which the phase began: what it makes of them
        alone is there again, and need not be stored.
        """

    def optimisers(self, phase: Phase) -> Mapping[str, Optimizer]:
        """The optimisers of a phase, new ones, by name: what they hold learns, and of that no tensor is held by two.

        What a phase leaves alone it leaves out. `requires_grad` stays as it is in all phases: a checkpoint goes by it.
        """
        return {MAIN: build_optimiser(phase.recipe, self.parameter_groups(phase.recipe))}

    def learning_rate(self, phase: Phase, optimiser: str, step: int, peak: float) -> float:
        """The rate, at a step of a phase, of a group of that optimiser which began with `peak`; by the recipe's schedule."""
        return learning_rate(phase.recipe, step, phase.rate_steps or phase.recipe.iterations, peak)

    def train_step(self, step: Step) -> Mapping[str, Tensor | float]:
        """One step of training; gives numbers for the log, among them the `loss`, by default the sum of the others."""
        return step.minimise()

    def can_predict(self, phase: Phase) -> bool:
        """Whether predictions mean something while this phase goes on: otherwise no validation looks at them."""
        return True

    def frozen_copy(self) -> Self:
        """The method as it is now, in eval mode, learning nothing; what never learns is shared, CLIP among it.

        Kept in a tuple, it is no part of the method: neither counted nor stored.
        """
        shared = [self.clip, *(each for each in self.parameters() if not each.requires_grad)]
        return deepcopy(self, {id(each): each for each in shared}).eval().requires_grad_(False)


# What the harness asks of the answers of a method, once for each batch.


def predicting(method: Method) -> str:
    """The name of what predicts: `predict`, or `predict_batch` where a method defines it."""
    return "predict" if type(method).predict_batch is Method.predict_batch else "predict_batch"


def named(method: Method | type[Method]) -> str:
    """How messages call a method: by its name, or by its class where it is not registered."""
    cls = method if isinstance(method, type) else type(method)
    return f"method {getattr(method, 'name', cls.__name__)!r}"


def checked_prediction(method: Method, found: object, batch: ImageBatch) -> Prediction:
    """What `Method.predict_batch` gave for a batch, once it is what the harness goes on with.

    Raises `UserError` naming the method, what it gave, and what was expected.
    """
    prediction = found if isinstance(found, Prediction) else Prediction(found)  # type: ignore[arg-type]
    logits, images, words = prediction.logits, len(batch.images), len(method.vocabulary)
    if (
        isinstance(logits, Tensor)
        and logits.is_floating_point()
        and logits.ndim == 4
        and logits.shape[:2] == (images, words)
        and logits.numel()
        and logits.device == batch.images.device
        and logits.layout == torch.strided
        and callable(prediction.statistics)
    ):
        return Prediction(logits, partial(checked_statistics, method, prediction.statistics))
    raise UserError(
        f"{named(method)} predicted {described(logits)} for {images} images and {words} words: expected logits, a float "
        f"tensor ({images}, {words}, h, w) on {batch.images.device}, and with them no statistics or a function that gives "
        "some."
    )


def checked_statistics(method: Method, statistics: Statistics) -> Mapping[str, Sequence[float]]:
    """The numbers about each image; raises `UserError` naming the method where they are none."""
    found: object = statistics()
    try:
        return {str(name): [float(value) for value in values] for name, values in found.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{named(method)}: statistics: expected a dictionary of names, with a number for each image ({error})."
        ) from None


def checked_scoring(method: Method) -> Scoring:
    """`Method.scoring`; raises `UserError` naming the method where it is none, or has not one constant for each word."""
    scoring: object = method.scoring
    bias = scoring.class_bias if isinstance(scoring, Scoring) else scoring
    if isinstance(scoring, Scoring) and (bias is None or are_floats(bias, (len(method.vocabulary),))):
        return scoring
    raise UserError(
        f"{named(method)}: scoring gave {described(bias)}: expected a zsbench.method.Scoring, its class_bias None or a "
        f"float tensor ({len(method.vocabulary)},)."
    )


def checked_losses(method: Method, found: object) -> Losses:
    """What `Method.losses` gave, in one form; raises `UserError` naming the method, the loss, and what was expected."""
    losses = found if isinstance(found, Losses) else Losses(found)  # type: ignore[arg-type]
    values: object = losses.values
    if not isinstance(values, Mapping) or not values:
        shown = [described(values)]
    else:
        shown = [f"{name}: {described(each)}" for name, each in values.items() if not are_floats(each, ())]
        if losses.terms is not None and not (isinstance(losses.terms, Tensor) and losses.terms.ndim == 0):
            shown.append(f"terms: {described(losses.terms)}")
    if not shown:
        return losses
    raise UserError(
        f"{named(method)} gave as losses {', '.join(shown)}: expected a dictionary of names and scalars, float tensors of "
        "shape (), or Losses of them, whose terms are a number as a tensor of shape ()."
    )


def are_floats(value: object, shape: tuple[int, ...]) -> bool:
    """Whether it is a plain float tensor of this shape."""
    floats = isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == shape
    return floats and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta


def checked_optimisers(method: Method, found: object) -> dict[str, Optimizer]:
    """What `Method.optimisers` gave; raises `UserError` naming the method where it is something else, or changes what no
    checkpoint would hold."""
    if not isinstance(found, Mapping) or not found or not all(isinstance(each, Optimizer) for each in found.values()):
        raise UserError(
            f"{named(method)}: optimisers gave {described(found)}: expected a dictionary of torch's optimisers."
        )
    own = {id(parameter) for parameter in method.parameters()}
    changed = [each for optimiser in found.values() for group in optimiser.param_groups for each in group["params"]]
    if foreign := sum(id(each) not in own for each in changed):
        raise UserError(
            f"{named(method)}: {foreign} tensors that its optimisers change are no parameters of it, so that no checkpoint "
            "would hold them: make their module an attribute of the method (such as self.visual = clip.model.visual)."
        )
    return dict(found)


def described(value: object) -> str:
    """What something is, for a message: of an array also type of numbers, shape and device."""
    kind = type(value)
    if not hasattr(value, "shape"):
        return "nothing (None)" if value is None else f"a {kind.__name__}"
    where = f" on {value.device}" if isinstance(value, Tensor) else ""
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__} {tuple(value.shape)} of {value.dtype}{where}"  # type: ignore[attr-defined]
