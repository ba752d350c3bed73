"""The output folder of a run: what lies in it under which name, and that nothing computed is overwritten."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from zsbench.errors import UserError
from zsbench.metrics.journal import journal_paths
from zsbench.utils.files import make_folder

RESULT, RECORDS, GALLERY, LOG = "result.json", "records.npz", "gallery.png", "run.log"
PROFILE = "profile.json"
CHECKPOINT, STEPS = "checkpoint.safetensors", "train.jsonl"
STATE, PHASE = "training.pt", "training-phase.pt"
"""What an unfinished training goes on from, and what its present phase began with."""
PSEUDO_LABELS = "pseudo-labels"
"""Folder of labels that a method made for its own training."""


def prepare_run_dir(folder: Path, trains: bool, resume: bool) -> Path:
    """Make the folder; returns it absolute. An unfinished run is resumed or left alone: raises `UserError` otherwise."""
    path = make_folder(folder).resolve()
    begun = ", ".join(leftover.name for leftover in leftovers(path))
    if begun and not resume:
        raise UserError(
            f"{path} holds an unfinished run ({begun}). Go on with --resume, choose another --out, or delete the folder."
        )
    held = "result" if (path / RESULT).exists() else "checkpoint"
    if held == "result" or (trains and (path / CHECKPOINT).exists() and not begun):
        raise UserError(f"{folder} already holds a {held}. Choose another --out, or delete the folder.")
    return path


def leftovers(folder: Path) -> list[Path]:
    """The files that a run leaves only when it is cut short."""
    return [path for path in (*journal_paths(folder), folder / STATE, folder / PHASE) if path.exists()]


def is_finished(folder: Path, trains: bool) -> bool:
    """Whether a folder holds a result, or a checkpoint that training would overwrite."""
    learnt = (folder / CHECKPOINT).exists() and not leftovers(folder)
    return (folder / RESULT).exists() or (trains and learnt)


def free_folder(first: Path, taken: Callable[[Path], bool]) -> Path:
    """`first`, or the first of `<first>-2`, `<first>-3`, ... that is not taken."""
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], others) if not taken(folder))
