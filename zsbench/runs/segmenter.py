"""A method as a function of images: what `zsbench.load_method` gives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zsbench.clip.model import Clip
from zsbench.clip.text import Vocabulary
from zsbench.data.image import read_image
from zsbench.errors import UserError, told_by_name
from zsbench.evaluation.argmax import RunningMax
from zsbench.evaluation.evaluator import as_classes, by_size
from zsbench.evaluation.prediction import predict_labels, resize
from zsbench.evaluation.refine import Scores, refinement
from zsbench.method import ImageBatch, Method
from zsbench.runs.build import full_vocabulary, spoken
from zsbench.runs.environment import tf32
from zsbench.runs.own_classes import names_in, own_classes
from zsbench.runs.plan import Plan, make_plan
from zsbench.utils.progress import progress_bar, shown_progress

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | NDArray[np.uint8] | Image

BATCH = 8
"""Images of one size that go through the method together."""


class Scored(NamedTuple):
    """`labels`: int32 (H, W), index of a class. `scores`: float32 (W, H, W') of each of the `words`, by which they are."""

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    words: tuple[str, ...]


class Keep(RunningMax):
    """Keeps all scores that it is shown."""

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        super().__init__(shape, device)
        self.parts: list[torch.Tensor] = []

    def update(self, scores: torch.Tensor, first: int) -> None:
        self.parts.append(scores.float().cpu().clone())


class Segmenter:
    """A method that was told classes, and segments images into them.

    `segmenter("photo.jpg")` gives int32 (H, W): index into `segmenter.classes`; of a list of images a list. An image is a
    path, uint8 (H, W, 3) RGB, or a PIL image. `classes=` are others of your choice, from now on;
    `scores=True` gives `Scored`. All else (`predict`, `options`, `vocabulary`) is the method's: `segmenter.method`.
    """

    def __init__(self, method: Method, clip: Clip | None, plan: Plan) -> None:
        self.method, self.clip, self.plan = method, clip, plan
        self._home = plan
        self._vocabularies: dict[tuple[str, ...] | None, tuple[Plan, Vocabulary]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that labels are indices into."""
        return self.plan.dataset.classes

    @property
    def asked(self) -> dict[str, Any]:
        """What it was loaded by, but for the dataset and for what belongs to loading alone."""
        request = self._home.request
        said = {
            name: getattr(request, name) for name in type(request).offered("load") if name in request.model_fields_set
        }
        return {name: value for name, value in said.items() if name != "dataset"}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("method", "clip", "plan"):
            raise AttributeError(name)
        return getattr(self.method, name)

    def __repr__(self) -> str:
        unlearnt = ", which has learnt nothing" if self.unlearnt else ""
        return (
            f"<{self.plan.method_class.name}{unlearnt}, told {len(self.classes)} classes of {self.plan.dataset.name}>"
        )

    @property
    def unlearnt(self) -> bool:
        """Whether it is a method that learns, and no weights were given."""
        return self._home.method_class.trainable and self._home.request.checkpoint is None

    @told_by_name
    def __call__(
        self,
        images: Picture | Sequence[Picture],
        classes: Sequence[str] | str | None = None,
        *,
        scores: bool = False,
        progress: bool | None = None,
    ) -> Any:
        if self.unlearnt:
            warnings.warn(f"{self!r}: give its weights by load_method(..., checkpoint=...).", stacklevel=3)
        if classes is not None:
            self.tell(classes)
        several = isinstance(images, list | tuple)
        found = list(self.segment(images if several else [images], scores, progress if several else False))  # type: ignore[list-item, arg-type]
        return found if several else found[0]

    def tell(self, classes: Sequence[str] | str | None = None) -> None:
        """From now on segment into these classes; None: those of the dataset that the method was loaded for."""
        key = None if classes is None else tuple(names_in(classes))
        if key not in self._vocabularies:
            plan = self._home if key is None else self.planned(key)
            vocabulary = full_vocabulary(spoken(plan, self.clip), self.clip).to(plan.device)
            self._vocabularies[key] = (plan, vocabulary)
        self.plan, vocabulary = self._vocabularies[key]
        self.method.set_vocabulary(vocabulary)

    def planned(self, classes: Sequence[str]) -> Plan:
        """The plan of classes of the user's own: words as they stand, no background by threshold."""
        home = self._home
        own = own_classes(classes, type(home.dataset))
        other = {"classes": None, "background_threshold": None, "transfer": home.request.checkpoint is not None}
        asked = home.request.model_copy(update=other)
        names = own.names()
        words = None if home.words is None else make_plan("load", asked, own).words
        protocol = replace(home.protocol, background_threshold=None)
        return replace(home, request=asked, dataset=own, names=names, words=words, protocol=protocol)

    def segment(self, images: Sequence[Picture], scores: bool, progress: bool | None) -> Iterator[Any]:
        """Each image in its turn; those of one size that follow each other go through the method together."""
        if self.method.oracle:
            raise UserError(
                f"{self.plan.method_class.name} with these options looks at the ground truth, which images lack."
            )
        with progress_bar(shown_progress(progress), "segment", len(images)) as bar:
            for start in range(0, len(images), BATCH):
                part = [as_pixels(image) for image in images[start : start + BATCH]]
                names = [str(image) if isinstance(image, str | Path) else "" for image in images[start : start + BATCH]]
                yield from self.batch(part, [name or f"image {start + at}" for at, name in enumerate(names)], scores)
                bar.reach(start + len(part))

    def batch(self, pixels: Sequence[NDArray[np.uint8]], names: Sequence[str], scores: bool) -> list[Any]:
        plan, found = self.plan, {}
        self.method.eval()
        resized = [resize(image, plan.protocol) for image in pixels]
        owners = plan.word_to_class
        for indices in by_size(resized):
            kept: dict[int, NDArray[np.float32]] = {}

            def look(
                index: int, words: torch.Tensor, given: Scores, kept: dict[int, NDArray[np.float32]] = kept
            ) -> None:
                keep = Keep(given.size, given.logits.device)
                given.show(keep, refinement(given, self.method.refining))
                kept[index] = torch.cat(keep.parts).numpy()

            stack = torch.stack([resized[index] for index in indices]).to(plan.device)
            batch = ImageBatch(stack, [names[index] for index in indices])
            sizes = [pixels[index].shape[:2] for index in indices]
            dtype, enabled = plan.dtype, plan.dtype != torch.float32
            autocast = torch.autocast(plan.device.type, dtype, enabled=enabled)
            with tf32(plan.request.tf32), torch.inference_mode(), autocast:
                words = predict_labels(
                    self.method, batch, sizes, plan.protocol, word_to_class=owners, look=look if scores else None
                )
            for at, index in enumerate(indices):
                labels = as_classes(words[at], owners).cpu().numpy()
                found[index] = Scored(labels, kept[at], plan.names.words) if scores else labels
        return [found[index] for index in range(len(pixels))]


def as_pixels(image: Picture) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), RGB. Raises `UserError` for what is no image."""
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise UserError(f"image {image} does not exist.")
        return read_image(Path(image))
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(
            f"an image is a path, a PIL image, or uint8 (height, width, 3) in RGB, not {pixels.dtype} {pixels.shape}."
        )
    return pixels
