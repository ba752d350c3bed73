"""How a command fails: in one message and with exit code 2, of several processes as well."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.text import Text

from zsbench.cli.streams import text_console
from zsbench.errors import UserError, nearest, out_of_memory
from zsbench.recipe import Recipe
from zsbench.runs.request import Request, elsewhere
from zsbench.utils.distributed import joined, process_index
from zsbench.utils.files import PLAINLY, reason, unwritable
from zsbench.utils.interruption import Interrupted
from zsbench.utils.parallel import end_readers

console = text_console(quiet=process_index() > 0)
errors = text_console(stderr=True)
GRACE = 10.0
"""Seconds that a process gives the main one to meet the same mistake, and the launcher to end them all."""
RESUMED, GRIDS = ("run", "train", "eval", "calibrate"), ("ablate", "sweep")
"""Commands that go on with `--resume`, and those that go on as they are."""
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # a wrong word on the command line; it has no public name


@contextmanager
def plain_errors() -> Iterator[None]:
    """A user's mistake, an interruption or a full memory ends in one message and exit code 2.

    `ZSBENCH_DEBUG=1` shows the traceback of a user's mistake.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("ZSBENCH_DEBUG"):
            raise
        give_way()
        say("error", str(error))
    except UsageError as error:
        give_way()
        suggest(error)
        raise
    except BrokenPipeError:  # whoever read what is printed has read enough
        raise
    except OSError as error:
        if os.environ.get("ZSBENCH_DEBUG") or (error.filename is None and error.errno not in PLAINLY):
            raise
        give_way()
        say("error", str(unwritable(error.filename or "a file", reason(error) or str(error), "read or write")))
    except KeyboardInterrupt:
        say("interrupted", advice(sys.argv[1:]))
    except (MemoryError, RuntimeError, Interrupted) as error:
        told = ending(error)
        if told is None:
            raise
        say(*told)
    else:
        return
    end_readers()
    sys.exit(2)


def ending(error: BaseException) -> tuple[str, str] | None:
    """How a process ended that could not go on, and what to tell of it; None for a fault of zsbench's own."""
    if out_of_memory(error):
        give_way()
        return (
            "error",
            "out of memory. Reduce --batch-size or -r micro_batch=1 in training, --eval-batch in evaluation, or choose "
            "--dtype bfloat16; records so far are kept and --resume goes on.",
        )
    if isinstance(error, Interrupted):
        if process_index() and not joined():
            sys.exit(2)  # nothing was begun, and the process that failed has said why
        return "stopped", f"told to end by {error}; {advice(sys.argv[1:])}"
    if lost_process(error):
        return "stopped", f"another process of this run has ended; {advice(sys.argv[1:])}"
    return None


def advice(words: Sequence[str]) -> str:
    """What is kept of a command that was told to end, and how to go on."""
    command = next((word for word in words if not word.startswith("-")), "")
    again = shlex.join(["zsbench", *words])
    if command in RESUMED:
        more = "" if "--resume" in words else " --resume"
        if os.environ.get("WORLD_SIZE", "1") != "1":
            return "what was recorded and saved is kept; the same command with --resume goes on, on any number of processes."
        return f"what was recorded and saved is kept; to go on: {again}{more}"
    if command in GRIDS or (command == "profile" and "--out" in words):
        return f"what is finished is kept, and of the other cells what they had; to go on: {again}"
    return f"nothing half done is left in the place of a file; to begin again: {again}"


def suggest(error: Any) -> None:
    """Let a message about an option that does not exist name the one that means the same."""
    given, context = getattr(error, "option_name", None), error.ctx
    if given is None or context is None:
        return
    words = ["--help", *(word for each in context.command.params for word in each.opts if word[:2] == "--")]
    known = {word[2:].replace("-", "_"): word for word in words}
    if "recipe" in known:
        known = {**{name: f"-r {name}=..." for name in Recipe.model_fields}, **known}
    word = given.lstrip("-")
    near = None if word.replace("-", "_") in Request.model_fields else nearest(word, list(known))
    hint = f"Did you mean {known[near]}?" if near else elsewhere(word)
    error.message, error.possibilities = f"{error.message.rstrip('.')}. {hint}".rstrip(), None


def give_way() -> None:
    """Let the main process speak: most mistakes are met by all processes of a run, and told once.

    A launcher ends all processes when one has failed. One that nobody ends has met a mistake of its own, and returns.
    """
    if process_index():
        try:
            time.sleep(GRACE)
        except (Interrupted, KeyboardInterrupt):
            sys.exit(2)


def say(what: str, message: str) -> None:
    """A message on stderr; of several processes, those that are not the main one say which they are."""
    number = process_index()
    where = f" in process {number}" if number else ""
    errors.print(Text.assemble((f"{what}{where}:", "bold red"), " ", message), soft_wrap=True)


def lost_process(error: BaseException) -> bool:
    """Whether talking to another process of the run failed: the error of `torch.distributed`, by its backend."""
    text = str(error).lower()
    return "gloo" in text or "nccl" in text or "connection closed by peer" in text
