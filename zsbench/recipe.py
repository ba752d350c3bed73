"""How a method is trained, as data: one flat, typed record that is stored whole with every checkpoint and result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """Defaults are those of the released ZegCLIP (AdamW, one group, poly schedule with linear warm-up, 512-px crops)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(20_000, ge=0, description="optimiser steps, over all phases")
    batch_size: int = Field(16, ge=1, description="images per optimiser step, over all devices and micro-batches")
    micro_batch: int | None = Field(
        None, ge=1, description="images in memory at once; gradients are accumulated to batch_size"
    )
    learning_rate: float = Field(2e-4, gt=0, description="peak rate of the optimiser")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled decay, applied to every learnable tensor")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's moments")
    poly_power: float = Field(0.9, ge=0, description="exponent of the polynomial decay")
    min_learning_rate: float = Field(1e-6, ge=0, description="floor of the decay")
    warmup_iterations: int = Field(1500, ge=0, description="length of the linear warm-up")
    warmup_ratio: float = Field(1e-6, ge=0, le=1, description="rate at step 0 as a share of the scheduled one")
    gradient_clip: float | None = Field(None, gt=0, description="bound on the gradient's norm")
    crop: int = Field(512, ge=1, description="side of the square training crop in pixels; smaller images are padded")
    short_side: int | None = Field(
        512, ge=1, description="short side before the random scale; None keeps the image's size"
    )
    long_side: int = Field(2048, ge=1, description="bound on the long side before the random scale")
    scale: tuple[float, float] = Field((0.5, 2.0), description="range of the random scale")
    category_limit: float = Field(
        0.75, gt=0, le=1, description="a crop is redrawn while one class covers more than this share"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    photometric: bool = Field(True, description="random brightness, contrast, saturation and hue")
    pseudo_labels: Literal["unseen", "all"] = Field(
        "unseen",
        description="transductive: pseudo labels for pixels of unseen classes (the paper's dagger), or all unlabelled",
    )
    self_training_from: float = Field(
        0.5, ge=0, le=1, description="transductive: share of the steps trained inductively first"
    )
    workers: int = Field(2, ge=0, description="processes that read training images")


def learning_rate(recipe: Recipe, step: int, steps: int, peak: float) -> float:
    """Rate at `step` (from 0) of `steps`: polynomial decay times a linear warm-up.

    `lr = ((peak - min)(1 - step/steps)^power + min) * (1 - (1 - step/warmup)(1 - ratio))`, the last factor during the
    warm-up only (mmcv 1.4.4, `PolyLrUpdaterHook` with `warmup="linear"`). `peak` is the group's own rate.
    """
    floor = recipe.min_learning_rate
    rate = (peak - floor) * (1 - step / steps) ** recipe.poly_power + floor
    if step < recipe.warmup_iterations:
        rate *= 1 - (1 - step / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)
    return rate
