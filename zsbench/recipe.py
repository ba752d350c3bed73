"""How a method is trained, as data: one flat, typed record that is stored whole with every checkpoint and result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_SIDE, MAX_WORKERS, MANY = 1 << 16, 1024, 1 << 31
"""Bounds that nobody meets but by a slip: pixels, processes, steps or images."""
Beta = Annotated[float, Field(ge=0, lt=1)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Channel = Annotated[float, Field(ge=0, le=1)]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of RGB in 0..1: nothing, where a network normalises by it before it pads."""


class Recipe(BaseModel):
    """Defaults are those of the released ZegCLIP (AdamW, one group, poly schedule with linear warm-up, 512-px crops)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    iterations: int = Field(20_000, ge=0, le=MANY, description="optimiser steps, over all phases")
    batch_size: int = Field(
        16, ge=1, le=MANY, description="images per optimiser step, over all devices and micro-batches"
    )
    micro_batch: int | None = Field(
        None, ge=1, le=MANY, description="images in memory at once; gradients are accumulated to batch_size"
    )
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="adam and sgd couple their weight decay")
    learning_rate: float = Field(2e-4, gt=0, le=1e6, description="peak rate of the optimiser")
    weight_decay: float = Field(0.01, ge=0, le=1e6, description="decay of every learnable tensor")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="moments of adamw and adam")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    schedule: Literal["poly", "step", "constant"] = Field("poly", description="how the rate falls after the warm-up")
    schedule_every: Annotated[int, Field(ge=1, le=MANY)] | Literal["epoch"] = Field(
        1, description="steps between two rates, or one pass over the images (epoch)"
    )
    poly_power: float = Field(0.9, ge=0, le=100, description="poly: exponent of the decay")
    decay_from: int = Field(0, ge=0, le=MANY, description="step: when the rate falls for the first time")
    decay_every: int = Field(1, ge=1, le=MANY, description="step: steps until it falls again")
    decay_factor: float = Field(0.1, gt=0, le=1, description="step: what it is multiplied by")
    min_learning_rate: float = Field(1e-6, ge=0, le=1e6, description="floor of the decay")
    warmup_iterations: int = Field(1500, ge=0, le=MANY, description="length of the linear warm-up")
    warmup_ratio: float = Field(1e-6, ge=0, le=1, description="rate at step 0 as a share of the scheduled one")
    gradient_clip: float | None = Field(None, gt=0, le=1e30, description="bound on the gradient's norm")
    crop: int = Field(
        512, ge=8, le=MAX_SIDE, description="side of the square training crop in pixels; smaller images are padded"
    )
    crop_width: int | None = Field(
        None, ge=8, le=MAX_SIDE, description="width of a training crop that is no square; crop is its height then"
    )
    short_side: int | None = Field(
        512, ge=1, le=MAX_SIDE, description="short side before the random scale; none keeps the image's size"
    )
    stretch: bool = Field(False, description="both sides become short_side: the aspect is lost")
    long_side: int = Field(2048, ge=1, le=MAX_SIDE, description="bound on the long side before the random scale")
    scale: tuple[Scale, Scale] = Field((0.5, 2.0), description="range of the random scale")
    category_limit: float = Field(
        0.75, gt=0, le=1, description="a crop is redrawn while one class covers more than this share"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    photometric: bool = Field(True, description="random brightness, contrast, saturation and hue")
    blur: float = Field(0.0, ge=0, le=1, description="probability of a Gaussian blur, its deviation up to a pixel")
    pad: Literal["corner", "centre"] = Field(
        "corner",
        description="where the image lies in a crop that is larger; centre: in one of side short_side, too, before the crop",
    )
    pad_colour: tuple[Channel, Channel, Channel] = Field(
        IMAGENET_MEAN,
        description="red, green and blue of what is padded, in 0..1; default: ImageNet's mean, as released",
    )
    pseudo_labels: Literal["unseen", "all"] = Field(
        "unseen",
        description="transductive: pseudo labels for pixels of unseen classes (the paper's dagger), or all unlabelled",
    )
    self_training_from: float = Field(
        0.5, ge=0, le=1, description="transductive: share of the steps trained inductively first"
    )
    workers: int = Field(2, ge=0, le=MAX_WORKERS, description="processes that read training images")
    validate_every: int = Field(
        0,
        ge=0,
        le=MANY,
        description="steps between two looks at held-out training images; 0: none, all are learnt from",
    )
    validate_images: int | None = Field(
        None,
        ge=1,
        le=MANY,
        description="images held out, the last of the training split; default: a fifth, at most 500",
    )
    patience: int | None = Field(
        None, ge=1, le=MANY, description="validations without a better one after which a phase of training ends early"
    )
    evaluated: Literal["last", "best"] = Field("last", description="with validation: which weights a run evaluates")

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of a training crop, in pixels."""
        return self.crop, self.crop_width or self.crop

    @field_validator("scale")
    @classmethod
    def ascending(cls, scale: tuple[float, float]) -> tuple[float, float]:
        """A range goes from the smaller to the larger number."""
        if scale[0] > scale[1]:
            raise ValueError("expected two numbers, the smaller first")
        return scale

    @model_validator(mode="after")
    def validated_at_all(self) -> Recipe:
        """What says how to validate needs validation."""
        for name in ("validate_images", "patience", "evaluated"):
            if not self.validate_every and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} says something of validation, of which there is none: give validate_every=N, too"
                )
        return self


