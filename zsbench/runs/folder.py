"""The output folder of a run: what lies in it under which name, and that nothing computed is overwritten."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zsbench.errors import UserError
from zsbench.metrics.journal import journal_paths
from zsbench.runs.claim import Claim, Held, claim
from zsbench.runs.request import UNSAID, Request, as_word
from zsbench.utils.files import make_folder, remove_parts, sha256

RESULT, RECORDS, GALLERY, LOG = "result.json", "records.npz", "gallery.png", "run.log"
PROFILE = "profile.json"
CHECKPOINT, STEPS = "checkpoint.safetensors", "train.jsonl"
BEST = "best.safetensors"
"""The weights that were best in validation."""
CURVES = "training.png"
STATE = "training.pt"
"""What an unfinished training goes on from; beside it is what its present phase began with, and of both the one before."""
PSEUDO_LABELS = "pseudo-labels"
"""Folder of labels that a method made for its own training."""
IDENTITY = "run.json"
"""What an unfinished run is."""


UNNAMED = (
    *("method", "variant", "dataset", "setting", "seed"),  # have a place of their own in the name
    *("device", "eval_batch", "checkpoint", "plugin", "curve", "metric", "calibrated"),  # where, and what besides
    *UNSAID,
)
LONGEST = 100
"""Letters of what was changed in the name of a folder."""


def open_folder(
    folder: Path, trains: bool, resume: bool, usual: Path | None = None, say: Callable[[str], None] = lambda text: None
) -> Claim:
    """Make the folder and claim it, before anything is written in it.

    Where another run has it, one that was given no folder takes the next name after `usual`; `say` is told. Raises
    `UserError` where it cannot be had, and where it holds what must not be overwritten: an unfinished run is resumed or
    left alone.
    """
    tried: set[Path] = set()
    while True:
        try:
            claimed = claim(make_folder(folder), patient=resume)
            break
        except Held as held:
            if usual is None or resume:
                raise
            tried.add(folder)
            folder = free_folder(usual, lambda other: other in tried or is_finished(other, trains))
            say(f"{str(held).partition('. ')[0]}: this run goes to {folder}.")
    try:
        check_free(claimed.folder, trains, resume)
        remove_parts(claimed.folder)
    except BaseException:
        claimed.release()
        raise
    return claimed


def check_free(path: Path, trains: bool, resume: bool) -> None:
    """Raise `UserError` where a run would overwrite what another computed."""
    if resume:
        return
    if begun := ", ".join(leftover.name for leftover in leftovers(path)):
        raise UserError(
            f"{path} holds an unfinished run ({begun}). Go on with --resume, choose another --out, or delete the folder."
        )
    if is_finished(path, trains):
        held = "result" if (path / RESULT).exists() else "checkpoint"
        raise UserError(f"{path} already holds a {held}. Choose another --out, or delete the folder.")


def leftovers(folder: Path) -> list[Path]:
    """The files that a run leaves only when it is cut short."""
    states = folder.glob(f"{Path(STATE).stem}*{Path(STATE).suffix}")
    return [*journal_paths(folder), *sorted(states)]


def tidy(folder: Path) -> None:
    """Nothing is left to resume."""
    for leftover in (*leftovers(folder), folder / IDENTITY):
        leftover.unlink(missing_ok=True)


def is_finished(folder: Path, trains: bool) -> bool:
    """Whether a folder holds a result, or a checkpoint that training would overwrite."""
    learnt = (folder / CHECKPOINT).exists() and not leftovers(folder)
    return (folder / RESULT).exists() or (trains and learnt)


def weights_in(folder: Path, digest: str | None) -> Path | None:
    """The file of learnt weights that has this hash: of a run with validation it may be that of the best ones."""
    there = (folder / name for name in (CHECKPOINT, BEST) if (folder / name).exists())
    return next((path for path in there if digest is not None and sha256(path) == digest), None)


def changes(request: Request) -> str:
    """What a request changes beside what its folder is named by anyway, in few words: `calibration=0-crop=96`."""
    words: list[str] = []
    for name, value in request:
        if name in UNNAMED or value == type(request).model_fields[name].get_default(call_default_factory=True):
            continue
        if isinstance(value, Mapping):
            words += [f"{key}={short(each)}" for key, each in value.items()]
        else:
            words.append(name if value is True else f"{name}={short(value)}")
    text = "-".join(re.sub(r"[^A-Za-z0-9._=,+-]+", "_", word) for word in words)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 9]}-{digest}"


def short(value: Any) -> str:
    """A value in a folder's name: of a path the file's name without its suffix."""
    text = as_word(value)
    return Path(text).stem if isinstance(value, Path) or "/" in text or "\\" in text else text


def names_after(first: Path) -> Iterator[Path]:
    """`first`, `<first>-2`, `<first>-3`, ..."""
    yield first
    yield from (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))


def free_folder(first: Path, taken: Callable[[Path], bool]) -> Path:
    """The first of `names_after(first)` that is not taken."""
    return next(folder for folder in names_after(first) if not taken(folder))
