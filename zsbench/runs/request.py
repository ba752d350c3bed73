"""What a user can ask for: one model, from which commands, keywords of the API and entries of sweep files are made."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from zsbench.settings import Setting
from zsbench.utils.validation import validated

DEFAULT_METHOD, DEFAULT_DATASET, DEFAULT_PREDICTOR = "zegclip", "miniworld", "maskclip"
"""What a command without words takes, and a prediction without a checkpoint: the harness names no other plugin."""

Verb = Literal["run", "train", "eval", "profile", "predict", "propose"]
"""What is done with a request; a profile and a prediction need no images of the dataset."""
RUNS: tuple[Verb, ...] = ("run", "train", "eval")

AnyRequest = TypeVar("AnyRequest", bound="Request")


@dataclass(frozen=True)
class Place:
    """Where an option is offered: its panel of the help, the verbs that have it, and its flags if not `--<its name>`."""

    panel: str
    verbs: tuple[Verb, ...] = get_args(Verb)
    flags: tuple[str, ...] = ()

    def only(self, *verbs: Verb) -> Place:
        return replace(self, verbs=verbs)

    def under(self, *flags: str) -> Place:
        return replace(self, flags=flags)


WHAT = Place("Options")
TRAINING = Place("Training", ("run", "train"))
WORDS = Place("CLIP and words")
EVALUATION = Place("Evaluation", ("run", "eval"))
PROFILE = Place("Profile", ("profile",))
WHERE = Place("Where it runs, and what it leaves")
UNSAID = ("out", "data_root", "workers", "resume")
"""Left out of the command that gives the same numbers again."""


def pairs(given: Any) -> Any:
    """`key=value` words, or a mapping, as a dictionary."""
    if isinstance(given, Mapping) or not isinstance(given, list | tuple):
        return given
    split = [str(word).partition("=") for word in given]
    for key, equals, _ in split:
        if not equals:
            raise ValueError(f"{key!r}: expected key=value")
    return {key.strip(): value.strip() for key, _, value in split}


def several(given: Any) -> Any:
    """One path or a list of them."""
    return (given,) if isinstance(given, str | Path) else given


def threshold(text: str | None) -> str | None:
    """`none`, or a number between 0 and 1."""
    try:
        fits = text is None or text.lower() == "none" or 0 < float(text) < 1
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("expected a number between 0 and 1, or none")
    return text


def size(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise ValueError("expected HEIGHTxWIDTH, such as 480x640")
    return text


Pairs = Annotated[dict[str, Any], BeforeValidator(pairs)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(several)]
Threshold = Annotated[str | None, AfterValidator(threshold)]
Size = Annotated[str | None, AfterValidator(size)]


class Request(BaseModel):
    """What a user can say about a run; None means the default of the dataset, of the method or of the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[str, WHAT] = Field(
        default=DEFAULT_METHOD, description="name of a method (`zsbench list methods`)"
    )
    dataset: Annotated[str, WHAT] = Field(
        default=DEFAULT_DATASET, description="name of a dataset (`zsbench list datasets`), or a card (.toml)"
    )
    setting: Annotated[Setting | None, WHAT.only(*RUNS, "propose")] = Field(
        default=None, description="what the method may learn from"
    )
    variant: Annotated[str | None, WHAT] = Field(default=None, description="a named set of options of the method")
    options: Annotated[Pairs, WHAT.under("--option", "-o")] = Field(
        default_factory=dict, description="an option of the method; may be repeated"
    )
    checkpoint: Annotated[Path | None, WHAT] = Field(
        default=None, description="learnt weights: of `zsbench train` or `run`, or of the method's own release"
    )
    transfer: Annotated[bool, WHAT.only(*RUNS, "profile", "propose")] = Field(
        default=False, description="use a checkpoint with another dataset's classes"
    )
    limit: Annotated[int | None, WHAT.only(*RUNS, "propose")] = Field(
        default=None,
        ge=1,
        description="a trial: the first N images of each split, one training step unless --iterations says more",
    )
    recipe: Annotated[Pairs, TRAINING.under("--recipe", "-r")] = Field(
        default_factory=dict, description="an entry of the training recipe; may be repeated"
    )
    iterations: Annotated[int | None, TRAINING] = Field(default=None, ge=1, description="training steps")
    batch_size: Annotated[int | None, TRAINING] = Field(
        default=None, ge=1, description="images per training step, over all devices"
    )
    clip: Annotated[str | None, WORDS] = Field(
        default=None,
        description="open_clip model, model config (JSON), or a dataset that comes with a CLIP; default: the dataset's",
    )
    weights: Annotated[str | None, WORDS] = Field(
        default=None, description="open_clip tag, local file, or `random`; default: the dataset's"
    )
    classes: Annotated[str | None, WORDS] = Field(
        default=None, description="a name set of the dataset, or a text file: one class a line, synonyms after `;`"
    )
    background_threshold: Annotated[Threshold, WORDS.only("run", "eval", "profile")] = Field(
        default=None,
        coerce_numbers_to_str=True,
        description="pixels of less probability are background: 0..1, or none; default: the dataset's",
    )
    templates: Annotated[str | None, WORDS] = Field(
        default=None, description="single, vild15, imagenet80, or a text file of templates; default: the dataset's"
    )
    text_embeddings: Annotated[Path | None, WORDS] = Field(
        default=None, description=".npy of ready text embeddings, one row per class"
    )
    words: Annotated[Path | None, WORDS] = Field(
        default=None,
        description="word vectors of a method without CLIP: .npz, .vec, .txt or .bin (`zsbench data words`)",
    )
    eval_batch: Annotated[int | None, EVALUATION] = Field(default=None, ge=1, description="images scored together")
    workers: Annotated[int, EVALUATION] = Field(
        default=0, ge=0, description="processes that read images for evaluation"
    )
    data_root: Annotated[Path | None, WHERE.only(*RUNS, "propose")] = Field(
        default=None, description="where the data lies; else $ZSBENCH_DATA, else ./data"
    )
    seed: Annotated[int, TRAINING.only(*RUNS)] = Field(
        default=0, ge=0, description="seed of initialisation, order and augmentation"
    )
    device: Annotated[str | None, WHERE] = Field(
        default=None, description="cpu, cuda or cuda:N; default: CUDA where there is one"
    )
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], WHERE.only("run", "train", "eval", "profile", "predict")
    ] = Field(default="float32", description="type of the arithmetic (float16: not in training)")
    resume: Annotated[bool, WHERE.only(*RUNS)] = Field(
        default=False, description="go on where this very run was stopped"
    )
    out: Annotated[Path | None, WHERE] = Field(
        default=None, description="output folder; default: runs/<method>-<dataset>-seed<N>"
    )
    plugin: Annotated[Paths, WHAT] = Field(
        default=(), description="a Python file that registers methods or datasets; may be repeated"
    )

    @classmethod
    def of(cls: type[AnyRequest], verb: Verb, given: Mapping[str, Any]) -> AnyRequest:
        """What was given for a verb. Raises `UserError` for a name that the verb does not have, and for a wrong value."""
        return validated(cls, given, f"option of `zsbench {verb}`", cls.offered(verb))

    @classmethod
    def offered(cls, verb: Verb) -> dict[str, FieldInfo]:
        """The options that a verb has."""
        return {name: field for name, field in cls.model_fields.items() if verb in place(field).verbs}

    def command(self, verb: Verb) -> str:
        """The command line that gives the same numbers again; where data and outputs lie is left to the reader."""
        return shlex.join(["zsbench", *self.argv(verb, UNSAID)])

    def argv(self, verb: Verb, unsaid: tuple[str, ...] = ("resume",)) -> list[str]:
        """What was asked for, as words of the command line after `zsbench`; repeated options come last."""
        single, repeated = [str(verb)], []
        for name, field in self.offered(verb).items():
            value = getattr(self, name)
            if name in unsaid or value == field.get_default(call_default_factory=True):
                continue
            flag = flags(name, field)[-1]
            if isinstance(value, Mapping):
                repeated += [word for key, each in value.items() for word in (flag, f"{key}={as_word(each)}")]
            elif isinstance(value, tuple):
                repeated += [word for each in value for word in (flag, str(each))]
            else:
                single += [flag] if value is True else [flag, str(value)]
        return single + repeated


