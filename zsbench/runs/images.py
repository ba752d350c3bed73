"""Images of the user's own, segmented into classes of the user's choice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zsbench import registry
from zsbench.data.image import exif_orientation, read_image
from zsbench.data.predictions import save_map
from zsbench.dataset import Dataset
from zsbench.errors import UserError
from zsbench.evaluation.prediction import predict_labels, resize
from zsbench.method import ImageBatch
from zsbench.runs.build import build_told
from zsbench.runs.own_classes import OwnClasses, own_classes
from zsbench.runs.plan import Plan, make_plan
from zsbench.runs.request import Request
from zsbench.runs.resolve import is_dataset
from zsbench.utils.figures import Palette, save_overlay
from zsbench.utils.files import make_folder


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

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write an overlay with a legend, and the label map (PNG, class index by pixel); returns their paths."""
        folder = make_folder(Path(folder))
        overlay, label_map = (folder / f"{self.path.stem}-{kind}.png" for kind in ("overlay", "labels"))
        save_overlay(overlay, self.image, self.labels, self.classes, self.palette)
        save_map(label_map, self.labels, self.palette)
        return overlay, label_map


def predictions(request: Request, own: Dataset, images: Iterable[str | Path]) -> Iterator[Segmentation]:
    """Segment image files into the classes of `own` (as `own_request` gives both).

    Raises `UserError` for a file that is no image, and for a method that has to know the ground truth.
    """
    plan = plan_at_home(request, own)
    method, _ = build_told(plan)
    if method.oracle:
        raise UserError(f"{method.name} with these options looks at the ground truth, which an image of yours lacks.")
    protocol = replace(plan.protocol, background_threshold=None)
    for path in map(Path, images):
        image = read_image(path)
        batch = ImageBatch(resize(image, protocol)[None].to(plan.device), [path.name])
        with torch.inference_mode(), torch.autocast(plan.device.type, plan.dtype, enabled=plan.dtype != torch.float32):
            (labels,) = predict_labels(method, batch, [image.shape[:2]], protocol)
        yield Segmentation(path, image, labels.cpu().numpy(), own.classes, own.palette)


def plan_at_home(request: Request, own: Dataset) -> Plan:
    """The plan, with the protocol of the data that a release says it was trained on, where no other is asked for."""
    plan = make_plan("predict", request, own)
    learnt = plan.checkpoint
    if own.name != OwnClasses.name or learnt is None or not is_dataset(learnt.dataset):
        return plan
    home = registry.load_dataset_class(learnt.dataset)
    return make_plan("predict", request, own_classes(own.classes, home))
