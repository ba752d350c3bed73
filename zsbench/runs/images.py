"""One image, classes of the user's choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from zsbench import registry
from zsbench.checkpoint import load_trainable_state_dict, read_checkpoint
from zsbench.clip.model import load_clip
from zsbench.clip.text import encode_vocabulary
from zsbench.dataset import Defaults
from zsbench.errors import UserError
from zsbench.evaluation.prediction import predict_labels, resize
from zsbench.method import ImageBatch
from zsbench.runs.compatibility import check_clip
from zsbench.runs.plan import choose_device, merge, resolve_clip, resolve_protocol
from zsbench.utils.figures import save_label_map, save_overlay, spread_palette
from zsbench.utils.files import make_folder


def predict_image(
    image: Path,
    classes: tuple[str, ...],
    *,
    method: str | None = None,
    dataset: str | None = None,
    options: dict[str, str] | None = None,
    clip: str | None = None,
    weights: str | None = None,
    templates: str | None = None,
    checkpoint: Path | None = None,
    device: str | None = None,
    out: Path = Path(),
) -> tuple[Path, Path]:
    """Segment `image` into `classes`; returns the paths of the overlay and of the label map (PNG, class index by pixel).

    CLIP and protocol are those of `dataset`, else of the checkpoint's dataset, else ViT-B/16 with the usual windows.
    """
    info, learnt = read_checkpoint(checkpoint) if checkpoint else (None, {})
    home = dataset or (info.dataset if info else None)
    defaults = registry.load_dataset_class(home).defaults if home else Defaults()
    method_class = registry.load_method_class(method or (info.method if info else "maskclip"))
    if method_class.trainable and info is None:
        raise UserError(f"{method_class.name} is a trained method: give its weights with --checkpoint.")
    pixels = read_picture(image)
    model = load_clip(*resolve_clip(clip, weights, defaults))
    stored = info.options if info else {}
    segmenter = method_class(
        model, merge(method_class.Options, stored, options or {}, what=f"option of {method_class.name}")
    )
    if info and checkpoint:
        check_clip(info, checkpoint, model)
        load_trainable_state_dict(segmenter, learnt, str(checkpoint))
    learnt_names = set(info.classes) - set(info.unseen) if info else set()
    seen = torch.tensor([name in learnt_names for name in classes])
    target = choose_device(device)
    segmenter.eval().to(target)
    segmenter.set_vocabulary(
        encode_vocabulary(model, classes, seen, templates or (info.templates if info else defaults.templates)).to(
            target
        )
    )
    protocol = replace(resolve_protocol(method_class, home or "", defaults), background_threshold=None)
    with torch.inference_mode():
        inputs = ImageBatch(resize(pixels, protocol)[None].to(target))
        label = predict_labels(segmenter, inputs, [pixels.shape[:2]], protocol)[0].cpu().numpy()
    palette = spread_palette(len(classes))
    overlay, label_map = (make_folder(out) / f"{image.stem}-{kind}.png" for kind in ("overlay", "labels"))
    save_overlay(overlay, pixels, label, classes, palette)
    save_label_map(label_map, label, palette)
    return overlay, label_map


def read_picture(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB of any image file; raises `UserError` where it is none."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise UserError(f"image {path} does not exist.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path} is no readable image: {error}") from error