class ProfileRequest(Request):
    """What a user can say about one profile."""

    size: Annotated[Size, PROFILE] = Field(
        default=None, description="HEIGHTxWIDTH of the image before resizing; default: one full window of the protocol"
    )
    timed: Annotated[Literal["model", "end-to-end"], PROFILE] = Field(default="end-to-end", description="what is timed")
    compile: Annotated[bool, PROFILE] = Field(default=False, description="time the method through torch.compile")
    tf32: Annotated[bool, PROFILE] = Field(
        default=False, description="float32 products in TF32 on CUDA; else surely not"
    )
    seconds: Annotated[float, PROFILE] = Field(
        default=10.0, ge=0, description="for warm-up, for latency; a quarter for each batch"
    )
    largest_batch: Annotated[int, PROFILE] = Field(
        default=64, ge=1, description="bound of the search for the best batch; 1: no search"
    )


def place(field: FieldInfo) -> Place:
    """Where the option of a field is offered."""
    return next(found for found in field.metadata if isinstance(found, Place))


def flags(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The flags of an option, a short one last."""
    return place(field).flags or ("--" + name.replace("_", "-"),)


def as_word(value: Any) -> str:
    """A value of an option or of the recipe as the command line gives it."""
    if value is None:
        return "none"
    return ",".join(map(as_word, value)) if isinstance(value, list | tuple) else str(value)
