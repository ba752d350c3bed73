"""What a run that is resumed has finished before, and whether it was this very run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zsbench.checkpoint import read_info
from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.asked import asked_of_training, differences
from zsbench.runs.folder import CHECKPOINT, GALLERY, RESULT, leftovers
from zsbench.runs.request import Request, Verb


def unlike(folder: Path, verb: Verb, request: Request) -> list[str]:
    """In what the finished run in a folder is another than this one; also where there is no finished run.

    Raises `UserError` where what it left is damaged.
    """
    if (folder / RESULT).exists():
        found = Result.load(folder / RESULT)
        return differences(found.request, request) + ["verb"] * (found.verb != verb)
    return unlike_training(folder, request) if (folder / CHECKPOINT).exists() else ["result"]


def unlike_training(folder: Path, request: Request) -> list[str]:
    """In what the training that left the checkpoint in a folder is another than that of this request."""
    decisive: dict[str, Any] = read_info(folder / CHECKPOINT).request or {}
    return [name for name in differences(decisive, request) if name in asked_of_training(request)]


def check_same(folder: Path, verb: Verb, request: Request, trains: bool) -> None:
    """Raise `UserError` where a folder holds what another command left."""
    left = (folder / RESULT).exists() or (trains and (folder / CHECKPOINT).exists())
    if left and (other := unlike(folder, verb, request)):
        raise UserError(
            f"{folder} holds what another command left, with another {', '.join(other)}. Give that command to resume it, or "
            "another --out."
        )


def is_complete(folder: Path, verb: Verb) -> bool:
    """Whether a run left all that it promises, and nothing that it no longer needs."""
    promised = (CHECKPOINT,) if verb == "train" else (RESULT, GALLERY)
    return all((folder / name).exists() for name in promised) and not leftovers(folder)
