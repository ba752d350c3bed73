"""The gallery of a run: image, truth and prediction of a few images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from zsbench.evaluation.evaluator import as_classes
from zsbench.evaluation.prediction import predict_labels, resize
from zsbench.method import ImageBatch, Method
from zsbench.runs.plan import Plan
from zsbench.utils.figures import GalleryRow, save_gallery

IMAGES = 8


def draw_gallery(path: Path, plan: Plan, method: Method, device: torch.device) -> None:
    """Pictures of images spread evenly over the split; the method has been told the vocabulary."""
    dataset = plan.dataset
    chosen = np.unique(np.linspace(0, len(plan.eval_ids) - 1, IMAGES).astype(int))
    rows = [predicted_row(plan, method, device, plan.eval_ids[index]) for index in chosen]
    title = f"{plan.method_class.name} on {dataset.name}, {plan.setting}"
    save_gallery(path, rows, dataset.classes, dataset.unseen, dataset.palette, title)


def predicted_row(plan: Plan, method: Method, device: torch.device, image_id: str) -> GalleryRow:
    sample = plan.dataset.read(plan.protocol.split, image_id)
    image = resize(sample.image, plan.protocol)[None].to(device)
    batch = ImageBatch(image, [sample.id], [torch.tensor(sample.label)])
    with torch.inference_mode():
        prediction = predict_labels(method, batch, [sample.label.shape], plan.protocol)[0]
    classes = as_classes(prediction, plan.word_to_class).cpu().numpy()
    return GalleryRow(sample.image, sample.label, np.where(sample.label < 0, sample.label, classes))
