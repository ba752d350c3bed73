"""Images of the user's own, segmented into classes of the user's choice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zsbench import registry
from zsbench.data.image import exif_orientation, read_image
from zsbench.data.predictions import save_map
from zsbench.dataset import Dataset
from zsbench.errors import UserError
from zsbench.evaluation.evaluator import as_classes
from zsbench.evaluation.prediction import predict_labels, resize
from zsbench.method import ImageBatch, Method
from zsbench.runs.build import build_told
from zsbench.runs.image_files import Kind
from zsbench.runs.own_classes import OwnClasses, own_classes
from zsbench.runs.plan import Plan, make_plan
from zsbench.runs.request import Request
from zsbench.runs.resolve import is_dataset
from zsbench.utils.colours import Palette
from zsbench.utils.figures import ALPHA, Key, overlay, save_picture
from zsbench.utils.files import make_folder, printable, write_text


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a method sees in one image.

    `image`: uint8 (H, W, 3) RGB. `labels`: int32 (H, W), index into `classes`. `palette`: a colour for each class.
    """

    path: Path
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    palette: Palette

    @property
    def orientation(self) -> int:
        """As the image's EXIF data say it; 1: viewers show it as it is segmented."""
        return exif_orientation(self.path)

    @property
    def key(self) -> Key:
        """Classes and colours, neighbours told apart."""
        return Key(self.classes, self.palette).told_apart([self.labels])

    @property
    def shares(self) -> dict[str, float]:
        """Percent of the pixels of each class that occurs, the largest first."""
        pixels = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        order = [cls for cls in np.argsort(-pixels, kind="stable") if pixels[cls]]
        return {self.classes[cls]: 100 * float(pixels[cls]) / self.labels.size for cls in order}

    def overlay(self, alpha: float = ALPHA) -> Image.Image:
        """The classes over the image, pixel on pixel, with names; `alpha`: 0..1, how much the colours cover."""
        return overlay(self.image, self.labels, self.key, alpha)

    def summary(self) -> dict[str, Any]:
        """What is in the image, ready for JSON: its size, and each class with its index, colour and share of the pixels."""
        height, width = self.labels.shape
        palette = self.key.palette
        index = {name: cls for cls, name in enumerate(self.classes)}
        found = [
            {"name": name, "index": index[name], "colour": list(palette[index[name]]), "percent": percent}
            for name, percent in self.shares.items()
        ]
        return {"image": printable(self.path.name), "width": width, "height": height, "classes": found}

    def save(
        self,
        folder: str | Path,
        kinds: Sequence[Kind] = ("overlay", "labels"),
        alpha: float = ALPHA,
        name: str | None = None,
    ) -> dict[Kind, Path]:
        """Write an overlay, the label map (PNG, class index by pixel) and what is in it (JSON), as asked; their paths.

        `name`: of the files, without what `KINDS` say; it may have folders. By default that of the image.
        """
        start = Path(folder) / (self.path.stem if name is None else name)
        folder = make_folder(start.parent)
        written: dict[Kind, Path] = {}
        for kind in kinds:
            written[kind] = path = folder / f"{start.name}{'.json' if kind == 'json' else f'-{kind}.png'}"
            if kind == "overlay":
                save_picture(path, self.overlay(alpha))
            elif kind == "labels":
                save_map(path, self.labels, self.palette)
            else:
                write_text(path, json.dumps(self.summary(), indent=1) + "\n")
        return written


def predictions(request: Request, own: Dataset, images: Iterable[str | Path]) -> Iterator[Segmentation]:
    """Segment image files into the classes of `own` (as `own_request` gives both).

    Raises `UserError` for a file that is no image, and for a method that has to know the ground truth.
    """
    plan = plan_at_home(request, own)
    method, _ = build_told(plan)
    if method.oracle:
        raise UserError(f"{method.name} with these options looks at the ground truth, which an image of yours lacks.")
    plan = replace(plan, protocol=replace(plan.protocol, background_threshold=None))
    for path in map(Path, images):
        image = read_image(path)
        yield Segmentation(path, image, segment(method, plan, image, path.name), own.classes, own.palette)


def segment(
    method: Method, plan: Plan, image: NDArray[np.uint8], name: str, label: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """The classes of one image, int32 (H, W) of its label or, without one, of the image, as the plan has it; the method has
    been told its words. `name`: in messages."""
    device = next((tensor.device for tensor in method.parameters()), plan.device)
    labels = None if label is None else [torch.tensor(label)]
    batch = ImageBatch(resize(image, plan.protocol)[None].to(device), [name], labels)
    size = image.shape[:2] if label is None else label.shape
    with torch.inference_mode(), torch.autocast(device.type, plan.dtype, enabled=plan.dtype != torch.float32):
        (words,) = predict_labels(method, batch, [size], plan.protocol, word_to_class=plan.word_to_class)
    return as_classes(words, plan.word_to_class).cpu().numpy()


def plan_at_home(request: Request, own: Dataset) -> Plan:
    """The plan, with the protocol of the data that a release says it was trained on, where no other is asked for."""
    plan = make_plan("predict", request, own)
    learnt = plan.checkpoint
    if own.name != OwnClasses.name or learnt is None or not is_dataset(learnt.dataset):
        return plan
    home = registry.load_dataset_class(learnt.dataset)
    return make_plan("predict", request, own_classes(own.classes, home))
