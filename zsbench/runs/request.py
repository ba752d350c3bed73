"""What a user can ask for: one model, from which commands, keywords and sweep files follow."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from zsbench.profiling.cost import Timed


class Request(BaseModel):
    """What a user can say about a run; None means the default of the dataset or of the method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "zegclip"
    dataset: str = "miniworld"
    setting: str | None = None
    variant: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    recipe: dict[str, str] = Field(default_factory=dict)
    iterations: int | None = None
    batch_size: int | None = None
    clip: str | None = None
    weights: str | None = None
    classes: str | None = None
    background_threshold: str | None = Field(default=None, coerce_numbers_to_str=True)
    templates: str | None = None
    text_embeddings: Path | None = None
    words: Path | None = None
    checkpoint: Path | None = None
    transfer: bool = False
    data_root: Path | None = None
    seed: int = 0
    device: str | None = None
    dtype: str = "float32"
    limit: int | None = None
    eval_batch: int | None = None
    workers: int = 0
    resume: bool = False
    out: Path | None = None
    plugin: tuple[Path, ...] = ()

    def command(self, verb: Verb) -> str:
        """The command line that gives the same numbers again; where data and outputs lie is left to the reader."""
        elsewhere = {"out": None, "data_root": None, "workers": 0}
        not_trained = {"eval_batch": None, "background_threshold": None} if verb == "train" else {}
        return shlex.join(["zsbench", *self.model_copy(update={**elsewhere, **not_trained}).argv(verb)])

    def argv(self, verb: Verb) -> list[str]:
        """All that was asked for, as words of the command line after `zsbench`."""
        words: list[str] = [verb]
        changed = self.model_dump(exclude_defaults=True, exclude={"options", "recipe", "plugin", "resume"}, mode="json")
        for name, value in changed.items():
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
        words += [word for key, value in self.options.items() for word in ("-o", f"{key}={value}")]
        words += [word for key, value in self.recipe.items() for word in ("-r", f"{key}={value}")]
        words += [word for path in self.plugin for word in ("--plugin", str(path))]
        return words


Verb = Literal["run", "train", "eval", "profile"]
"""A profile needs no images: its plan has none."""


class ProfileRequest(Request):
    """What a user can say about one profile. `size`: "HEIGHTxWIDTH" of the image before resizing."""

    size: str | None = None
    timed: Timed = "end-to-end"
    compile: bool = False
    tf32: bool = False
    seconds: float = 10.0
    largest_batch: int = 64

    @property
    def name(self) -> str:
        """A file name that tells this cell from the others of its grid."""
        precision = "tf32" if self.tf32 else self.dtype
        timed = None if self.timed == "end-to-end" else self.timed
        device = self.device and self.device.replace(":", "")
        learnt = self.checkpoint and self.checkpoint.name
        words = [self.dataset, self.method, self.variant, learnt, self.size, precision, device, timed]
        return "-".join(Path(word).stem for word in [*words, "compiled" if self.compile else None] if word)

    def profile_words(self) -> list[str]:
        """The words of the command line after `zsbench`."""
        return self.argv("profile")

    def profile_command(self) -> str:
        """The command line that measures the same again; where the outcome is written is left to the reader."""
        return shlex.join(["zsbench", *self.model_copy(update={"out": None}).profile_words()])
