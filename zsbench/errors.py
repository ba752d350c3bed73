"""The one exception that a user is meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: the command line prints it without a traceback and exits with code 2.

    The message names the file, class or option at fault, says what was expected and what to do.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of `choices`, or an empty string where none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


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
