"""A run that will take very long is not begun by accident."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from zsbench.utils.progress import format_seconds

if TYPE_CHECKING:
    from zsbench.runs.plan import Plan

LONGEST_UNASKED = 24 * 3600.0
"""Seconds; beyond, somebody has to say yes."""
Confirm = Callable[[str], None]
"""Is told what will take how long, and returns where it shall be done; else it raises `UserError`."""


def warn(text: str) -> None:
    """Of a notebook or a program nothing is asked."""
    warnings.warn(text, stacklevel=2)


def question(plan: Plan, training: float, evaluation: float) -> str:
    """What will take so many seconds, and what would make it feasible."""
    parts = [f"{format_seconds(training)} of training" * (training > 0)]
    parts.append(f"{format_seconds(evaluation)} of evaluation" * (evaluation > 0))
    took = f"this will take {format_seconds(training + evaluation)} on this device ({plan.device})"
    return f"{took}: {', '.join(filter(None, parts))}. Feasible would be: {'; '.join(remedies(plan, training, evaluation))}."


def remedies(plan: Plan, training: float, evaluation: float) -> list[str]:
    """What to change, as options where these say it."""
    found = []
    if plan.device.type != "cuda":
        there = torch.cuda.is_available()
        found.append(
            "the GPU of this machine (--device cuda)" if there else "a machine with a GPU, often 50 times as fast"
        )
    if training > LONGEST_UNASKED / 2:
        fewer = max(1, int(plan.recipe.iterations * LONGEST_UNASKED / 2 / training))
        found.append(f"--iterations {fewer} instead of {plan.recipe.iterations}, half a day of training")
    if evaluation > LONGEST_UNASKED / 2:
        fewer = max(1, int(len(plan.eval_ids) * LONGEST_UNASKED / 2 / evaluation))
        found.append(f"--limit {fewer} instead of all {len(plan.eval_ids)} images, half a day of evaluation")
    return found or ["--limit N, a trial of a few images"]
