"""Proposals of any detectron2 MaskFormer or Mask R-CNN: optional, imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsbench.clip.weights import read_tensors
from zsbench.errors import UserError

from .geometry import pad_to_multiple
from .proposals import Proposals

INSTALL = "pip install 'git+https://github.com/facebookresearch/detectron2.git'"
SUPPORTED = ("MaskFormer", "GeneralizedRCNN")


class Detectron(nn.Module):
    """A detectron2 model, frozen. Raises `UserError` without detectron2, and for a meta-architecture that gives no masks.

    Classes and scores of the detector are not used: they belong to its training vocabulary.
    """

    def __init__(self, config: Path, weights: Path) -> None:
        super().__init__()
        self.config = read_config(config)
        self.config.MODEL.DEVICE = "cpu"
        try:
            self.model = _import("modeling").build_model(self.config)
        except KeyError as error:
            raise UserError(
                f"detectron2 does not know {error}, which {config} names. It belongs to a project such as MaskFormer: "
                "put the project on PYTHONPATH and import it in a file given by --plugin."
            ) from error
        fill(self.model, read_tensors(weights), f"{weights} does not fit {config}")
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def propose(self, images: Tensor) -> Iterator[Proposals]:
        size = pad_to_multiple(images).shape[-2:]
        for image in images:
            yield Proposals(self._masks(image, (int(size[0]), int(size[1]))))

    def _masks(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        pixels = 255 * image
        if self.config.INPUT.FORMAT == "BGR":
            pixels = pixels.flip(0)
        if self.config.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
            inputs = {"image": pixels, "height": image.shape[-2], "width": image.shape[-1]}
            masks = self.model.inference([inputs])[0]["instances"].pred_masks.float()
            return F.pad(masks, (0, size[1] - masks.shape[-1], 0, size[0] - masks.shape[-2]))
        normalised = pad_to_multiple((pixels - self.model.pixel_mean) / self.model.pixel_std)[None]
        outputs = self.model.sem_seg_head(self.model.backbone(normalised))
        return F.interpolate(outputs["pred_masks"], size, mode="bilinear", align_corners=False)[0].sigmoid()


def fill(model: Any, content: Mapping[str, Any], problem: str) -> None:
    """Copy the tensors of a checkpoint into a detectron2 model, strictly. Raises `UserError` that begins with `problem`.

    Old checkpoints hold the pixel statistics as well: those must be the config's, or images would be normalised by others
    than the network was trained with.
    """
    state = dict(content)
    for name in ("pixel_mean", "pixel_std"):
        stored, used = state.pop(name, None), getattr(model, name)
        if stored is not None and not torch.allclose(stored.flatten().float(), used.flatten().float(), atol=0.1):
            raise UserError(
                f"{problem}: {name} is {stored.flatten().tolist()}, the config's {used.flatten().tolist()}."
            )
    try:
        mismatch = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # tensors of another shape
        raise UserError(f"{problem}: {error}") from error
    strangers = [
        key for key in mismatch.missing_keys + mismatch.unexpected_keys if not key.endswith("num_batches_tracked")
    ]
    if strangers:
        raise UserError(f"{problem}: {', '.join(strangers[:6])}.")


def read_config(path: Path) -> Any:
    """The detectron2 config of a YAML file; unknown keys of projects such as MaskFormer are allowed."""
    config = _import("config").get_cfg()
    config.set_new_allowed(True)
    try:
        config.merge_from_file(str(path))
    except Exception as error:  # yacs raises what its checks happen to raise
        raise UserError(f"detectron2 cannot read {path}: {error}") from error
    check_architecture(config.MODEL.META_ARCHITECTURE, path)
    return config


def check_architecture(name: str, path: Path) -> None:
    if name not in SUPPORTED:
        raise UserError(
            f"{path}: meta-architecture {name} gives no class-agnostic masks that can be used here; "
            f"supported: {', '.join(SUPPORTED)}. Any other generator can write its masks to a file: -o proposals=file."
        )


def _import(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"detectron2.{module}")
    except ImportError as error:
        raise UserError(
            f"proposals=detectron2 needs detectron2, which is on no package registry: {INSTALL}. "
            "The same network without it: --method zegformer."
        ) from error
