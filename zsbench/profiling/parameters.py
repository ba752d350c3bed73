"""How many parameters a method has: all, learnable, learnable in vain, and those of the text encoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from zsbench.clip.model import Clip
from zsbench.dataset import IGNORE
from zsbench.method import Method
from zsbench.recipe import Recipe
from zsbench.training.rehearsal import TrialStep, rehearsal


def total(parameters: Iterable[nn.Parameter]) -> int:
    """Number of elements, each tensor once."""
    return sum(parameter.numel() for parameter in {id(each): each for each in parameters}.values())


def learnable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters with `requires_grad`, each tensor once, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def text_tower(clip: Clip | None) -> list[nn.Parameter]:
    """The parameters of CLIP that texts pass through; none without CLIP."""
    if clip is None:
        return []
    apart = ("visual.", "logit_")
    return [parameter for name, parameter in clip.model.named_parameters() if not name.startswith(apart)]


def without_gradient(method: Method, side: int, device: torch.device) -> int:
    """Number of learnable parameters that receive no gradient from the first training step, on a `side`-pixel square."""
    if not method.trainable:
        return 0
    phase = method.phases(method.settings[0], Recipe.model_validate({}), method.options)[0]
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, side, side, generator=generator).to(device)
    labels = torch.randint(IGNORE, len(method.vocabulary), (1, side, side), generator=generator).to(device)
    with rehearsal(method):
        method.train_step(TrialStep(method, phase, images, labels))
        return sum(parameter.numel() for parameter in learnable(method).values() if parameter.grad is None)
