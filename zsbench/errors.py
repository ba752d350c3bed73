"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")


class UserError(Exception):
    """Something the user can put right: the command line prints it without a traceback and exits with code 2.

    The message names the file, class or option at fault, says what was expected and what to do.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line of the user's own code that led here, and the message."""
        ours = Path(__file__).parent
        own = [each for each in traceback.extract_tb(self.__traceback__) if ours not in Path(each.filename).parents]
        return [*(f"line {each.lineno}: {each.line}" for each in own[-1:]), f"UserError: {self}"]


SAME_MEANING = {
    "epoch": "iterations",
    "epochs": "iterations",
    "steps": "iterations",
    "iters": "iterations",
    "max_iters": "iterations",
    "warmup": "warmup_iterations",
    **dict.fromkeys(
        ("batch", "batchsize", "batch_size", "bs", "samples_per_gpu"), "batch_size eval_batch largest_batch"
    ),
    "decay": "weight_decay",
    "augmentation": "photometric",
    "prompt": "templates",
    "prompts": "templates",
    "model": "clip",
    "backbone": "clip",
    "pretrained": "weights",
    "data": "dataset",
    "gpu": "device",
    "cuda": "device",
    "precision": "dtype",
    "fp16": "dtype",
    "amp": "dtype",
    "output": "out",
    "work_dir": "out",
    "mode": "setting",
    "ckpt": "checkpoint",
    "num_workers": "workers",
    "subset": "limit",
    "gzss": "inductive",
    "gamma": "calibration sigma",
    "calibration": "sigma",
}
"""Words of other toolboxes that no spelling leads to; of several meanings the first that is there."""

YEAR = re.compile(r"(?<=[A-Za-z])[ _-]?(19|20)\d\d$")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of `choices`, or an empty string where none is near."""
    near = nearest(word, list(choices))
    return f" Did you mean {near!r}?" if near else ""


def nearest(word: str, choices: Sequence[str]) -> str | None:
    """The choice that a word means: but for case and punctuation, by its initials (`lr` of `learning_rate`), by another
    toolbox's word for it, as a part of it (best its last word: `voc` of `pascal-voc`, and so `voc2012`), or by its spelling;
    None where none is near."""
    plain = {bare(choice): choice for choice in reversed(choices)}
    if bare(word) not in plain:
        word = YEAR.sub("", word)
    given = bare(word)
    if not given:
        return None
    initials = {"".join(part[0] for part in words_of(each)): each for each in choices}
    meanings = SAME_MEANING.get(word.lower().strip("-").replace("-", "_"), "").split()
    meant = next((each for each in meanings if each in choices), None)
    if given in plain or meant or (len(given) > 1 and given in initials):
        return plain.get(given) or meant or initials[given]
    if begun := [choice for choice in choices if len(given) > 2 and begins(words_of(word), words_of(choice))]:
        return min(begun, key=lambda choice: (words_of(choice)[-1] != words_of(word)[-1], len(choice)))
    spelt = difflib.get_close_matches(given, plain, n=1, cutoff=0.6)
    return plain[spelt[0]] if spelt else None


def begins(given: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether each of the given words is the beginning of another one: `clip grad` of `gradient clip`."""
    return all(any(each.startswith(word) for each in whole) for word in given)


def words_of(text: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9]+", text.lower()) if part]


def bare(word: str) -> str:
    """Lower-case letters and digits of a word alone."""
    return re.sub(r"[^a-z0-9]", "", word.lower())


def told_by_name(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """The function, for which a keyword that it does not have is a `UserError` with the nearest."""
    parameters = inspect.signature(function).parameters.values()
    known = [each.name for each in parameters if each.name != "self" and each.kind != each.VAR_POSITIONAL]

    @wraps(function)
    def call(*args: Given.args, **given: Given.kwargs) -> Found:
        for name in given:
            if name not in known:
                near = did_you_mean(name, known)
                raise UserError(f"{function.__qualname__} has no keyword {name!r}.{near} Known: {', '.join(known)}.")
        return function(*args, **given)

    return call


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whatever device."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def killed_reader(option: str, kept: str = "") -> UserError:
    """What to tell of a process that read images and was killed. `option`: how many there are."""
    return UserError(
        "a process that reads images was killed, as systems do where memory is short. Give fewer of them by "
        f"{option} (0 reads in the main process).{kept}"
    )


KEPT = " What was recorded before is kept: --resume goes on."


def lost_reader(error: BaseException) -> bool:
    """Whether PyTorch found that a process which reads images was killed."""
    text = str(error).lower()
    return "dataloader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text)