READ_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "betas": ("optimiser", ("adamw", "adam")),
    "momentum": ("optimiser", ("sgd",)),
    "poly_power": ("schedule", ("poly",)),
    "min_learning_rate": ("schedule", ("poly", "step")),
    **dict.fromkeys(("decay_from", "decay_every", "decay_factor"), ("schedule", ("step",))),
}
"""Entries that are read under some choices of another entry alone: that entry, and these choices."""

NEEDED: Mapping[str, tuple[str, Callable[[Recipe], bool]]] = {
    "warmup_ratio": ("is of the warm-up, and warmup_iterations is 0", lambda recipe: recipe.warmup_iterations > 0),
    "schedule_every": (
        "is of a rate that changes, and this one is constant, without a warm-up",
        lambda recipe: recipe.schedule != "constant" or recipe.warmup_iterations > 0,
    ),
    "stretch": ("is of short_side, which is none", lambda recipe: recipe.short_side is not None),
    "long_side": (
        "bounds what short_side makes of an image, and that is none, or stretch is on",
        lambda recipe: recipe.short_side is not None and not recipe.stretch,
    ),
}
"""Entries that need others: why they do nothing, and whether a recipe reads them."""
SELF_TRAINING = ("pseudo_labels", "self_training_from")
"""Entries of the transductive setting."""


def idle(entry: str, recipes: Iterable[Recipe]) -> str | None:
    """Why an entry does nothing in any of the recipes, those of a training's phases; None where it does."""
    if entry in NEEDED:
        reason, read = NEEDED[entry]
        return None if any(map(read, recipes)) else f"{entry} {reason}"
    if entry not in READ_WITH:
        return None
    other, choices = READ_WITH[entry]
    made = {str(getattr(recipe, other)) for recipe in recipes}
    if made & set(choices):
        return None
    return f"{entry} is of {other} {' and '.join(choices)}, and this training has {' and '.join(sorted(made))}"


def learning_rate(recipe: Recipe, step: int, steps: int, peak: float) -> float:
    """Rate at `step` (from 0) of `steps`: the schedule's decay times a linear warm-up.

    poly: `lr = ((peak - min)(1 - step/steps)^power + min) * (1 - (1 - step/warmup)(1 - ratio))`, the last factor during the
    warm-up only (mmcv 1.4.4, `PolyLrUpdaterHook` with `warmup="linear"`). step: `peak * factor^n` after n falls, at least
    `min`. `peak` is the group's own rate.
    """
    floor, rate = recipe.min_learning_rate, peak
    if recipe.schedule == "poly":
        rate = (peak - floor) * (1 - step / steps) ** recipe.poly_power + floor
    elif recipe.schedule == "step" and step >= recipe.decay_from:
        falls = 1 + (step - recipe.decay_from) // recipe.decay_every
        rate = max(peak * recipe.decay_factor**falls, floor)
    if step < recipe.warmup_iterations:
        rate *= 1 - (1 - step / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)
    return rate
